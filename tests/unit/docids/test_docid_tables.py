"""Published tables of docids: read, taken, refused, and written again."""

import logging

import pytest

import export_docids
from ddro.core.command import UserError
from ddro.docids.text_format import Entry, docids_of, read_docid_table, write_docid_table
from four_documents import assign, report_of
from in_process import call


def table_of(corpus, lines):
    path = corpus.parent / "published.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_published_table_is_taken_and_written_again(corpus, model, caplog):
    lines = ["[d0]\t32128,32131", "[d1]\t32129,32130,1,0,0", "[d2]\t32128,32131,1", "[d9]\t5", "[d3]\t32129,32131"]
    options = ["--table", table_of(corpus, lines), "--subspaces=2", "--centroids=2"]
    with caplog.at_level(logging.INFO, "ddro"):
        docids = assign("pq", corpus, model, *options)
    assert docids == [[32128, 32131], [32128, 32131], [32129, 32130], [32129, 32131]]  # in the corpus's order
    assert any(line.endswith("5 docids, of which 1 of no document of the corpus") for line in caplog.messages)
    assert "2 docids had padding or an end token, which is left out" in caplog.messages
    report = report_of(corpus)
    assert (report["left_out"], report["without_padding"], report["new_tokens"]) == (1, 2, 4)
    assert report["table"].endswith("published.txt")

    written = corpus.parent / "docids.txt"
    call(export_docids, "--docids", corpus.parent / "docids.parquet", "--output", written)
    lines = written.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4 and {"[d2]\t32128,32131", "[d0]\t32128,32131"} < set(lines)
    assert assign("pq", corpus, model, "--table", written, *options[2:]) == docids


def test_a_published_table_of_words_has_its_end_token_again(corpus, model):
    lines = ["[d0]\t5,6", "[d1]\t3,1", "[d2]\t4,3,7,1,0,0", "[d3]\t5,6,1"]
    docids = assign("tu", corpus, model, "--table", table_of(corpus, lines), "--max-tokens=3")
    assert docids == [[4, 3, 7, 1], [5, 6, 1], [3, 1], [5, 6, 1]]


@pytest.mark.parametrize(
    ("scheme", "change", "message"),
    [
        ("pq", ["[d3]\t32129,32132"], r"published\.txt:4: token 32132 at position 1 .* 32130 to 32131"),
        ("pq", ["[d3]\t32129"], r"published\.txt:4: a docid of 1 tokens; 2 to 2 are possible"),
        ("pq", ["[d3]\t1,0"], r"published\.txt:4: a docid of 0 tokens"),
        ("pq", ["[d4]\t32129,32131"], r"1 of the 4 documents of the corpus have no docid there, the first is 'd3'"),
        ("pq", ["[d3] 32129,32131"], r"published\.txt:4: expected \[docno\]<TAB>token,token"),
        ("pq", ["[d3]\t32129,,32131"], r"published\.txt:4: expected \[docno\]<TAB>token,token"),
        ("pq", ["[d3]\t32129,-1"], r"published\.txt:4: expected \[docno\]<TAB>token,token"),
        ("tu", ["[d3]\t5"], r"published\.txt:1: token 32128 at position 0 .* 2 to 32127"),
    ],
)
def test_a_published_table_that_doesnt_fit_is_refused(corpus, model, scheme, change, message):
    lines = ["[d0]\t32128,32131", "[d1]\t32129,32130", "[d2]\t32128,32131", *change]
    if scheme == "tu":
        lines[1:3] = ["[d1]\t5", "[d2]\t5"]
    options = ["--table", table_of(corpus, lines), "--subspaces=2", "--centroids=2"]
    with pytest.raises(UserError, match=message):
        assign(scheme, corpus, model, *options)
    assert not (corpus.parent / "docids.parquet").exists()


def test_published_tables_as_they_really_are(tmp_path, caplog):
    """Brackets or none, signed numbers and titles as docnos, Windows' ends, blank lines, padding before and behind."""
    lines = ["\ufeff[D1]\t7,8\r", "-123 \t 0,9,10,1,0,0", "", "the_title\t11", "[the_title]\t12,1", " \r", ""]
    (tmp_path / "table.txt").write_bytes("\n".join(lines).encode())
    table = read_docid_table(tmp_path / "table.txt")
    assert {docno: (entry.line, entry.docid, entry.open_docid) for docno, entry in table.items()} == {
        "D1": (1, [7, 8], [7, 8]),
        "-123": (2, [9, 10, 1], [9, 10]),
        "the_title": (5, [12, 1], [12]),
    }
    assert "1 lines left out, whose document stands in a later line, too, such as line 4" in caplog.text


def test_a_written_table_is_read_again(tmp_path):
    write_docid_table(["D1", "d2"], [[5, 6], [7]], tmp_path / "table.txt")
    assert (tmp_path / "table.txt").read_text() == "[d1]\t5,6\n[d2]\t7\n"
    table = read_docid_table(tmp_path / "table.txt")
    assert docids_of(["d2", "D1"], table, "t") == ([[7], [5, 6]], ["t:2", "t:1"])
    write_docid_table(["D1", "d1"], [[5], [6]], tmp_path / "table.txt")  # lower case would make one of two
    assert list(read_docid_table(tmp_path / "table.txt")) == ["D1", "d1"]


def test_published_docnos_may_be_in_lower_case():
    published = {"d1": Entry(1, [7]), "D2": Entry(2, [8])}
    assert docids_of(["D2", "D1"], published, "t") == ([[8], [7]], ["t:2", "t:1"])
    with pytest.raises(UserError, match="differ in case alone"):
        docids_of(["D1", "d1"], published, "t")


def test_a_table_that_isnt_there_is_named(corpus, model):
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file \(docids.table of the recipe names it"):
        assign("tu", corpus, model, "--table", corpus.parent / "nowhere.txt")
    with pytest.raises(UserError, match="--table with --scheme rq needs --subspaces"):
        assign("rq", corpus, model, "--table", table_of(corpus, [f"[d{n}]\t5" for n in range(4)]))
