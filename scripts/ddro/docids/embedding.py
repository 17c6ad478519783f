"""Vectors of documents by a model of sentence-transformers, shard by shard: a stopped run goes on after its last."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils.logging import disable_progress_bar

from ddro.core.command import UserError, log, progress
from ddro.core.files import read_batches, read_json, write_json, write_whole
from ddro.core.halves import in_halves
from ddro.core.long_texts import beginning
from ddro.core.packages import model_folder
from ddro.core.tables import CORPUS, columns
from ddro.docids.vectors import SHARD_ROWS, shard_path, write_shard

PARTS = columns(CORPUS, "title", "body")


class TextsOfCorpus:
    """What the model reads of each document of a corpus file; some documents are in memory at a time."""

    def __init__(self, corpus: Path, text: str) -> None:
        """Read of ``corpus`` (Parquet) its ``title_body``, or its ``body`` alone."""
        self.corpus, self.with_title = corpus, text == "title_body"

    def __len__(self) -> int:
        """The number of documents."""
        return pq.read_metadata(self.corpus).num_rows

    def __iter__(self) -> Iterator[str]:
        """The texts, in the order of the corpus, each time from the first on."""
        for part in read_batches(self.corpus, PARTS):
            for title, body in zip(*(part[name].to_pylist() for name in PARTS.names), strict=True):
                yield ". ".join(words for words in (title.strip() * self.with_title, body.strip()) if words)


def load_model(model: str, max_tokens: int | None, precision: str = "bfloat16") -> SentenceTransformer:
    """Load the model, onto a GPU in that ``precision`` if there is one; on a CPU it is float32."""
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


def embed(
    model: SentenceTransformer, texts: list[str] | TextsOfCorpus, batch_size: int, shards: Path, description: dict
) -> None:
    """Write the vectors of ``texts`` as shards float32 [at most `SHARD_ROWS`, dimension] into the folder ``shards``.

    Shards that are there already are left alone, if they are of the same texts, ``description`` and batch size. Several
    GPUs share the batches of a shard.
    """
    made_of = description | {"batch_size": batch_size, "texts": _fingerprint(texts)}
    if not (shards / "made_of.json").is_file() or read_json(shards / "made_of.json") != made_of:
        with write_whole(shards) as folder:
            folder.mkdir()
            write_json(made_of, folder / "made_of.json")
    pool = model.start_multi_process_pool() if torch.cuda.device_count() > 1 else None
    waiting, tokens = iter(texts), model.max_seq_length or sys.maxsize
    with progress(description="embed", unit="documents", total=len(texts)) as bar:
        for start in range(0, len(texts), SHARD_ROWS):
            some = [(beginning(text, tokens), len(text)) for text in islice(waiting, SHARD_ROWS)]
            path = shard_path(shards, start)
            if path.is_file():
                bar.update(len(some))
                continue
            write_shard(path, embed_shard(model, *zip(*some, strict=True), batch_size, pool, bar.update))
    if pool:
        model.stop_multi_process_pool(pool)


def embed_shard(
    model: SentenceTransformer,
    texts: Sequence[str],
    lengths: Sequence[int],
    batch_size: int,
    pool: dict[str, Any] | None,
    done: Callable[[int], object],
) -> np.ndarray:
    """The vectors of ``texts``, float32 [texts, dimension]; ``done`` is told of each batch.

    The longest come first, by the ``lengths`` that they had before they were cut: a batch has texts of like length, and
    one that doesn't fit the memory, which goes in halves, shows at once.
    """

    def encode(some: list[str]) -> list[np.ndarray]:
        several = {"pool": pool, "chunk_size": batch_size} if pool else {}
        return list(model.encode_document(some, batch_size=batch_size, show_progress_bar=False, **several))

    vectors = np.empty((len(texts), model.get_embedding_dimension()), np.float32)
    order = np.argsort([-length for length in lengths], kind="stable")
    size = batch_size * (len(pool["processes"]) * 8 if pool else 1)
    for start in range(0, len(texts), size):
        rows = order[start : start + size]
        vectors[rows] = in_halves(encode, [texts[row] for row in rows], "documents")
        done(len(rows))
    return vectors


def _fingerprint(texts: Iterable[str]) -> str:
    """A hash of the texts and their order."""
    digest = hashlib.sha256()
    for text in texts:
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return digest.hexdigest()
