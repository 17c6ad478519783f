"""A corpus of the user's own: the plan of the whole DAG, and a real run of its data part."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ddro.files import read_json, read_table
from ddro.tables import CORPUS, QRELS, QUERIES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project with a folder in the layout of BEIR."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("workflow", "config", "scripts", "envs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    mine = folder / "my corpus"
    (mine / "qrels").mkdir(parents=True)
    records = [{"_id": f"D{number}", "title": f"Title {number}", "text": f"Body {number}"} for number in range(60)]
    (mine / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    records = [{"_id": f"q{number}", "text": f"question {number}"} for number in range(50)]
    (mine / "queries.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    for kind, numbers in (("train", range(40)), ("test", range(40, 50))):
        lines = "".join(f"q{number}\tD{number % 45}\t1\n" for number in numbers)
        (mine / f"qrels/{kind}.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    pq = {"components": 16, "subspaces": 8, "centroids": 8}
    recipe = {"extends": "demo", "corpus": {"top_k": 55}, "split": {"validation_share": 0.2}, "pq": pq}
    config = {
        "experiments": [{"dataset": "mine", "docid": "pq", "recipe": "few"}],
        "datasets": {"mine": {"folder": "my corpus"}},
        "recipes": {"few": recipe},
    }
    (folder / "mine.yaml").write_text(json.dumps(config))
    return folder


def snakemake(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_the_plan_leads_from_the_folder_to_the_table(project):
    planned = snakemake(project, "--dry-run", "--configfile", "mine.yaml")
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", planned, flags=re.MULTILINE))
    assert jobs["read_folder"] == jobs["sample_corpus"] == jobs["train_ddro"] == jobs["summarise"] == "1"
    assert not {"fetch_awscli", "fetch_file"} & set(jobs)


@pytest.mark.timeout(200)
def test_the_data_part_runs(project):
    snakemake(project, "results/mine/queries.parquet", "--configfile", "mine.yaml")
    corpus = read_table(project / "results/mine/corpus.parquet", CORPUS, ["docno"]).to_pylist()
    judged = {f"D{number % 45}" for number in range(50)}
    assert len(corpus) == 55
    assert {row["docno"] for row in corpus[:45]} == judged
    assert [row["judged_queries"] for row in corpus] == [2] * 5 + [1] * 40 + [0] * 10
    queries = read_table(project / "results/mine/queries.parquet", QUERIES, ["qid"]).to_pylist()
    splits = {row["qid"]: row["split"] for row in queries}
    assert {qid for qid, split in splits.items() if split == "test"} == {f"q{number}" for number in range(40, 50)}
    assert set(splits.values()) == {"train", "validation", "test"}
    assert read_table(project / "results/mine/qrels.parquet", QRELS, ["qid", "docno"]).num_rows == 50
    assert read_json(project / "results/mine/data_report.json")["found"]["documents"] == 60


@pytest.mark.timeout(120)
def test_without_training_judgements_pseudo_queries_train(project):
    train = project / "my corpus/qrels/train.tsv"
    train.rename(train.with_suffix(".kept"))
    try:
        config = json.loads((project / "mine.yaml").read_text())
        config["recipes"]["few"]["doc2query"] = {"source": "doc2query/msmarco-t5-base-v1", "epochs": 0}
        (project / "pseudo.yaml").write_text(json.dumps(config))
        planned = snakemake(project, "--dry-run", "--configfile", "pseudo.yaml")
    finally:
        train.with_suffix(".kept").rename(train)
    training, official = "results/mine/training/queries.parquet", "results/mine/queries.parquet"
    used = {
        name: training if f"--queries {training}" in command else official
        for command in re.findall(r"^Shell command: python (.*)$", planned, flags=re.MULTILINE)
        if f"--queries {training}" in command or f"--queries {official}" in command
        for name in [re.sub(r".*logs/mine/(?:pq/few/)?(.*)\.log", r"\1", command)]
    }
    assert {name for name, path in used.items() if path == training} == {
        "search_bm25.train",
        "mine_negatives.train",
        "build_instances.finetune",
        "train_ddro",
    }
    assert {"search_bm25.test", "mine_negatives.validation", "judge_pseudo_queries", "evaluate.sft.test"} <= set(used)


@pytest.mark.timeout(120)
def test_a_file_that_is_there_is_used_and_another_mirror_fetches_nothing_again(project):
    (project / "dev.gz").write_bytes(b"mine")
    file = "results/nq/download/nq-dev-all.jsonl.gz"
    experiments = [{"dataset": "nq_by_id", "docid": "pq", "recipe": "paper"}]
    for name, downloads in (
        ("here", {"files": {"nq-dev-all.jsonl.gz": "dev.gz"}}),
        ("mirror", {"mirror": "http://a/"}),
    ):
        (project / f"{name}.yaml").write_text(json.dumps({"experiments": experiments, "downloads": downloads}))
    snakemake(project, file, "--configfile", "here.yaml")
    assert (project / file).read_bytes() == b"mine"
    assert "Nothing to be done" in snakemake(project, file, "--configfile", "mirror.yaml")
