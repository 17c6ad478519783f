"""Queries of a split with their relevant documents."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ddro import tables
from ddro.command import UserError
from ddro.files import check_foreign_key, read_table


class JudgedQuery(NamedTuple):
    """A query and the documents judged relevant to it, in the order of the judgements."""

    qid: str
    text: str
    docnos: tuple[str, ...]


def relevant_documents(queries: Path, qrels: Path, split: str, known: pa.ChunkedArray) -> list[JudgedQuery]:
    """The queries of ``split`` with their relevant documents, in the order of the table of queries.

    Args:
        queries: Parquet as `tables.QUERIES`.
        qrels: Parquet as `tables.QRELS`; judgements of relevance 0 or less don't count.
        split: train, validation or test.
        known: the docnos that a judgement may name.

    Raises:
        UserError: a judgement of an unknown document, or no query of that split has a relevant document.
    """
    table = read_table(queries, tables.QUERIES, ["qid"])
    judgements = read_table(qrels, tables.QRELS, ["qid", "docno"])
    check_foreign_key(judgements, qrels, "docno", known, "the corpus")
    relevant: dict[str, list[str]] = defaultdict(list)
    for qid, docno, relevance in zip(*(judgements[name].to_pylist() for name in tables.QRELS.names), strict=True):
        if relevance > 0:
            relevant[qid].append(docno)
    judged = [
        JudgedQuery(qid, text, tuple(relevant[qid]))
        for qid, text, of_split in zip(*(table[name].to_pylist() for name in tables.QUERIES.names), strict=True)
        if of_split == split and qid in relevant
    ]
    if not judged:
        raise UserError(f"{queries}: no query of the split {split!r} has a relevant document in {qrels}.")
    return judged
