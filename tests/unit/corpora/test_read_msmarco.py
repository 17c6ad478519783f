import gzip

import pytest

import read_msmarco
import read_msmarco_collection
from ddro.core.command import UserError
from ddro.core.files import read_json, read_table
from ddro.core.tables import DOCUMENTS, QRELS, RAW_QUERIES

FILES = {
    "documents": (
        "D1\thttp://a.org/1\tTitle one\tBody one\n"
        "D2\thttp://a.org/2\tTitle two\tBody two\n"
        "D3\thttp://a.org/3\t\t\n"
        "D4\thttp://a.org/4\tTitle four\tBody four\n"
    ),
    "train-queries": "10\t what is one \n11\twhat is three\n12\tnobody judged this\n",
    "train-qrels": "10 0 D1 1\n11 0 D3 1\n11 0 D1 0\n10 0 D2 0\n",
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
    documents, queries, qrels = read(tmp_path, "--expected", "documents=2", "dev_queries=3")
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
        "variant": "documents with a judged training query",
        "found": {"documents": 2, "queries": 5, "qrels": 4, "train_queries": 3, "dev_queries": 2},
        "expected": [
            {"name": "documents", "expected": 2, "found": 2, "verdict": "OK"},
            {"name": "dev_queries", "expected": 3, "found": 2, "verdict": "differs"},
        ],
        "left_out": {
            "train judgements of a document that is not kept": 1,
            "dev judgements of a document that is not kept": 1,
        },
        "noted": {"documents with an empty body": 1},
        "files": [
            {"file": f"{name}.gz", "lines": lines, "invalid": {}}
            for name, lines in (
                ("train-queries", 3),
                ("dev-queries", 2),
                ("train-qrels", 4),
                ("dev-qrels", 2),
                ("documents", 4),
            )
        ],
    }
    assert "left out: 1 dev judgements of a document that is not kept" in caplog.messages
    assert "dev_queries: 2, published 3: differs" in caplog.messages


def test_the_whole_collection_has_the_documents_that_nobody_judged(tmp_path, caplog):
    lines = FILES["documents"] + "D3\tthree\tcolumns\nD1\thttp://b.org\tagain\tagain\n"
    (tmp_path / "documents.gz").write_bytes(gzip.compress(lines.encode()))
    options = ["--documents", str(tmp_path / "documents.gz"), "--output", str(tmp_path / "collection.parquet")]
    read_msmarco_collection.main(read_msmarco_collection.parser().parse_args([*options, "--max-invalid", "0.4"]))
    assert read_table(tmp_path / "collection.parquet", DOCUMENTS).to_pylist() == [
        {"docno": "D1", "url": "http://a.org/1", "title": "Title one", "body": "Body one"},
        {"docno": "D2", "url": "http://a.org/2", "title": "Title two", "body": "Body two"},
        {"docno": "D3", "url": "http://a.org/3", "title": "", "body": ""},
        {"docno": "D4", "url": "http://a.org/4", "title": "Title four", "body": "Body four"},
    ]
    assert any("line 6 left out: a docno that was there before" in message for message in caplog.messages)
    with pytest.raises(UserError, match="2 of 6 lines are invalid"):
        read_msmarco_collection.main(read_msmarco_collection.parser().parse_args(options))


def test_windows_line_ends_are_no_part_of_the_text(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    expected = read(tmp_path / "a")
    assert read(tmp_path / "b", **{name: text.replace("\n", "\r\n") for name, text in FILES.items()}) == expected


def test_bytes_that_are_no_text_and_a_very_long_body(tmp_path):
    long = b"D2\thttp://a.org\tlong\t" + b"word " * 250_000 + b"\n"
    lines = FILES["documents"].encode().splitlines(keepends=True)
    lines[1:2] = [long, b"D9\thttp://a.org\t\xff\tbody\n"]
    documents, _, _ = read(
        tmp_path, "--max-invalid", "0.2", documents=gzip.compress(b"".join(lines)), train_qrels="10 0 D2 1\n"
    )
    assert [(row["docno"], len(row["body"])) for row in documents] == [("D2", 1_250_000)]
    (found,) = [file["invalid"] for file in read_json(tmp_path / "report.json")["files"] if file["invalid"]]
    assert found == {"not UTF-8": {"count": 1, "first_lines": [3]}}


def test_judgements_of_documents_that_are_not_there(tmp_path):
    qrels = FILES["train-qrels"] + "10 0 D77 1\n77 0 D1 1\n"
    with pytest.raises(UserError, match="of 8 judgements 1 judgements of a document that is not there"):
        read(tmp_path, train_qrels=qrels)
    read(tmp_path, "--max-invalid", "0.25", train_qrels=qrels)
    left_out = read_json(tmp_path / "report.json")["left_out"]
    assert left_out["judgements of a document that is not there"] == 1
    assert left_out["judgements of a query that is not there"] == 1


def test_invalid_lines_are_counted(tmp_path):
    documents, queries, qrels = read(
        tmp_path,
        "--max-invalid",
        "0.6",
        documents=FILES["documents"] + "D3\tthree\tcolumns\nD5\ta\tb\tc\td\nD1\thttp://b.org\tagain\tagain\n",
        train_queries=FILES["train-queries"] + "13\t  \n10\tonce more\n14\n",
        dev_queries=FILES["dev-queries"] + "10\tin both sets\n",
        dev_qrels=FILES["dev-qrels"] + "20 0 D1 1\n20 D1 1\n20 0 D1 one\n",
    )
    assert (len(documents), len(queries), len(qrels)) == (2, 5, 4)
    invalid = {file["file"]: file["invalid"] for file in read_json(tmp_path / "report.json")["files"]}
    assert invalid == {
        "documents.gz": {
            "not the 4 columns docno, url, title, body": {"count": 2, "first_lines": [5, 6]},
            "a docno that was there before": {"count": 1, "first_lines": [7]},
        },
        "train-queries.gz": {
            "a query without text": {"count": 1, "first_lines": [4]},
            "a qid that was there before": {"count": 1, "first_lines": [5]},
            "not the 2 columns qid, text": {"count": 1, "first_lines": [6]},
        },
        "dev-queries.gz": {"a qid of the training queries, too": {"count": 1, "first_lines": [3]}},
        "train-qrels.gz": {},
        "dev-qrels.gz": {
            "a judgement that was there before": {"count": 1, "first_lines": [3]},
            "not the 4 columns qid, 0, docno, relevance": {"count": 2, "first_lines": [4, 5]},
        },
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"documents": "D1 http://a.org Title Body\n"}, "documents.gz: 1 of 1 lines are invalid"),
        ({"documents": gzip.compress(FILES["documents"].encode(), mtime=0)[:-9]}, "documents.gz: damaged or cut off"),
        ({"documents": ""}, "documents.gz: the file is empty"),
        ({"documents": "D7\t\t\tother\n"}, "documents.gz: holds none of the 2 judged documents"),
        ({"train_qrels": "10 0 D1 0\n"}, "train-qrels.gz: no document is relevant"),
        ({"dev_queries": "20\t\n"}, "dev-queries.gz: 1 of 1 lines are invalid.*a query without text"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **changed)
    assert not (tmp_path / "report.json").exists()
