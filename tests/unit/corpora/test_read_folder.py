import json

import pytest

import read_folder
from ddro.core.command import UserError
from ddro.core.files import read_json, read_table
from ddro.core.tables import DOCUMENTS, QRELS, RAW_QUERIES

CORPUS = [
    {"_id": "D1", "title": "One", "text": "Body one", "url": "http://a.org/1"},
    {"_id": "D2", "title": "Two", "text": "Body two", "metadata": {"url": "http://a.org/2"}},
    {"_id": 3, "text": ""},
]
QUERIES = [{"_id": f"q{number}", "text": f" question {number} "} for number in range(4)]
HEADER = "query-id\tcorpus-id\tscore\n"
JUDGED = {
    "train": HEADER + "q0\tD1\t1\nq1\tD2\t2\n",
    "test": HEADER + "q1\tD2\t1\nq2\t3\t1\n",
}


def jsonl(records):
    return "".join((record if isinstance(record, str) else json.dumps(record)) + "\n" for record in records)


def read(folder, *options, corpus=CORPUS, queries=QUERIES, judged=JUDGED):
    (folder / "corpus.jsonl").write_text(jsonl(corpus))
    (folder / "queries.jsonl").write_text(jsonl(queries))
    for kind, text in judged.items():
        (folder / f"{kind}.tsv").write_text(text)
    options += ("--corpus", str(folder / "corpus.jsonl"), "--queries", str(folder / "queries.jsonl"))
    options += ("--qrels", *(str(folder / f"{kind}.tsv") for kind in judged))
    options += ("--output", str(folder / "raw"), "--report", str(folder / "report.json"))
    read_folder.main(read_folder.parser().parse_args(options))
    return [
        read_table(folder / "raw" / f"{name}.parquet", schema).to_pylist()
        for name, schema in (("documents", DOCUMENTS), ("queries", RAW_QUERIES), ("qrels", QRELS))
    ]


def test_a_folder_is_read(tmp_path):
    documents, queries, qrels = read(tmp_path)
    assert documents == [
        {"docno": "D1", "url": "http://a.org/1", "title": "One", "body": "Body one"},
        {"docno": "D2", "url": "http://a.org/2", "title": "Two", "body": "Body two"},
        {"docno": "3", "url": "", "title": "", "body": ""},
    ]
    assert sorted(tuple(row.values()) for row in queries) == [
        ("q0", "question 0", "train"),
        ("q1", "question 1", "test"),
        ("q2", "question 2", "test"),
    ]
    assert sorted(tuple(row.values()) for row in qrels) == [("q0", "D1", 1), ("q1", "D2", 1), ("q2", "3", 1)]
    report = read_json(tmp_path / "report.json")
    assert report["variant"] == "own folder, judged: train, test"
    assert report["left_out"] == {
        "train judgements of a query that is in test, too": 1,
        "queries without a judgement": 1,
    }
    assert report["noted"] == {"documents with an empty body": 1}


def test_what_no_run_or_file_can_hold_is_left_out(tmp_path):
    corpus = [*CORPUS, {"_id": "two words", "text": "body"}, {"_id": "D5", "text": "cut \ud83d", "title": None}]
    corpus += [{"_id": "D6", "text": "whole \U0001f600"}]
    documents, _, _ = read(tmp_path, "--max-invalid", "0.5", corpus=corpus)
    assert [document["docno"] for document in documents] == ["D1", "D2", "3", "D6"]
    (invalid,) = [file["invalid"] for file in read_json(tmp_path / "report.json")["files"] if file["invalid"]]
    assert {reason: found["first_lines"] for reason, found in invalid.items()} == {
        "white space in the id": [4],
        "half of a surrogate pair, which is no character": [5],
    }


def test_invalid_lines_are_listed(tmp_path):
    read(
        tmp_path,
        "--max-invalid",
        "0.7",
        corpus=[*CORPUS, "{", [1], {"_id": "D4"}, CORPUS[0]],
        queries=[*QUERIES, {"text": "no id"}],
        judged={"test": HEADER + "q1\tD2\t1\nq1 D1 1\nq1\tD2\t1\nq2\tD1\tyes\n"},
    )
    assert {file["file"]: file["invalid"] for file in read_json(tmp_path / "report.json")["files"]} == {
        "corpus.jsonl": {
            "not JSON": {"count": 1, "first_lines": [4]},
            "no _id that is a text or a whole number": {"count": 1, "first_lines": [5]},
            "no text": {"count": 1, "first_lines": [6]},
            "an _id that was there before": {"count": 1, "first_lines": [7]},
        },
        "queries.jsonl": {"no _id that is a text or a whole number": {"count": 1, "first_lines": [5]}},
        "test.tsv": {
            "not the 3 columns query-id, corpus-id, score": {"count": 1, "first_lines": [3]},
            "a score that is no whole number of at most 6 digits": {"count": 1, "first_lines": [5]},
            "a judgement that was there before": {"count": 1, "first_lines": [4]},
        },
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"corpus": [*CORPUS, "{"]}, "corpus.jsonl: 1 of 4 lines are invalid.*not JSON; line 4"),
        ({"judged": {"test": HEADER + "q1\tD9\t1\n"}}, "of 1 judgements 1 judgements of a document that is not there"),
        ({"judged": {"test": HEADER + "q9\tD1\t1\n"}}, "of 1 judgements 1 judgements of a query that is not there"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, changed, message):
    with pytest.raises(UserError, match=message):
        read(tmp_path, **changed)
    assert not (tmp_path / "report.json").exists()


def invalid_of(folder, name):
    (file,) = [file for file in read_json(folder / "report.json")["files"] if file["file"] == name]
    return {reason: found["count"] for reason, found in file["invalid"].items()}


def test_identifiers_are_texts_and_whole_numbers(tmp_path):
    odd = [None, 4.0, True, ["D4"], {"D": 4}, "", " "]
    corpus = [*CORPUS, {"_id": "007", "text": "x"}, {"_id": 7, "text": "x"}, {"_id": "7", "text": "x"}]
    corpus += [{"_id": name, "text": "x"} for name in odd]
    documents, _, _ = read(tmp_path, "--max-invalid", "0.9", corpus=corpus)
    assert [document["docno"] for document in documents] == ["D1", "D2", "3", "007", "7"]
    assert invalid_of(tmp_path, "corpus.jsonl") == {
        "no _id that is a text or a whole number": len(odd),
        "an _id that was there before": 1,
    }


def test_titles_and_urls_are_texts_or_missing(tmp_path):
    rows = [
        {"title": None, "url": None},
        {"title": 1984, "metadata": {"url": None}},
        {"title": ["One"]},
        {"url": {"href": "x"}},
        {"title": True},
        {"metadata": {"url": 2.5}},
        {"metadata": [1]},
    ]
    corpus = [*CORPUS, *({"_id": f"X{number}", "text": "x"} | row for number, row in enumerate(rows))]
    documents, _, _ = read(tmp_path, "--max-invalid", "0.9", corpus=corpus)
    assert [(row["docno"], row["title"], row["url"]) for row in documents[3:]] == [
        ("X0", "", ""),
        ("X1", "1984", ""),
        ("X6", "", ""),
    ]
    assert invalid_of(tmp_path, "corpus.jsonl") == {"a title that is no text": 2, "a url that is no text": 2}


@pytest.mark.parametrize("head", ["", "query-id\tcorpus-id\tscore\n", '\n"query-id"\t"corpus-id"\t"score"\r\n'])
def test_judgements_as_other_programs_write_them(tmp_path, head):
    corpus = [*CORPUS, {"_id": 'a_"b"', "text": "x"}, {"_id": '"c"', "text": "x"}, {"_id": "d", "text": "x"}]
    lines = ["q1\tD1\t1.0", "\t", " q1\tD2 \t +2 \r", 'q2\t"a_""b"""\t"3"', '"q2"\t"c"\t-1', '"q3"\t"d"\t0', ""]
    judged = {"test": "\ufeff" + head + "\n".join(lines) + "\n"}
    _, _, qrels = read(tmp_path, corpus=corpus, judged=judged)
    assert [tuple(row.values()) for row in qrels] == [
        ("q1", "D1", 1),
        ("q1", "D2", 2),
        ("q2", 'a_"b"', 3),
        ("q2", '"c"', -1),
        ("q3", "d", 0),
    ]


def test_a_query_without_text_is_left_out(tmp_path):
    _, queries, qrels = read(tmp_path, "--max-invalid", "0.9", queries=[{"_id": "q1", "text": " \n"}, *QUERIES[2:]])
    assert [row["qid"] for row in queries] == ["q2"]
    assert [row["qid"] for row in qrels] == ["q2"]
    assert invalid_of(tmp_path, "queries.jsonl") == {"a query without text": 1}
