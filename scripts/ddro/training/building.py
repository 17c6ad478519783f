"""The instances of a stage, made block by block in several processes; the memory holds some blocks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from ddro.core.command import progress
from ddro.core.files import read_batches
from ddro.core.parallel import in_order
from ddro.core.tables import CORPUS, INSTANCES, columns
from ddro.models.tokenizer import encode_as_array
from ddro.training.instances import PASSAGES, SAMPLED_TERMS, Instance, RandomCrops, docid_to_docid

ROWS_A_BLOCK = 512
"""Documents that one process makes instances of at a time."""

TEXT = columns(CORPUS, "docno", "title", "body")


@dataclass
class OfDocuments:
    """The instances of ``pretrain``: of each document its passages, random crops, sampled terms, and docid itself.

    Attributes:
        docids: the tokens of each document's docid; of a document that has none here no docid is an instance.
        vocabulary_size: of the base model, beyond which the docids' own tokens lie.
        passages: of `PASSAGES`, with their tokens and most of a document.
        crops: how they are drawn of a document.
        sampled_terms: of `SAMPLED_TERMS`, with the most of a document.
        docid_end: whether an end token stands behind a docid as input.
        folder: for what is kept of each document between the first reading and the second.
    """

    tokenizer: PreTrainedTokenizerBase
    docids: Mapping[str, Sequence[int]]
    vocabulary_size: int
    passages: str
    passage_tokens: int
    max_passages: int
    crops: RandomCrops
    sampled_terms: str
    max_terms: int
    docid_end: bool
    folder: Path

    def __post_init__(self) -> None:
        """Nothing has been read yet."""
        kind = SAMPLED_TERMS[self.sampled_terms]
        self.terms = kind(self.tokenizer, count=self.max_terms, max_tokens=self.passage_tokens)

    def tables(self, corpus: Path, processes: int) -> Iterator[pa.Table]:
        """Yield the instances of a corpus (`tables.CORPUS`) in its order: two passes, for the sake of tf-idf."""
        if self.max_terms:
            for size, frequency in in_order(self._read, _blocks(corpus, "read"), processes):
                self.terms.add(frequency, size)
        yield from in_order(self._make, _blocks(corpus, "pretrain"), processes)

    def _read(self, block: tuple[int, pa.Table]) -> tuple[int, object]:
        number, table = block
        kept, frequency = self.terms.read(_texts(table))
        if kept is not None:
            np.savez(self.folder / f"{number}.npz", tokens=np.concatenate(kept), lengths=list(map(len, kept)))
        return len(table), frequency

    def _make(self, block: tuple[int, pa.Table]) -> pa.Table:
        number, table = block
        return _as_table(self._instances(table, self._kept(number)))

    def _kept(self, number: int) -> list[np.ndarray] | None:
        file = self.folder / f"{number}.npz"
        if not file.exists():
            return None
        with np.load(file) as kept:
            return np.split(kept["tokens"], np.cumsum(kept["lengths"])[:-1])

    def _instances(self, table: pa.Table, kept: list[np.ndarray] | None) -> Iterator[Instance]:
        docnos, titles, bodies = (table[name].to_pylist() for name in TEXT.names)
        terms = self.terms.instances(docnos, _texts(table), kept) if self.max_terms else [None] * len(docnos)
        for docno, title, body, instance in zip(docnos, titles, bodies, terms, strict=True):
            sizes = {"passage_tokens": self.passage_tokens, "max_passages": self.max_passages}
            yield from PASSAGES[self.passages](self.tokenizer, docno, title, body, **sizes)
            yield from self.crops.instances(self.tokenizer, docno, title, body)
            if instance:
                yield instance
            if docno in self.docids:
                docid = self.docids[docno]
                yield docid_to_docid(self.tokenizer, docno, docid, self.vocabulary_size, end=self.docid_end)


@dataclass
class OfTexts:
    """One instance a text, cut to ``max_tokens``."""

    tokenizer: PreTrainedTokenizerBase
    max_tokens: int

    def tables(self, texts: Iterable[pa.Table], processes: int) -> Iterator[pa.Table]:
        """Yield the instances of tables with the columns docno and text, in their order."""
        return in_order(self._make, texts, processes)

    def _make(self, table: pa.Table) -> pa.Table:
        tokens = encode_as_array(self.tokenizer, table["text"].to_pylist(), self.max_tokens)
        return pa.table({"docno": table["docno"], "text": table["text"], "input_ids": tokens})


@contextmanager
def folder_beside(output: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; what a killed run has left of it is removed first."""
    folder = output.with_name(f".{output.name}.kept")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _blocks(corpus: Path, description: str) -> Iterator[tuple[int, pa.Table]]:
    blocks = read_batches(corpus, TEXT, ROWS_A_BLOCK)
    return enumerate(progress(blocks, description=description, unit=f"blocks of {ROWS_A_BLOCK} documents"))


def _texts(table: pa.Table) -> list[str]:
    return [
        f"{title} {body}" for title, body in zip(*(table[name].to_pylist() for name in TEXT.names[1:]), strict=True)
    ]


def _as_table(instances: Iterable[Instance]) -> pa.Table:
    return pa.Table.from_pylist(list(map(vars, instances)), INSTANCES)
