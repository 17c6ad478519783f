"""Embed the text of every document with a sentence-transformers model, shard by shard.

A stopped run goes on after its last whole shard.
"""

import argparse
import shutil
from pathlib import Path

from ddro.core.command import UserError, call_main, log


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
    from ddro.docids.embedding import TextsOfCorpus, embed, load_model
    from ddro.docids.vectors import check_vectors, gather, read_vectors

    for name in ("max_tokens", "batch_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
    if not read_table(arguments.corpus, tables.columns(tables.CORPUS, "docno"), ["docno"]).num_rows:
        raise UserError(f"{arguments.corpus}: there is no document to embed.")
    texts = TextsOfCorpus(arguments.corpus, arguments.text)
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


if __name__ == "__main__":
    call_main(parser(), main)
