import gzip

import pytest

import read_msmarco
from ddro.command import UserError
from ddro.files import read_json, read_table
from ddro.tables import DOCUMENTS, QRELS, RAW_QUERIES

FILES = {
    "documents": (
        "D1\thttp://a.org/1\tTitle one\tBody one\n"
        "D2\thttp://a.org/2\tTitle two\tBody two\n"
        "D3\thttp://a.org/3\t\t\n"
        "D4\thttp://a.org/4\tTitle four\tBody four\n"
    ),
    "train-queries": "10\t what is one \n11\twhat is three\n12\tnobody judged this\n",
    "train-qrels": "10 0 D1 1\n11 0 D3 1\n11 0 D1 0\n10 0 D2 0\n10 0 D9 1\n",
    "dev-queries": "20\twhat is one again\n21\twhat is two\n",
    "dev-qrels": "20 0 D1 1\n21 0 D2 1\n",
}


def read(folder, *options, **changed):
    for name, text in {**FILES, **{name.replace("_", "-"): text for name, text in changed.items()}}.items():
        content = text if isinstance(text, bytes) else gzip.compress(text.encode())
        (folder / f"{name}.gz").write_bytes(content)
        options += (f"--{name}", str(folder / f"{name}.gz"))
    options += ("--output", str(folder / "raw"), "--report", str(folder / "report.json"))
    read_msmarco.main(read_msmarco.parser().parse_args(options))
    return [
        read_table(folder / "raw" / f"{name}.parquet", schema).to_pylist()
        for name, schema in (("documents", DOCUMENTS), ("queries", RAW_QUERIES), ("qrels", QRELS))
    ]


def test_documents_relevant_to_a_training_query_and_all_queries(tmp_path, caplog):
    caplog.set_level("INFO", logger="ddro")
    documents, queries, qrels = read(tmp_path)
    assert documents == [
        {"docno": "D1", "url": "http://a.org/1", "title": "Title one", "body": "Body one"},
        {"docno": "D3", "url": "http://a.org/3", "title": "", "body": ""},
    ]
    assert [tuple(row.values()) for row in queries] == [
        ("10", "what is one", "train"),
        ("11", "what is three", "train"),
        ("12", "nobody judged this", "train"),
        ("20", "what is one again", "dev"),
        ("21", "what is two", "dev"),
    ]
    assert [tuple(row.values()) for row in qrels] == [
        ("10", "D1", 1),
        ("11", "D3", 1),
        ("11", "D1", 0),
        ("20", "D1", 1),
    ]
    assert read_json(tmp_path / "report.json") == {
        "documents": 2,
        "queries": 5,
        "qrels": 4,
        "left_out": {
            "judged documents that are not in the collection": 1,
            "train judgements of a document that is not kept": 2,
            "dev judgements of a document that is not kept": 1,
        },
    }
    assert "left out: 1 dev judgements of a document that is not kept" in caplog.messages


def test_malformed_lines_are_counted(tmp_path):
    documents, queries, qrels = read(
        tmp_path,
        "--max-malformed",
        "0.6",
        documents=FILES["documents"] + "D3\tthree\tcolumns\nD1\thttp://b.org\tagain\tagain\n",
        train_queries=FILES["train-queries"] + "13\t  \n10\tonce more\n14\n",
        dev_qrels=FILES["dev-qrels"] + "20 0 D1 1\n20 D1 1\n20 0 D1 one\n77 0 D1 1\n",
    )
    assert (len(documents), len(queries), len(qrels)) == (2, 5, 4)
    left_out = read_json(tmp_path / "report.json")["left_out"]
    assert left_out == left_out | {
        "document lines: not the 4 columns docno, url, title, body": 1,
        "document lines: a docno that was there before": 1,
        "train query lines: a query without text": 1,
        "train query lines: a qid that was there before": 1,
        "train query lines: not the 2 columns qid, text": 1,
        "dev qrels lines: a judgement that was there before": 1,
        "dev qrels lines: not the 4 columns qid, 0, docno, relevance": 2,
        "dev judgements of a query that is not there": 1,
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"documents": "D1 http://a.org Title Body\n"}, "documents.gz: 1 of 1 lines are malformed"),
        ({"documents": gzip.compress(FILES["documents"].encode())[:-9]}, "documents.gz: damaged or cut off"),
        ({"documents": ""}, "documents.gz: the file is empty"),
        ({"documents": "D7\t\t\tother\n"}, "documents.gz: holds none of the 3 judged documents"),
        ({"train_qrels": "10 0 D1 0\n"}, "train-qrels.gz: no document is relevant"),
        ({"dev_queries": "20\t\n"}, "dev-queries.gz: 1 of 1 lines are malformed.*a query without text"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **changed)
    assert not (tmp_path / "report.json").exists()
