import pyarrow as pa
import pytest

import make_document_queries
from ddro.core.command import UserError
from ddro.core.files import read_table, write_table
from ddro.core.tables import CORPUS, QRELS, QUERIES
from ddro.corpora.judgements import MadeQuery, write_with_made_queries


def quote(folder, documents):
    corpus = [
        {"docno": docno, "url": "", "title": title, "body": body, "judged_queries": 0}
        for docno, title, body in documents
    ]
    tables = {
        "corpus": (corpus, CORPUS),
        "queries": ([{"qid": "q1", "text": "one", "split": "test"}], QUERIES),
        "qrels": ([{"qid": "q1", "docno": "D1", "relevance": 1}], QRELS),
    }
    options = []
    for name, (rows, schema) in tables.items():
        write_table(pa.Table.from_pylist(rows, schema), folder / f"{name}.parquet", schema)
        options += [f"--{name}", str(folder / f"{name}.parquet")]
    for name in ("queries", "qrels"):
        options += [f"--output-{name}", str(folder / "documents" / f"{name}.parquet")]
    make_document_queries.main(make_document_queries.parser().parse_args(options))
    return [
        [tuple(row.values()) for row in read_table(folder / "documents" / f"{name}.parquet", schema).to_pylist()]
        for name, schema in (("queries", QUERIES), ("qrels", QRELS))
    ]


def test_titles_and_first_sentences_become_queries_beside_the_others(tmp_path, caplog):
    caplog.set_level("INFO", logger="ddro")
    documents = [
        ("D1", "Red foxes", "Foxes hunt mice. They sleep."),
        ("D2", "Bears", ""),
        ("D3", "", "Of the wolf pack."),
    ]
    queries, qrels = quote(tmp_path, documents)
    assert queries == [
        ("q1", "one", "test"),
        ("title-D1", "Red foxes", "documents"),
        ("sentence-D1", "Foxes hunt mice.", "documents"),
        ("sentence-D3", "Of the wolf pack.", "documents"),
    ]
    assert qrels == [("q1", "D1", 1), ("title-D1", "D1", 1), ("sentence-D1", "D1", 1), ("sentence-D3", "D3", 1)]
    assert "3 queries of 3 documents" in caplog.messages
    assert "3 titles and sentences with fewer than 2 content words" in caplog.messages


def test_documents_without_words_are_an_error(tmp_path):
    with pytest.raises(UserError, match="corpus.parquet: no title and no first sentence has 2 content words"):
        quote(tmp_path, [("D1", "Bears", "")])


def test_a_made_query_takes_another_name_where_the_collection_has_a_query_of_its_name(tmp_path):
    queries = pa.Table.from_pylist([{"qid": "title-D1", "text": "one", "split": "test"}], QUERIES)
    write_table(queries, tmp_path / "queries.parquet", QUERIES)
    qrels = pa.Table.from_pylist([{"qid": "title-D1", "docno": "D2", "relevance": 1}], QRELS)
    write_table(qrels, tmp_path / "qrels.parquet", QRELS)
    paths = {name: tmp_path / f"{name}.parquet" for name in ("queries", "qrels", "output_queries", "output_qrels")}
    made = [MadeQuery("title-D1", "Red foxes", "D1"), MadeQuery("title-D2", "Bears", "D2")]
    write_with_made_queries(made, "documents", **paths)
    written = read_table(paths["output_queries"], QUERIES, ["qid"]).to_pylist()
    assert [(row["qid"], row["split"]) for row in written] == [
        ("title-D1", "test"),
        ("title-D1+", "documents"),
        ("title-D2", "documents"),
    ]
    judged = [tuple(row.values()) for row in read_table(paths["output_qrels"], QRELS).to_pylist()]
    assert judged == [("title-D1", "D2", 1), ("title-D1+", "D1", 1), ("title-D2", "D2", 1)]
