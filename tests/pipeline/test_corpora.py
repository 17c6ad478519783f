"""Corpora in the DAG: one of the user's own, planned and read; Natural Questions from a mirror and the disk."""

import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ddro.core.files import read_json, read_table
from ddro.core.tables import CORPUS, QRELS, QUERIES

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
    recipe["negatives"] = {"queries": ["train", "documents"]}
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
        for command in re.findall(r"^Shell command: +python (.*)$", planned, flags=re.MULTILINE)
        if f"--queries {training}" in command or f"--queries {official}" in command
        for name in [re.sub(r".*logs/mine/(?:pq/few/)?(.*)\.log", r"\1", command)]
    }
    assert {name for name, path in used.items() if path == training} == {
        "search_bm25.train",
        "rank_for_negatives.train",
        "mine_negatives.train",
        "build_instances.finetune",
        "make_document_queries",  # of which train_ddro takes both kinds
    }
    assert {"search_bm25.test", "mine_negatives.validation", "make_training_queries", "evaluate.sft.test"} <= set(used)


def question(number: int, page: int) -> dict:
    """A record of Natural Questions' training file."""
    return {
        "example_id": number,
        "question_text": f"question {number}",
        "document_url": f"https://en.wikipedia.org//w/index.php?title=P{page}&amp;oldid={page}",
        "document_text": f"Page {page} - Wikipedia <H1> Page {page} </H1> <P> Text of {page} . </P>",
    }


@pytest.mark.timeout(200)
def test_files_of_a_mirror_and_of_the_disk_and_another_mirror_changes_nothing(project, tmp_path):
    for name, records in (
        ("simplified-nq-train", [question(number, number % 7) for number in range(30)]),
        ("nq-dev-all", [question(-number, number) for number in (6, 7, 8)]),
    ):
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    here = {"nq-dev-all.jsonl.gz": str((tmp_path / "nq-dev-all.jsonl.gz").rename(tmp_path / "mine.gz"))}
    config = {
        "experiments": [{"dataset": "nq_by_id", "docid": "pq", "recipe": "mine"}],
        "recipes": {"mine": {"extends": "paper", "split": {"validation_share": 0.3}}},
    }
    target = "results/nq_by_id/queries.parquet"
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        downloads = {"mirror": f"http://127.0.0.1:{server.server_port}/", "files": here}
        (project / "nq.yaml").write_text(json.dumps(config | {"downloads": downloads}))
        snakemake(project, target, "--configfile", "nq.yaml")
        server.shutdown()
    assert (project / "results/nq/download/nq-dev-all.jsonl.gz").is_symlink()
    report = read_json(project / "results/nq_by_id/data_report.json")
    assert report["variant"] == "by id, dev all"
    assert (report["found"]["documents"], report["found"]["dev_queries"]) == (9, 3)
    (project / "nq.yaml").write_text(json.dumps(config | {"downloads": {"mirror": "http://127.0.0.1:9/"}}))
    assert "Nothing to be done" in snakemake(project, target, "--configfile", "nq.yaml")


@pytest.mark.timeout(200)
def test_the_nq_of_the_authors_becomes_a_corpus_with_their_docnos(project, tmp_path):
    rows = [[f"question {n}", f"-{n}", "", "", f"page {n}", "about", "words", f"url{n}", "", "en"] for n in range(24)]
    pages = [{"id": row[1], "title": row[4], "content": row[6], "document_url": row[7]} for row in rows]
    (tmp_path / "nq_merged.json").write_text("".join(json.dumps(page) + "\n" for page in pages))
    for name, part in (("nq_train.gz", rows[:20]), ("nq_val.gz", rows[20:])):
        (tmp_path / name).write_bytes(gzip.compress("".join("\t".join(row) + "\n" for row in part).encode()))
    config = {
        "experiments": [{"dataset": "nq_ddro", "docid": "pq", "recipe": "mine"}],
        "recipes": {"mine": {"extends": "authors_code", "split": {"validation_share": 0.3}}},
        "downloads": {"files": {path.name: str(path) for path in tmp_path.iterdir()}},
    }
    (project / "nq_ddro.yaml").write_text(json.dumps(config))
    snakemake(project, "results/nq_ddro/queries.parquet", "--configfile", "nq_ddro.yaml")
    corpus = read_table(project / "results/nq_ddro/corpus.parquet", CORPUS).to_pylist()
    assert sorted(row["docno"] for row in corpus) == sorted(row[1] for row in rows)
    queries = read_table(project / "results/nq_ddro/queries.parquet", QUERIES).to_pylist()
    assert {row["qid"] for row in queries if row["split"] == "test"} == {"20", "21", "22", "23"}
    report = read_json(project / "results/nq_ddro/data_report.json")
    assert report["found"] | report["left_out"] == {
        "documents": 24,
        "queries": 24,
        "qrels": 24,
        "train_queries": 20,
        "dev_queries": 4,
    }


class Quiet(SimpleHTTPRequestHandler):
    """A file server that logs nothing."""

    def log_message(self, *_):
        pass
