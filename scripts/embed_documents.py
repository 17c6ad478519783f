"""Embed the text of every document with a sentence-transformers model, shard by shard.

A stopped run goes on after its last whole shard.
"""

import argparse
import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ddro.core.command import UserError, log, progress, run

if TYPE_CHECKING:  # it takes many seconds to import
    from sentence_transformers import SentenceTransformer


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument(
        "--model",
        required=True,
        help="a folder (see fetch_embedding_model.py), or package:NAME, the model inside an installed Python package",
    )
    options.add_argument("--dimension", type=int, help="dimension that the vectors must have (default: the model's)")
    options.add_argument("--max-tokens", type=int, help="tokens of a document that are read (default: the model's)")
    options.add_argument(
        "--text", choices=("title_body", "body"), default="title_body", help="what is read (default: title_body)"
    )
    options.add_argument(
        "--precision", choices=("float32", "bfloat16"), default="bfloat16", help="on a GPU (default: bfloat16)"
    )
    options.add_argument("--batch-size", type=int, default=64, help="documents embedded at a time (default: 64)")
    options.add_argument("--output", type=Path, required=True, help="folder for embeddings.npy and model.json")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core import tables
    from ddro.core.files import read_table, write_json, write_whole
    from ddro.docids.vectors import check_vectors, gather, read_vectors

    for name in ("max_tokens", "batch_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
    corpus = read_table(arguments.corpus, tables.CORPUS, ["docno"])
    if not corpus.num_rows:
        raise UserError(f"{arguments.corpus}: there is no document to embed.")
    texts = [
        ". ".join(part for part in (title.strip() * (arguments.text == "title_body"), body.strip()) if part)
        for title, body in zip(corpus["title"].to_pylist(), corpus["body"].to_pylist(), strict=True)
    ]
    if empty := sum(not text for text in texts):
        log.warning("%d documents have no text: they all get the vector of an empty text", empty)

    model = load_model(arguments.model, arguments.max_tokens, arguments.precision)
    dimension = model.get_embedding_dimension()
    if arguments.dimension not in (None, dimension):
        raise UserError(
            f"the vectors of {arguments.model} have {dimension} dimensions, not {arguments.dimension}: "
            f"set embedding.dimension to {dimension}."
        )
    description = {
        "model": arguments.model,
        "dimension": dimension,
        "max_tokens": model.max_seq_length,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    shards = arguments.output.with_name(f".{arguments.output.name}.shards")
    embed(model, texts, arguments.batch_size, shards, description)
    with write_whole(arguments.output) as folder:
        folder.mkdir()
        gather(shards, folder / "embeddings.npy")
        check_vectors(read_vectors(folder))
        write_json(description, folder / "model.json")
    shutil.rmtree(shards)
    log.info("%d vectors of %d dimensions, from at most %s tokens", len(texts), dimension, model.max_seq_length)


def load_model(model: str, max_tokens: int | None, precision: str = "bfloat16") -> "SentenceTransformer":
    """Load the model, onto a GPU in that ``precision`` if there is one; on a CPU it is float32."""
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    from ddro.core.packages import model_folder

    disable_progress_bar()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    half = precision == "bfloat16" and device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    settings = {"use_safetensors": True, "dtype": torch.bfloat16 if half else torch.float32}
    try:
        loaded = SentenceTransformer(model_folder(model), device=device, local_files_only=True, model_kwargs=settings)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"--model {model}: no such folder, or no model of sentence-transformers with safetensors weights in it "
            f"({reason[0]})."
        ) from error
    if max_tokens is not None:
        if loaded.max_seq_length is not None and max_tokens > loaded.max_seq_length:
            raise UserError(f"--max-tokens is {max_tokens}, but {model} reads at most {loaded.max_seq_length} tokens.")
        loaded.max_seq_length = max_tokens
    log.info("%s on %s, %s", model, device, loaded.dtype)
    return loaded


def embed(model: "SentenceTransformer", texts: list[str], batch_size: int, shards: Path, description: dict) -> None:
    """Write the vectors of ``texts`` as shards float32 [at most `SHARD_ROWS`, dimension] into the folder ``shards``.

    Shards that are there already are left alone, if they are of the same texts, ``description`` and batch size. Several
    GPUs share the batches of a shard.
    """
    import torch

    from ddro.core.files import read_json, write_json, write_whole
    from ddro.docids.vectors import SHARD_ROWS, shard_path, write_shard

    made_of = description | {"batch_size": batch_size, "texts": _fingerprint(texts)}
    if not (shards / "made_of.json").is_file() or read_json(shards / "made_of.json") != made_of:
        with write_whole(shards) as folder:
            folder.mkdir()
            write_json(made_of, folder / "made_of.json")
    pool = model.start_multi_process_pool() if torch.cuda.device_count() > 1 else None
    with progress(description="embed", unit="documents", total=len(texts)) as bar:
        for start in range(0, len(texts), SHARD_ROWS):
            shard, path = texts[start : start + SHARD_ROWS], shard_path(shards, start)
            if path.is_file():
                bar.update(len(shard))
                continue
            write_shard(path, embed_shard(model, shard, batch_size, pool, bar.update))
    if pool:
        model.stop_multi_process_pool(pool)


def embed_shard(model: "SentenceTransformer", texts: list[str], batch_size: int, pool, done):  # noqa: ANN001, ANN201
    """The vectors of ``texts``, float32 [texts, dimension]; ``done`` is told of each batch.

    The longest come first: a batch has texts of like length, and what doesn't fit the memory fails at once.
    """
    import numpy as np

    vectors = np.empty((len(texts), model.get_embedding_dimension()), np.float32)
    order = np.argsort([-len(text) for text in texts], kind="stable")
    size = batch_size * (len(pool["processes"]) * 8 if pool else 1)
    for start in range(0, len(texts), size):
        rows = order[start : start + size]
        vectors[rows] = model.encode_document(
            [texts[row] for row in rows],
            batch_size=batch_size,
            show_progress_bar=False,
            **({"pool": pool, "chunk_size": batch_size} if pool else {}),
        )
        done(len(rows))
    return vectors


def _fingerprint(texts: list[str]) -> str:
    """A hash of the texts and their order."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()


if __name__ == "__main__":
    run(parser(), main)
