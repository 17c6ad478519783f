import gzip
import json

import pyarrow as pa
import pytest

import read_nq
from ddro.core.command import UserError
from ddro.core.files import read_json, read_table
from ddro.core.tables import CONTENT_START, DOCUMENTS, QRELS, RAW_QUERIES
from ddro.corpora.natural_questions import Example, page_docno, page_text, parse_example, title_key


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


def of_title(title):
    """The docno of a page by its title."""
    return page_docno(Example("", "", "", title, ""), "title")


def test_a_training_record():
    record = train(-5, " who  is it ", "Lost ( TV series )", '<Table> <Td_colspan="2"> a < b </Td> </Table>')
    example = parse_example(record)
    assert example == Example("-5", "who is it", URL, "Lost ( TV series )", record["document_text"])
    assert page_text(example.page) == ("a < b", 0)
    assert parse_example({**record, "document_text": "Lost - Wikipedia no heading"}).title == "Lost"


def test_a_development_record():
    example = parse_example(dev(7, "q", "Lost (TV series)"))
    assert example == Example("7", "q", URL, "Lost (TV series)", "<H1> Heading </H1> words")
    assert page_text(example.page) == ("words", 0)
    assert parse_example(dev(0, "q", "Lost")).qid == "0"


def test_the_abstract_comes_first():
    page = "x <H1> T </H1> <Table> a table </Table> <P> </P> <P> An <b> abstract </b> </P> <H2> More </H2> <P> y </P>"
    assert page_text(page) == ("An abstract a table More y", len("An abstract "))
    assert page_text("<H1> T </H1> <P> An abstract </P>") == ("An abstract", len("An abstract"))
    assert page_text("no <i> heading </i> at all") == ("no heading at all", 0)
    assert page_text("<H1> T </H1>") == ("", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"example_id": ""}, "no example_id"),
        ({"question_text": " "}, "no question_text"),
        ({"question_text": None}, "no question_text"),
        ({"question_text": "<b>"}, "no question_text"),
        ({"example_id": None}, "no example_id"),
        ({"document_text": None}, "neither document_text nor document_tokens"),
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
    assert of_title("Lost (TV Series)") == of_title("lost ( tv series )") == "nq-2080075db552fe0c"
    assert of_title("Lost") != of_title("Lost (TV Series)")


def read(folder, train_lines, dev_lines, *options, by="title", dev_queries="all"):
    for name, lines in (("train", train_lines), ("dev", dev_lines)):
        text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    options += ("--by", by, "--dev-queries", dev_queries)
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
    lost, other, new = of_title("Lost (TV)"), of_title("Other"), of_title("New")
    assert [row["docno"] for row in documents] == [lost, other, new]
    assert documents[0]["title"] == "Lost ( TV )"
    assert documents[0]["body"].endswith("first")
    starts = read_table(tmp_path / "raw/documents.parquet", pa.schema([CONTENT_START]))
    assert starts["content_start"].to_pylist() == [0, len("Some text ."), 0]
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
    assert report["variant"] == "by title, dev all"
    assert report["found"] == {"documents": 3, "queries": 5, "qrels": 5, "train_queries": 3, "dev_queries": 2}
    assert report["left_out"] == {"pages whose title was there before": 2}


def test_pages_with_the_same_id_and_development_queries_in_the_corpus(tmp_path):
    lines = [train(1, "who", "A"), train(2, "what", "B"), train(3, "when", "a")]
    for line, url in zip(lines, "xxy", strict=True):
        line["document_url"] = url
    by_id = read(tmp_path, lines, [dev(4, "where", "A")], by="id")
    assert [row["title"] for row in by_id[0]] == ["A", "a", "A"]
    assert len({row["docno"] for row in by_id[2]}) == 3

    in_corpus = read(tmp_path, lines, [dev(4, "where", "A"), dev(5, "why", "C")], dev_queries="in_corpus")
    assert [row["title"] for row in in_corpus[0]] == ["A", "B"]
    assert [row["qid"] for row in in_corpus[1]] == ["1", "2", "3", "4"]
    report = read_json(tmp_path / "report.json")
    assert report["variant"] == "by title, dev in_corpus"
    assert report["left_out"]["dev queries whose page is no training query's"] == 1


def test_invalid_lines_are_counted_up_to_a_share(tmp_path):
    lines = [train(1, "who", "A"), "{", "[1]", train(2, " ", "B"), train(1, "again", "C")]
    documents, queries, _ = read(tmp_path, lines, [dev(3, "q", "D")], "--max-invalid", "0.8")
    assert (len(documents), len(queries)) == (2, 2)
    assert read_json(tmp_path / "report.json")["files"][0]["invalid"] == {
        "not JSON": {"count": 1, "first_lines": [2]},
        "no example_id": {"count": 1, "first_lines": [3]},
        "no question_text": {"count": 1, "first_lines": [4]},
        "an example_id that was there before": {"count": 1, "first_lines": [5]},
    }
    with pytest.raises(UserError, match=r"train.jsonl.gz: 4 of 5 lines are invalid"):
        read(tmp_path, lines, [dev(3, "q", "D")])


def test_a_truncated_file_is_named_and_leaves_no_documents(tmp_path):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(train(1, "who", "A")).encode())[:-9])
    options = [
        "--by",
        "title",
        "--dev-queries",
        "all",
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
