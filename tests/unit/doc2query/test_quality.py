"""What pseudo queries are worth: the numbers, the page, and BM25's filter."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

import describe_pseudo_queries
from ddro.core.files import read_table, write_table
from ddro.core.tables import CORPUS, PSEUDO_QUERIES, PSEUDO_QUERY_RANKS
from ddro.doc2query.quality import quality, with_documents
from ddro.doc2query.shards import rows_of, sampled_rows, write_with_metadata
from ddro.report.pseudo_queries import quality_page

DOCUMENTS = [("d1", "Alpha", "alpha and beta"), ("d2", "Gamma", "gammas delta"), ("d3", "Zeta", "eta <b>")]
QUERIES = [["alpha beta", "Alpha, beta!", "omega"], [], ["zeta delta eta", "eta"]]


@pytest.fixture
def folder(tmp_path):
    rows = [
        {"docno": docno, "url": "", "title": title, "body": body, "judged_queries": 1}
        for docno, title, body in DOCUMENTS
    ]
    write_table(pa.Table.from_pylist(rows, CORPUS), tmp_path / "corpus.parquet", CORPUS)
    metadata = {"settings": {"engine": "transformers"}, "counts": {}}
    write_with_metadata([rows_of(["d1", "d2", "d3"], QUERIES)], metadata, tmp_path / "queries.parquet")
    return tmp_path


def start(root, name, *options):
    command = [sys.executable, str(root / f"scripts/{name}.py"), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_numbers(folder):
    documents = list(with_documents(folder / "queries.parquet", folder / "corpus.parquet"))
    assert [texts for _, texts, _ in documents] == QUERIES
    numbers, samples, lengths = quality(documents, np.array([1, 0, 30, 2]), kept=4)
    assert numbers == {
        "documents": 3,
        "documents_without_queries": 1,
        "queries": 5,
        "share_kept": 4 / 5,
        "share_repeated": 1 / 5,  # two have the same words
        "mean_words": 9 / 5,
        "share_of_words_in_document": 7 / 9,  # all but omega and delta
        "queries_searched": 4,
        "share_bm25_rank_1": 1 / 4,
        "share_bm25_rank_10": 2 / 4,
        "share_bm25_rank_100": 3 / 4,
    }
    assert lengths == {2: 2, 1: 2, 3: 1}
    assert [docno for docno, _, _ in samples] == ["d1", "d2", "d3"]
    page = quality_page(numbers, [("d<1>", "a & b", ["<script>"])])
    assert "d&lt;1&gt;" in page and "a &amp; b" in page and "<li>&lt;script&gt;</li>" in page
    assert '<td>share kept</td><td class="number">0.800</td>' in page


def test_ten_documents_are_shown_and_a_sample_is_spread_evenly(tmp_path):
    rows = [{"docno": f"d{n}", "url": "", "title": "t", "body": "b", "judged_queries": 1} for n in range(91)]
    write_table(pa.Table.from_pylist(rows, CORPUS), tmp_path / "corpus.parquet", CORPUS)
    write_with_metadata([rows_of(["d0"], [["a"]])], {}, tmp_path / "queries.parquet")
    documents = with_documents(tmp_path / "queries.parquet", tmp_path / "corpus.parquet")
    assert [document["docno"] for document, _, shown in documents if shown] == [f"d{n}" for n in range(0, 91, 10)]
    assert np.flatnonzero(sampled_rows(9, 3)).tolist() == [0, 4, 8]
    assert sampled_rows(2, 5).all()


def test_the_filter_keeps_queries_whose_document_bm25_finds(root, folder):
    done = start(root, "index_bm25", "--corpus", folder / "corpus.parquet", "--output", folder / "index")
    assert done.returncode == 0, done.stderr

    def run_filter(*options):
        return start(
            root, "filter_pseudo_queries", "--pseudo-queries", folder / "queries.parquet", "--index", folder / "index",
            "--k1", 0.9, "--b", 0.4, "--output", folder / "kept.parquet", "--output-ranks", folder / "ranks.parquet",
            *options,
        )  # fmt: skip

    done = run_filter("--keep-within", 1)
    assert done.returncode == 0, done.stderr
    assert "kept 4 of 5 pseudo queries (80.0 %)" in done.stderr
    kept = read_table(folder / "kept.parquet", PSEUDO_QUERIES, ["docno", "rank"])
    assert kept["text"].to_pylist() == ["alpha beta", "Alpha, beta!", "zeta delta eta", "eta"]
    ranks = read_table(folder / "ranks.parquet", PSEUDO_QUERY_RANKS, ["docno", "rank"])
    assert ranks["bm25_rank"].to_pylist() == [1, 1, 0, 1, 1]

    assert run_filter().returncode == 0
    kept = read_table(folder / "kept.parquet", PSEUDO_QUERIES)
    assert kept["text"].to_pylist() == sum(QUERIES, [])

    outputs = {f"output_{name}": folder / f"quality.{name}" for name in ("json", "html", "figure")}
    inputs = {"corpus": "corpus", "pseudo_queries": "queries", "kept": "kept", "ranks": "ranks"}
    paths = {name: folder / f"{file}.parquet" for name, file in inputs.items()} | outputs
    words = [str(word) for name, path in paths.items() for word in (f"--{name.replace('_', '-')}", path)]
    describe_pseudo_queries.main(describe_pseudo_queries.parser().parse_args(words))
    numbers = json.loads(outputs["output_json"].read_text())
    assert numbers["settings"] == {"engine": "transformers"} and numbers["share_kept"] == 1
    assert numbers["share_bm25_rank_1"] == 4 / 5
    assert "<svg" in outputs["output_figure"].read_text()


def test_a_filter_that_would_keep_nothing_says_so(root, folder):
    start(root, "index_bm25", "--corpus", folder / "corpus.parquet", "--output", folder / "index")
    write_with_metadata([rows_of(["d1"], [["omega"]])], {}, folder / "omega.parquet")
    done = start(
        root, "filter_pseudo_queries", "--pseudo-queries", folder / "omega.parquet", "--index", folder / "index",
        "--k1", 0.9, "--b", 0.4, "--output", folder / "kept.parquet", "--output-ranks", folder / "ranks.parquet",
        "--keep-within", 5,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no document of 1 queries within rank 5. Raise doc2query.keep_within" in done.stderr
    assert not (folder / "kept.parquet").exists()
