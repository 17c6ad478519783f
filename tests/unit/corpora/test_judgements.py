"""Queries of a split with their relevant documents."""

import pyarrow as pa
import pytest

from ddro.core import tables
from ddro.core.command import UserError
from ddro.core.files import read_table, write_table
from ddro.corpora.judgements import JudgedQuery, find_own_documents, own_documents, relevant_documents

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


def test_a_query_is_a_document_if_id_and_text_are_the_same(tmp_path):
    documents = [("1", "Rain", "It rains."), ("2", "Snow", "It snows."), ("3", "", "Hail."), ("4", "Fog", "Grey.")]
    rows = [
        {"docno": docno, "url": "", "title": title, "body": body, "judged_queries": 0}
        for docno, title, body in documents
    ]
    write_table(pa.Table.from_pylist(rows, tables.CORPUS), tmp_path / "corpus.parquet", tables.CORPUS)
    queries = [("1", "Rain  It\nrains."), ("2", "snow in May"), ("3", "Hail."), ("4", "Fog"), ("5", "It rains.")]
    assert find_own_documents(tmp_path / "corpus.parquet", queries) == ["1", "3", "4"]
    assert find_own_documents(tmp_path / "corpus.parquet", []) == []


def test_that_a_query_is_a_document_stays_with_the_table(tmp_path):
    queries = pa.Table.from_pylist([{"qid": "1", "text": "Rain", "split": "test"}], tables.QUERIES)
    assert own_documents(queries) == frozenset()
    marked = queries.replace_schema_metadata({tables.OWN_DOCUMENTS: b'["1"]'})
    write_table(marked, tmp_path / "queries.parquet", tables.QUERIES)
    assert own_documents(read_table(tmp_path / "queries.parquet", tables.QUERIES)) == {"1"}
