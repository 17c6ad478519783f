"""The whole DAG, for real, on a slice of the default data set: tiny.yaml."""

import json
import re
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from ddro.core import tables
from ddro.core.files import read_table
from ddro.docids.trie import DocidTrie
from ddro.models.t5 import load
from ddro.retrieval.runs import read_run
from ddro.training.log import LOG, curve, read_training_log
from project import EXPERIMENT, ROOT, TINY, copy_of_project, snakemake

OTHER_SCHEMES = ["rq", "tu", "atomic"]
SAME_BYTES = [
    "results/awscli/corpus.parquet",
    "results/awscli/queries.parquet",
    "results/awscli/qrels.parquet",
    "results/awscli/bm25/test.run.parquet",
    "results/awscli/pq/docids.parquet",
    f"{EXPERIMENT}/instances/pretrain.parquet",
    f"{EXPERIMENT}/instances/search_pretrain.parquet",
    f"{EXPERIMENT}/instances/finetune.parquet",
    f"{EXPERIMENT}/negatives/train.parquet",
    f"{EXPERIMENT}/negatives/documents.parquet",
    f"{EXPERIMENT}/runs/sft.test.trec.gz",
    f"{EXPERIMENT}/metrics/ddro.test.json",
]


@pytest.fixture(scope="module")
def project(own_slice) -> Path:
    """A copy of the project in which the slice has run to its end."""
    return own_slice


pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_table_has_a_row_for_each_system(project):
    table = pd.read_csv(project / "results/summary.csv")
    assert table["system"].tolist() == list(tables.SYSTEMS)
    measures = table[["MRR@10", "R@1", "R@5", "R@10", "nDCG@10"]].to_numpy()
    assert ((measures >= 0) & (measures <= 1)).all()
    assert (table["R@1"] <= table["R@5"]).all() and (table["R@5"] <= table["R@10"]).all()
    assert table["n_queries"].nunique() == 1
    assert table["n_queries"][0] == table["n_seen"][0] + table["n_unseen"][0]
    assert table["MRR@10"][0] > 0.5  # BM25 on 80 documents
    markdown = (project / "results/summary.md").read_text()
    assert all(system in markdown for system in tables.SYSTEMS)


def test_the_splits_keep_unseen_documents_from_training(project):
    queries = read_table(project / "results/awscli/queries.parquet", tables.QUERIES, ["qid"]).to_pandas()
    qrels = read_table(project / "results/awscli/qrels.parquet", tables.QRELS, ["qid", "docno"]).to_pandas()
    judged = qrels.merge(queries, on="qid")
    by_split = judged.groupby("split")["docno"].agg(set)
    assert by_split["test"] - by_split["train"]
    metrics = json.loads((project / EXPERIMENT / "metrics/sft.test.json").read_text())
    seen = judged[judged["docno"].isin(by_split["train"]) & (judged["split"] == "test")]["qid"].nunique()
    assert metrics["groups"]["seen"]["n_queries"] == seen


def test_every_ranking_is_of_documents_of_the_corpus(project):
    corpus = set(read_table(project / "results/awscli/corpus.parquet", tables.CORPUS)["docno"].to_pylist())
    for system in ("sft", "ddro"):
        run = read_run(project / EXPERIMENT / f"runs/{system}.test.trec.gz")
        assert set(run["docno"].to_pylist()) <= corpus


def test_each_model_starts_from_the_one_before_and_moves_unless_its_start_was_the_best(project):
    names = ["sft/pretrain", "sft/search_pretrain", "sft/finetune", "ddro"]
    heads = [load(project / EXPERIMENT / name)[0].lm_head.weight for name in names]
    logs = [read_training_log(project / EXPERIMENT / name / LOG) for name in names]
    assert all(any("eval_mrr@10" in record for record in log) for log in logs)
    for before, after, log in zip(heads, heads[1:], logs[1:], strict=False):
        moved = bool((before - after).abs().max() > 0)
        assert moved == (log[-1]["kept_step"] > 0)
        by_step = dict(zip(*curve(log, "eval_mrr@10"), strict=True))
        assert by_step[log[-1]["kept_step"]] == max(by_step.values())
    assert logs[0][-1]["kept_step"] > 0  # from random weights


def test_docids_fit_the_model(project):
    docids = read_table(project / "results/awscli/pq/docids.parquet", tables.DOCIDS, ["docno"])
    trie = DocidTrie.build(docids["tokens"].to_pylist())
    model, tokenizer = load(project / EXPERIMENT / "ddro")
    assert trie.largest_token < model.config.vocab_size == len(tokenizer)
    assert len(trie.documents) == docids.num_rows == 80


def test_documents_that_share_a_docid_are_ranked_by_what_trains(project):
    docids = read_table(project / "results/awscli/pq/docids.parquet", tables.DOCIDS, ["docno"])["docno"].to_pylist()
    queries = read_table(project / "results/awscli/queries.parquet", tables.QUERIES, ["qid"]).to_pandas()
    qrels = read_table(project / "results/awscli/qrels.parquet", tables.QRELS, ["qid", "docno"]).to_pandas()
    count = qrels[qrels["qid"].isin(queries[queries["split"] == "train"]["qid"])]["docno"].value_counts()
    assert docids == sorted(docids, key=lambda docno: (-count.get(docno, 0), docno))


@pytest.fixture(scope="module")
def other_schemes(project) -> str:
    """What Snakemake says when the slice runs with each other docid scheme, to DDRO's measures."""
    config = yaml.safe_load((project / "tests/pipeline/tiny.yaml").read_text())
    (entry,) = config["experiments"]
    config["experiments"] = [entry | {"docid": scheme} for scheme in OTHER_SCHEMES]
    (project / "schemes.json").write_text(json.dumps(config))
    wanted = [f"results/awscli/{scheme}/tiny/metrics/ddro.test.json" for scheme in OTHER_SCHEMES]
    return snakemake(project, *wanted, config="schemes.json")


def test_another_docid_scheme_shares_what_is_there(other_schemes):
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", other_schemes, flags=re.MULTILINE))
    assert jobs["train_ddro"] == jobs["retrieve"] == jobs["assign_docids"] == "3"
    shared = {"fetch_awscli", "embed_documents", "train_pq_codebook", "generate_pseudo_queries", "search_bm25"}
    assert shared.isdisjoint(jobs)


@pytest.mark.parametrize("scheme", OTHER_SCHEMES)
def test_each_docid_scheme_runs_to_its_end(project, other_schemes, scheme):
    docids = read_table(project / f"results/awscli/{scheme}/docids.parquet", tables.DOCIDS, ["docno"])
    tokens = docids["tokens"].to_pylist()
    lengths, ends = set(map(len, tokens)), {docid[-1] for docid in tokens}
    report = json.loads((project / f"results/awscli/{scheme}/docid_report.json").read_text())
    if scheme == "rq":  # whose collisions the slice extends by a token
        assert lengths == {3, 4} and len(set(map(tuple, tokens))) == 80 > 80 - report["collisions"]["documents"]
    elif scheme == "tu":
        assert ends == {1}
    else:
        assert lengths == {1} and len(ends) == 80
    model, _ = load(project / f"results/awscli/{scheme}/tiny/ddro")
    assert max(map(max, tokens)) < model.config.vocab_size
    ranking = read_run(project / f"results/awscli/{scheme}/tiny/runs/ddro.test.trec.gz")
    assert set(ranking["docno"].to_pylist()) <= set(docids["docno"].to_pylist())


@pytest.mark.parametrize("queries", ["train", "documents"])
def test_negatives_are_never_relevant_nor_share_a_relevant_docid(project, queries):
    negatives = read_table(project / EXPERIMENT / f"negatives/{queries}.parquet", tables.NEGATIVES).to_pandas()
    qrels = pq.read_table(project / "results/awscli/documents/qrels.parquet").to_pandas()
    assert set(negatives["qid"]) <= set(qrels["qid"]) and len(negatives) > 80
    docids = pq.read_table(project / "results/awscli/pq/docids.parquet").to_pandas()
    docid_of = {row.docno: tuple(row.tokens) for row in docids.itertuples()}
    relevant = qrels.groupby("qid")["docno"].agg(set)
    for row in negatives.itertuples():
        assert docid_of[row.negative] not in {docid_of[docno] for docno in relevant[row.qid]}


def test_a_second_call_does_nothing(project):
    assert "Nothing to be done" in snakemake(project, "--dry-run")


def test_the_report_is_made_without_network(project):
    snakemake(project, "--report", "results/report.html")
    report = (project / "results/report.html").read_text()
    assert "Measures" in report
    assert len(report) > 100_000


def test_deleted_results_come_back_as_the_same_bytes(project):
    before = {name: (project / name).read_bytes() for name in SAME_BYTES}
    for name in SAME_BYTES:
        (project / name).unlink()
    # Named as targets, for Snakemake makes no file again that nothing needs.
    snakemake(project, *SAME_BYTES)
    changed = [name for name in SAME_BYTES if (project / name).read_bytes() != before[name]]
    assert changed == []


@pytest.mark.parametrize("scheme", ["pq", "tu"])
def test_a_frozen_encoder_runs_to_its_end(tmp_path_factory, scheme):
    folder = copy_of_project(tmp_path_factory.mktemp(f"frozen_{scheme}"))
    config = yaml.safe_load((ROOT / TINY).read_text())
    recipe = config["recipes"]["tiny"] | {"extends": "demo"}
    del recipe["model"], recipe["overrides"]
    recipe["sft"] = {"stages": {"finetune": {"epochs": 1}}}
    recipe["doc2query"]["engine"] = "transformers"
    config |= {"experiments": [{"dataset": "awscli", "docid": scheme, "recipe": "tiny"}], "recipes": {"tiny": recipe}}
    (folder / "frozen.json").write_text(json.dumps(config))
    made = f"results/awscli/{scheme}/tiny"
    system, trained = ("ddro", "ddro") if scheme == "pq" else ("sft", "sft/finetune")
    snakemake(folder, f"{made}/metrics/{system}.test.json", config="frozen.json")
    assert not (folder / f"{made}/sft/pretrain").exists() and (folder / f"{made}/instances/pretrain.parquet").exists()
    model, _ = load(folder / f"{made}/{trained}")
    before, _ = load(folder / "results/awscli/model")
    name = "embeddings.word_embeddings.weight"
    assert torch.equal(model.encoder.pretrained.get_parameter(name), before.encoder.pretrained.get_parameter(name))
    docids = read_table(folder / f"results/awscli/{scheme}/docids.parquet", tables.DOCIDS, ["docno"])
    assert DocidTrie.build(docids["tokens"].to_pylist()).largest_token < model.config.vocab_size
