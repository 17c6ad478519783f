"""The scripts index_bm25 and search_bm25, on a corpus whose scores are computed by hand."""

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import index_bm25
import search_bm25
from ddro.core.command import UserError
from ddro.core.files import read_table, write_table
from ddro.core.tables import CONTENT_START, CORPUS, OWN_DOCUMENTS, PSEUDO_QUERIES, QUERIES, RUN
from ddro.retrieval.bm25 import Searcher

# Five documents of 3, 5, 2, 2 and 2 terms, 2.8 on average. d5 stands before d4, whose text is the same.
DOCUMENTS = [
    ("d1", "Alpha", "alpha and the beta"),
    ("d2", "Beta", "gammas gamma delta epsilon"),
    ("d3", "Gamma", "zeta"),
    ("d5", "Alpha", "zeta"),
    ("d4", "Alpha", "zeta"),
]


def write_corpus(path, documents):
    rows = [
        {"docno": docno, "url": "", "title": title, "body": body, "judged_queries": 1}
        for docno, title, body in documents
    ]
    write_table(pa.Table.from_pylist(rows, CORPUS), path, CORPUS)


def write_queries(path, queries):
    rows = [{"qid": qid, "text": text, "split": split} for qid, text, split in queries]
    write_table(pa.Table.from_pylist(rows, QUERIES), path, QUERIES)


def start(root, name, *options, **where):
    return subprocess.run(
        [sys.executable, root / "scripts" / name, *options], capture_output=True, text=True, timeout=120, **where
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("bm25")
    write_corpus(folder / "corpus.parquet", DOCUMENTS)
    queries = [
        ("q2", "zeta", "test"),
        ("q1", "ALPHA, beta?", "test"),
        ("q3", "unheard of", "test"),
        ("q0", "delta", "train"),
    ]
    write_queries(folder / "queries.parquet", queries)
    done = start(
        root, "index_bm25.py", "--corpus", folder / "corpus.parquet", "--output", folder / "index", "--threads", "2"
    )
    assert done.returncode == 0, done.stderr
    assert "indexed 5 documents" in done.stderr
    assert "Traceback" not in done.stderr and "WARNING" not in done.stderr
    return folder


def search(folder, output, *changes):
    options = [
        "--split",
        "test",
        "--k1",
        "0.9",
        "--b",
        "0.4",
        "--depth",
        "10",
        "--index",
        str(folder / "index"),
        *changes,
    ]
    options += ["--queries", str(folder / "queries.parquet"), "--output", str(folder / output)]
    search_bm25.main(search_bm25.parser().parse_args(options))
    return read_table(folder / output, RUN).to_pylist()


def test_the_ranking_and_scores_are_those_of_the_formula(folder, root):
    options = ["--index", "index", "--queries", "queries.parquet", "--output", "run.parquet", "--split", "test"]
    options = [folder / option if "." in option or option == "index" else option for option in options]
    done = start(root, "search_bm25.py", *options, "--k1", "0.9", "--b", "0.4", "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert "7 hits for 3 queries" in done.stderr
    assert "1 queries have no hit (no term of them is indexed), such as ['q3']" in done.stderr

    run = read_table(folder / "run.parquet", RUN, ["qid", "docno"]).to_pylist()
    assert [(row["qid"], row["docno"], row["rank"]) for row in run] == [
        ("q1", "d1", 1),
        ("q1", "d2", 2),
        ("q1", "d4", 3),
        ("q1", "d5", 4),
        ("q2", "d3", 1),
        ("q2", "d4", 2),
        ("q2", "d5", 3),
    ]
    # alpha is in 3 of 5 documents, idf = ln(1 + 2.5 / 3.5) = 0.5390; beta in 2, idf = ln(1 + 3.5 / 2.5) = 0.8755.
    # d1: 0.5390 * 2 / (2 + 0.9 * (0.6 + 0.4 * 3 / 2.8)) + 0.8755 / (1 + 0.9 * (0.6 + 0.4 * 3 / 2.8))
    # d2: 0.8755 / (1 + 0.9 * (0.6 + 0.4 * 5 / 2.8));  d4: 0.5390 / (1 + 0.9 * (0.6 + 0.4 * 2 / 2.8))
    expected = [0.8230749, 0.4010655, 0.2999186, 0.2999186] + 3 * [0.2999186]
    assert [row["score"] for row in run] == pytest.approx(expected, abs=1e-6)


def test_depth_cuts_and_parameters_matter(folder):
    assert [row["docno"] for row in search(folder, "cut", "--depth", "2")] == ["d1", "d2", "d3", "d4"]
    # Without saturation (k1 = 0) a score is a sum of idf alone.
    scores = [row["score"] for row in search(folder, "k1", "--k1", "0")][:3]
    assert scores == pytest.approx([0.5389965 + 0.8754687, 0.8754687, 0.5389965], abs=1e-6)


def test_the_same_bytes_every_time_for_any_number_of_threads(tmp_path):
    generator = np.random.default_rng(3)
    texts = [" ".join(f"w{word}" for word in generator.geometric(0.1, size=60)) for _ in range(1200)]
    write_corpus(tmp_path / "corpus.parquet", [(f"d{row}", text[:20], text) for row, text in enumerate(texts)])
    write_queries(tmp_path / "queries.parquet", [(f"q{row}", f"w{row % 20} w{row % 7}", "test") for row in range(300)])
    runs = []
    for threads in ("1", "3"):
        options = [
            "--corpus",
            str(tmp_path / "corpus.parquet"),
            "--output",
            str(tmp_path / "index"),
            "--threads",
            threads,
        ]
        index_bm25.main(index_bm25.parser().parse_args(options))
        search(tmp_path, f"run{threads}", "--threads", threads, "--depth", "100")
        runs.append((tmp_path / f"run{threads}").read_bytes())
    assert runs[0] == runs[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "corpus.parquet",
        "index",
        "queries.parquet",
        "run1",
        "run3",
    ]


def test_documents_expanded_with_their_pseudo_queries(tmp_path, root):
    """Two documents by hand: `beta` and `zeta` stand in d1 only in its pseudo queries."""
    write_corpus(tmp_path / "corpus.parquet", [("d1", "Alpha", "gamma"), ("d2", "Alpha", "delta")])
    rows = [{"docno": "d1", "rank": rank, "text": text} for rank, text in [(1, "what is beta"), (2, "beta zeta")]]
    write_table(pa.Table.from_pylist(rows, PSEUDO_QUERIES), tmp_path / "pseudo.parquet", PSEUDO_QUERIES)
    expand = ["--pseudo-queries", tmp_path / "pseudo.parquet", "--output", tmp_path / "index"]
    done = start(root, "index_bm25.py", "--corpus", tmp_path / "corpus.parquet", *expand)
    assert done.returncode == 0, done.stderr
    searcher = Searcher(tmp_path / "index", k1=0.9, b=0.4)
    found = {}
    for query in ("beta", "zeta", "delta", "alpha"):
        numbers, scores = searcher.search(query, 10)
        docnos = searcher.docnos.take(pa.array(numbers)).to_pylist()
        found[query] = dict(zip(docnos, map(float, scores), strict=True))
    assert {query: set(docnos) for query, docnos in found.items()} == {
        "beta": {"d1"},
        "zeta": {"d1"},
        "delta": {"d2"},
        "alpha": {"d1", "d2"},
    }
    # d1: alpha gamma what beta beta zeta, 6 terms ("is" is no term); d2: alpha delta, 2 terms; mean 4.
    idf = np.log(1 + (2 - 1 + 0.5) / (1 + 0.5))
    assert found["beta"]["d1"] == pytest.approx(idf * 2 / (2 + 0.9 * (1 - 0.4 + 0.4 * 6 / 4)), rel=1e-6)
    assert found["delta"]["d2"] == pytest.approx(idf * 1 / (1 + 0.9 * (1 - 0.4 + 0.4 * 2 / 4)), rel=1e-6)


def test_the_content_alone_is_indexed_where_the_corpus_tells_it_from_the_abstract(tmp_path, caplog):
    caplog.set_level("INFO", logger="ddro")
    schema = CORPUS.append(CONTENT_START)
    rows = [("d1", "alpha", "beta gamma", 5), ("d2", "", "delta", 5), ("d3", "", "beta", 0)]
    columns = list(zip(*[(docno, "", title, body, 1, start) for docno, title, body, start in rows], strict=True))
    write_table(pa.table(list(map(list, columns)), schema=schema), tmp_path / "corpus.parquet", schema)
    options = [f"--corpus={tmp_path}/corpus.parquet", f"--output={tmp_path}/index", "--text=content"]
    index_bm25.main(index_bm25.parser().parse_args(options))
    assert "left out: 1 documents without any text; no query can find them" in caplog.messages  # d2 is its abstract
    searcher = Searcher(tmp_path / "index", k1=0.9, b=0.4)
    found = {query: searcher.search(query, 10)[0] for query in ("alpha", "beta", "gamma", "delta")}
    docnos = {query: searcher.docnos.take(pa.array(numbers)).to_pylist() for query, numbers in found.items()}
    assert docnos == {"alpha": [], "beta": ["d3"], "gamma": ["d1"], "delta": []}

    write_corpus(tmp_path / "corpus.parquet", DOCUMENTS)
    with pytest.raises(UserError, match="corpus.parquet: no column content_start, so nothing tells .* Write body or"):
        index_bm25.main(index_bm25.parser().parse_args(options))


def test_an_empty_corpus_or_one_without_text_is_named_and_leaves_no_index(tmp_path, root):
    write_corpus(tmp_path / "corpus.parquet", [])
    done = start(root, "index_bm25.py", "--corpus", tmp_path / "corpus.parquet", "--output", tmp_path / "index")
    assert done.returncode == 1
    assert "the corpus is empty" in done.stderr and "Traceback" not in done.stderr
    options = index_bm25.parser().parse_args(
        ["--corpus", str(tmp_path / "corpus.parquet"), "--output", str(tmp_path / "index")]
    )
    write_corpus(tmp_path / "corpus.parquet", [("d1", "", " "), ("d2", " ", "")])
    with pytest.raises(UserError, match="no document has any text"):
        index_bm25.main(options)
    write_corpus(tmp_path / "corpus.parquet", [("d1", "alpha", ""), ("d1", "beta", "")])
    with pytest.raises(UserError, match="docno 'd1' stands in rows "):
        index_bm25.main(options)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.parquet"]


def test_documents_without_text_are_counted(tmp_path, caplog):
    caplog.set_level("INFO", logger="ddro")
    write_corpus(tmp_path / "corpus.parquet", [("d1", "alpha", "beta"), ("d2", " ", "")])
    options = ["--corpus", str(tmp_path / "corpus.parquet"), "--output", str(tmp_path / "index")]
    index_bm25.main(index_bm25.parser().parse_args(options))
    assert "left out: 1 documents without any text; no query can find them" in caplog.messages


def test_bad_queries_and_settings_are_named(folder, capsys):
    with pytest.raises(SystemExit):
        search(folder, "out", "--split", "dev")
    assert "invalid choice: 'dev'" in capsys.readouterr().err
    with pytest.raises(UserError, match="no query is in the split 'validation'"):
        search(folder, "out", "--split", "validation")
    with pytest.raises(UserError, match="--depth 0: must be 1 or more"):
        search(folder, "out", "--depth", "0")
    with pytest.raises(UserError, match=r"b = 2\.0"):
        search(folder, "out", "--b", "2")
    with pytest.raises(UserError, match="not a Lucene index"):
        search(folder, "out", "--index", str(folder))
    assert not (folder / "out").exists()


def test_a_query_without_text_is_named(tmp_path):
    write_queries(tmp_path / "queries.parquet", [("q1", "alpha", "test"), ("q2", " \t", "test")])
    with pytest.raises(UserError, match=r"query 'q2' has no text \(1 such queries\)"):
        search(tmp_path, "out")


def test_a_path_that_the_locale_cannot_spell(root, folder, tmp_path):
    here = tmp_path / "José"
    here.mkdir()
    where = {"cwd": here, "env": os.environ | {"LC_ALL": "C"}}
    indexed = start(root, "index_bm25.py", "--corpus", folder / "corpus.parquet", "--output", "index", **where)
    assert indexed.returncode == 0, indexed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["José"]
    options = ["--split", "test", "--k1", "0.9", "--b", "0.4", "--index", "index", "--output", "run.parquet"]
    searched = start(root, "search_bm25.py", *options, "--queries", folder / "queries.parquet", **where)
    assert searched.returncode == 0, searched.stderr
    assert set(read_table(here / "run.parquet", RUN)["qid"].to_pylist()) == {"q1", "q2"}


def test_a_query_that_is_a_document_is_not_its_own_answer(folder):
    queries = pa.Table.from_pylist([{"qid": "d3", "text": "Gamma zeta", "split": "test"}], QUERIES)
    path, output = folder / "queries_of_documents.parquet", folder / "of_documents.parquet"
    options = ["--index", folder / "index", "--queries", path, "--split", "test", "--depth", "3", "--output", output]
    options = search_bm25.parser().parse_args([str(option) for option in (*options, "--k1", "0.9", "--b", "0.4")])

    def ranked(queries):
        write_table(queries, path, QUERIES)
        search_bm25.main(options)
        return [(row["docno"], row["rank"]) for row in read_table(output, RUN).to_pylist()]

    # gamma is in d2, by its stem, and in d3; zeta in d3, d4 and d5.
    assert ranked(queries)[0] == ("d3", 1)
    marked = queries.replace_schema_metadata({OWN_DOCUMENTS: b'["d3"]'})
    assert ranked(marked) == [("d2", 1), ("d4", 2), ("d5", 3)]
