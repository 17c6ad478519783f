"""The NQ320K of the authors of DDRO: stand-ins written as their code writes the files, with pandas."""

import gzip
import json

import pandas as pd
import pyarrow as pa
import pytest

import read_nq_ddro
from ddro.core.command import UserError
from ddro.core.files import read_json, read_table
from ddro.core.lines import SourceLines
from ddro.core.tables import CONTENT_START, DOCUMENTS, QRELS, RAW_QUERIES
from ddro.corpora import nq_ddro
from ddro.corpora.nq_ddro import COLUMNS, Pages, Question, parse_document, read_questions
from ddro.docids.text_format import docids_of, read_docid_table


def example(number, query, title, content="words", url=None):
    """A row of all their files."""
    values = (query, str(number), "long", "short", title, f"<b> About </b> {title} .", content)
    values += (url or f"https://en.wikipedia.org//w/index.php?title={number}&amp;oldid=1", f"{title} {content}", "en")
    return dict(zip(COLUMNS, values, strict=True))


LOST = example(
    -5655493461695504401, "what is lost", "lost ( tv series )", 'He said "so"\tand "<i> more </i>"\nand more'
)
OTHER = example(42, "who is other", "other", "")
ROW = "\t".join(OTHER.values())
TRAIN = [LOST, OTHER, example(7, "when is  lost", "Lost (TV series)"), example(8, "of no page", "nowhere")]
DEV = [example(9, 'where "is" it', "", url=OTHER["document_url"]), example(42, "again", "other")]


def write(folder, documents=(LOST, OTHER), train=TRAIN, dev=DEV):
    pd.DataFrame(documents).to_json(folder / "nq_merged.json", orient="records", lines=True)
    for name, rows in (("train", train), ("val", dev)):
        pd.DataFrame(rows).to_csv(folder / f"nq_{name}.gz", sep="\t", index=False, header=False, compression="gzip")


def read(folder, *options):
    words = [f"--documents={folder}/nq_merged.json", f"--train={folder}/nq_train.gz", f"--dev={folder}/nq_val.gz"]
    words += [f"--output={folder}/raw", f"--report={folder}/report.json", *options]
    read_nq_ddro.main(read_nq_ddro.parser().parse_args(words))
    return [
        [tuple(row.values()) for row in read_table(folder / "raw" / f"{name}.parquet", schema).to_pylist()]
        for name, schema in (("documents", DOCUMENTS), ("queries", RAW_QUERIES), ("qrels", QRELS))
    ]


def test_documents_have_the_authors_docnos_and_questions_find_them_by_id_title_or_url(tmp_path):
    write(tmp_path)
    documents, queries, qrels = read(tmp_path, "--expected", "documents=109739")
    lost = "-5655493461695504401"
    url = "https://en.wikipedia.org//w/index.php?title={}&oldid=1"
    assert documents == [
        (lost, url.format(lost), "lost ( tv series )", 'About lost ( tv series ) . He said "so" and " more " and more'),
        ("42", url.format(42), "other", "About other ."),
    ]
    assert read_table(tmp_path / "raw/documents.parquet", pa.schema([CONTENT_START]))["content_start"].to_pylist() == [
        len("About lost ( tv series ) . "),
        len("About other ."),
    ]
    assert queries == [
        ("0", "what is lost", "train"),
        ("1", "who is other", "train"),
        ("2", "when is lost", "train"),
        ("4", 'where "is" it', "dev"),  # as the authors count them: the row that is left out has a number, too
        ("5", "again", "dev"),
    ]
    assert qrels == [("0", lost, 1), ("1", "42", 1), ("2", lost, 1), ("4", "42", 1), ("5", "42", 1)]
    report = read_json(tmp_path / "report.json")
    assert report["variant"] == "as the authors of DDRO published it"
    assert report["found"] == {"documents": 2, "queries": 5, "qrels": 5, "train_queries": 3, "dev_queries": 2}
    assert report["left_out"] == {"train queries whose page is none of the documents": 1}
    assert report["noted"] == {
        "train queries whose page was found by its id": 2,
        "train queries whose page was found by its title": 1,
        "dev queries whose page was found by its URL": 1,
        "dev queries whose page was found by its id": 1,
    }
    assert report["expected"][0]["verdict"] == "differs"


def test_the_authors_docid_table_fits_these_docnos(tmp_path):
    write(tmp_path)
    docnos = [row[0] for row in read(tmp_path)[0]]
    (tmp_path / "pq.txt").write_text("[42]\t5,6\n[-5655493461695504401]\t7,8\n[3]\t9,9\n")
    assert docids_of(docnos, read_docid_table(tmp_path / "pq.txt"), "pq.txt")[0] == [[7, 8], [5, 6]]


def test_ids_may_be_numbers_and_files_have_a_header_marks_and_other_line_ends(tmp_path):
    write(tmp_path)
    lines = [json.dumps({"id": 42, "title": "other", "abstract": None, "content": None, "document_url": "u"}), "", " "]
    (tmp_path / "nq_merged.json").write_bytes(("\ufeff" + "\r\n".join(lines)).encode())
    rows = ["\t".join(COLUMNS), ROW, ""]
    (tmp_path / "nq_train.gz").write_bytes(gzip.compress("\r\n".join(rows).encode()))
    documents, queries, qrels = read(tmp_path, "--max-invalid=0.5")
    assert documents == [("42", "u", "other", "")]
    assert queries[0] == ("0", "who is other", "train") and qrels[0] == ("0", "42", 1)
    report = read_json(tmp_path / "report.json")
    assert [file.get("header") for file in report["files"]] == [None, 1, None]
    assert report["noted"]["documents with an empty body"] == 1


def test_what_is_wrong_in_a_line_is_counted_up_to_a_share(tmp_path):
    write(tmp_path)
    lines = (tmp_path / "nq_merged.json").read_text().splitlines()
    lines += ["{", "[1]", '{"docid": 1, "title": "x"}', '{"id": "a b"}', '{"id": 1, "title": 5}', lines[0]]
    (tmp_path / "nq_merged.json").write_text("\n".join(lines))
    rows = [ROW, "a\tb", '"x" y\t' + ROW, " \t1" + "\t" * 8]
    (tmp_path / "nq_train.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    documents, queries, _ = read(tmp_path, "--max-invalid=0.8")
    assert len(documents) == 2 and [row[0] for row in queries] == ["0", "4", "5"]
    files = read_json(tmp_path / "report.json")["files"]
    assert {reason: entry["first_lines"] for reason, entry in files[0]["invalid"].items()} == {
        "not JSON": [3],
        "no id (found: no fields)": [4],
        "no id (found: docid, title)": [5],
        "white space in the id": [6],
        "title is no text": [7],
        "an id that was there before": [8],
    }
    assert {reason.split(",")[0]: entry["first_lines"] for reason, entry in files[1]["invalid"].items()} == {
        "not the 10 columns query": [2],
        "text behind a closed quote": [3],
        "no query": [4],
    }
    with pytest.raises(UserError, match=r"nq_merged.json: 6 of 8 lines are invalid"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("nq_merged.json", b'[{"id": 1}]', r"nq_merged.json:1: one JSON array, where each line must be an object"),
        (
            "nq_merged.json",
            b'{"query": {"0": "q"}, "id": {"0": 1}}',
            r"1 of 1 lines .*\(1 no id \(found: query, id\); line 1\)",
        ),
        (
            "nq_train.gz",
            gzip.compress(ROW.encode() + b'\nq\t"1\tnever closed\nq\t2\n'),
            r"nq_train.gz:2: a quote is opened here, or soon after",
        ),
        ("nq_val.gz", b"\x1f\x8b cut", r"nq_val.gz: damaged or cut off"),
        ("nq_val.gz", b"", r"nq_val.gz: the file is empty"),
    ],
)
def test_other_files_are_refused_with_file_and_line(tmp_path, name, content, message):
    write(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path)
    assert not list((tmp_path / "raw").iterdir())


def test_files_that_do_not_belong_together_are_told(tmp_path):
    write(tmp_path, train=TRAIN[3:], dev=TRAIN[3:])
    with pytest.raises(UserError, match=r"no question is about a document of .*nq_merged.json. Do these files belong"):
        read(tmp_path)


def test_a_quote_that_is_not_closed_ends_before_memory_does(tmp_path, monkeypatch):
    monkeypatch.setattr(nq_ddro, "LONGEST_FIELD", 1000)
    (tmp_path / "rows").write_text('"' + "a line\n" * 300 + '"')
    with pytest.raises(
        UserError, match=r"rows:1: a quote is opened here, or soon after, that isn't closed \(field larger"
    ):
        list(read_questions(SourceLines(tmp_path / "rows", 1)))


def test_a_page_is_found_by_its_id_before_its_title_and_url():
    pages = Pages()
    for docno, title, url in (("1", "A", "x"), ("2", "a", "x"), ("3", "", "y")):
        pages.add({"docno": docno, "title": title, "url": url})
    find = [Question("q", *page) for page in (("2", "A", "y"), ("9", "a", "y"), ("9", "", "x"), ("9", "", ""))]
    assert [pages.find(question) for question in find] == [("2", "id"), ("1", "title"), ("1", "URL"), None]


def test_a_record_with_half_a_surrogate_pair_is_refused():
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        parse_document({"id": 1, "title": "\ud800"})
