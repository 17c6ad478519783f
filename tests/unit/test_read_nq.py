import gzip
import json

import pytest

import read_nq
from ddro.command import UserError
from ddro.files import read_json, read_table
from ddro.natural_questions import Example, page_docno, parse_example, title_key
from ddro.tables import DOCUMENTS, QRELS, RAW_QUERIES


def train(example_id, question, title, text="<P> Some text . </P>"):
    """A record as in simplified-nq-train.jsonl."""
    return {
        "example_id": example_id,
        "question_text": question,
        "document_url": "https://en.wikipedia.org//w/index.php?title=X&amp;oldid=1",
        "document_text": f"{title} - wikipedia <H1> {title} </H1> {text}",
    }


def dev(example_id, question, title, tokens=("<H1>", "Heading", "</H1>", "words")):
    """A record as in nq-dev-all.jsonl."""
    return {
        "example_id": example_id,
        "question_text": question,
        "document_url": "https://en.wikipedia.org//w/index.php?title=X&amp;oldid=1",
        "document_title": title,
        "document_tokens": [{"token": token, "html_token": token.startswith("<")} for token in tokens],
    }


URL = "https://en.wikipedia.org//w/index.php?title=X&oldid=1"


def test_a_training_record():
    record = train(-5, " who  is it ", "Lost ( TV series )", '<Table> <Td_colspan="2"> a < b </Td> </Table>')
    assert parse_example(record) == Example(
        "-5", "who is it", URL, "Lost ( TV series )", "Lost ( TV series ) - wikipedia Lost ( TV series ) a < b"
    )
    assert parse_example({**record, "document_text": "Lost - Wikipedia no heading"}).title == "Lost"


def test_a_development_record():
    assert parse_example(dev(7, "q", "Lost (TV series)")) == Example("7", "q", URL, "Lost (TV series)", "Heading words")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"example_id": ""}, "no example_id"),
        ({"question_text": " "}, "no question_text"),
        ({"document_url": ""}, "no document_url"),
        ({"document_text": "page " * 100}, "no title"),
        ({"document_text": ""}, "no title"),
    ],
)
def test_what_a_record_lacks_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        parse_example({**train(1, "q", "T"), **change})
    without_text = train(1, "q", "T")
    del without_text["document_text"]
    with pytest.raises(ValueError, match="neither document_text nor document_tokens"):
        parse_example(without_text)


def test_spellings_of_a_title_that_are_one_page():
    assert title_key("Lost (TV  Series)") == title_key("lost ( tv series )") == "lost ( tv series )"
    assert title_key("Café-Straße") == "cafe - strasse"
    assert page_docno("Lost (TV Series)") == page_docno("lost ( tv series )") == "nq-2080075db552fe0c"
    assert page_docno("Lost") != page_docno("Lost (TV Series)")


def read(folder, train_lines, dev_lines, *options):
    for name, lines in (("train", train_lines), ("dev", dev_lines)):
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    options += ("--train", str(folder / "train.jsonl.gz"), "--dev", str(folder / "dev.jsonl.gz"))
    options += ("--output", str(folder / "raw"), "--report", str(folder / "report.json"))
    read_nq.main(read_nq.parser().parse_args(options))
    return [
        read_table(folder / "raw" / f"{name}.parquet", schema).to_pylist()
        for name, schema in (("documents", DOCUMENTS), ("queries", RAW_QUERIES), ("qrels", QRELS))
    ]


def test_each_question_with_its_page_and_each_title_once(tmp_path):
    documents, queries, qrels = read(
        tmp_path,
        [train(1, "who", "Lost ( TV )", "first"), train(2, "what", "Other"), train(3, "when", "LOST (TV)", "second")],
        [dev(4, "where", "Lost (TV)"), dev(5, "why", "New")],
    )
    lost, other, new = page_docno("Lost (TV)"), page_docno("Other"), page_docno("New")
    assert [row["docno"] for row in documents] == [lost, other, new]
    assert documents[0]["title"] == "Lost ( TV )"
    assert documents[0]["body"].endswith("first")
    assert [tuple(row.values()) for row in queries] == [
        ("1", "who", "train"),
        ("2", "what", "train"),
        ("3", "when", "train"),
        ("4", "where", "dev"),
        ("5", "why", "dev"),
    ]
    assert [(row["qid"], row["docno"]) for row in qrels] == [
        ("1", lost),
        ("2", other),
        ("3", lost),
        ("4", lost),
        ("5", new),
    ]
    report = read_json(tmp_path / "report.json")
    assert report == {
        "documents": 3,
        "queries": 5,
        "qrels": 5,
        "left_out": {"pages whose title was there before": 2},
    }


def test_malformed_lines_are_counted_up_to_a_share(tmp_path):
    lines = [train(1, "who", "A"), "{", "[1]", train(2, " ", "B"), train(1, "again", "C")]
    documents, queries, _ = read(tmp_path, lines, [dev(3, "q", "D")], "--max-malformed", "0.8")
    assert (len(documents), len(queries)) == (2, 2)
    assert read_json(tmp_path / "report.json")["left_out"] == {
        "pages whose title was there before": 0,
        "train lines: not JSON": 1,
        "train lines: no example_id": 1,
        "train lines: no question_text": 1,
        "train lines: an example_id that was there before": 1,
    }
    with pytest.raises(UserError, match=r"train.jsonl.gz: 4 of 5 lines are malformed"):
        read(tmp_path, lines, [dev(3, "q", "D")])


def test_a_truncated_file_is_named_and_leaves_no_documents(tmp_path):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(train(1, "who", "A")).encode())[:-9])
    options = [
        "--train",
        str(path),
        "--dev",
        str(path),
        "--output",
        str(tmp_path / "raw"),
        "--report",
        str(tmp_path / "r"),
    ]
    with pytest.raises(UserError, match="train.jsonl.gz: damaged or cut off"):
        read_nq.main(read_nq.parser().parse_args(options))
    assert list((tmp_path / "raw").iterdir()) == []
