"""Queries of a split with their relevant documents."""

import pyarrow as pa
import pytest

from ddro.core import tables
from ddro.core.command import UserError
from ddro.core.files import write_table
from ddro.corpora.judgements import JudgedQuery, relevant_documents

KNOWN = pa.chunked_array([["d1", "d2"]])


def write(folder, queries, qrels):
    paths = []
    for name, schema, rows in (("queries", tables.QUERIES, queries), ("qrels", tables.QRELS, qrels)):
        table = pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)
        paths.append(folder / f"{name}.parquet")
        write_table(table, paths[-1], schema)
    return paths


def test_queries_come_with_their_relevant_documents(tmp_path):
    paths = write(
        tmp_path,
        [("q1", "one", "train"), ("q2", "two", "test"), ("q3", "three", "train"), ("q4", "four", "train")],
        [("q3", "d2", 1), ("q1", "d2", 1), ("q1", "d1", 2), ("q2", "d1", 1), ("q4", "d1", 0)],
    )
    assert relevant_documents(*paths, "train", KNOWN) == [
        JudgedQuery("q1", "one", ("d2", "d1")),
        JudgedQuery("q3", "three", ("d2",)),
    ]


def test_a_judgement_of_an_unknown_document_is_refused(tmp_path):
    paths = write(tmp_path, [("q1", "one", "train")], [("q1", "d9", 1)])
    with pytest.raises(UserError, match="row 0: docno 'd9' is not in the corpus"):
        relevant_documents(*paths, "train", KNOWN)


def test_a_split_without_queries_is_refused(tmp_path):
    paths = write(tmp_path, [("q1", "one", "train")], [("q1", "d1", 1)])
    with pytest.raises(UserError, match="no query of the split 'validation'"):
        relevant_documents(*paths, "validation", KNOWN)
