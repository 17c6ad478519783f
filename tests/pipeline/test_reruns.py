"""What reruns when (docs/architecture.md), on the plan of the default configuration: exactly what depends on a change.

The results are made up: one line in each file that Snakemake would make, taken for made with ``--touch``. What reruns
is decided by what Snakemake has noted of each job, which is real. A job is named as its log: rule.wildcards.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEMO = "config/recipes/demo.yaml"
EXPERIMENT = "results/awscli/pq/demo"

TABLE = {"compare_systems.test", "show_samples", "summarise", "note_versions"}
RANKING_OF_DDRO = {"retrieve.ddro.test.1-of-1", "gather_run.ddro.test", "evaluate.ddro.test"} | TABLE
RANKING_OF_SFT = {"retrieve.sft.test.1-of-1", "gather_run.sft.test", "evaluate.sft.test"}
DDRO = {"train_ddro", "plot_training"} | RANKING_OF_DDRO
NEGATIVES = {"mine_negatives.documents", "mine_negatives.validation"}
RANKING_FOR_NEGATIVES = {"rank_for_negatives.documents", "rank_for_negatives.validation"}
SFT = {"train_sft.finetune"} | RANKING_OF_SFT
INSTANCES = {"build_instances.pretrain", "build_instances.finetune"}
DOCIDS = {"assign_docids", "plot_docids", "build_trie"} | INSTANCES | SFT | RANKING_FOR_NEGATIVES | NEGATIVES | DDRO
PSEUDO_QUERIES = {
    "finetune_doc2query",
    "generate_pseudo_queries.1-of-1",
    "gather_pseudo_queries",
    "filter_pseudo_queries",
    "describe_pseudo_queries",
    "index_doct5query",
    "search_doct5query.test",
    "evaluate.doct5query.test",
}
TRAINING = PSEUDO_QUERIES | SFT | RANKING_FOR_NEGATIVES | NEGATIVES | DDRO


def edit(name: str, old: str, new: str):
    """A change: one text of a file for another."""

    def apply(project: Path) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))

    return apply


def new_times(project: Path) -> None:
    """Give each source file the present time, as a fresh clone does."""
    for folder in ("config", "envs", "scripts", "workflow"):
        for path in (project / folder).rglob("*"):
            os.utime(path)


def delete(name: str):
    def apply(project: Path) -> None:
        path = project / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


CASES = {
    "nothing": ([], [], set()),
    "beta": ([edit(DEMO, "beta: 2.0", "beta: 0.4")], [], DDRO),
    "the number of negatives": ([edit(DEMO, "per_query: 8", "per_query: 9")], [], NEGATIVES | DDRO),
    "a stage that is replayed": (
        [edit(DEMO, "replay: [pretrain]", "replay: [pretrain, search_pretrain]")],
        [],
        {"build_instances.search_pretrain", "train_sft.finetune"}
        | RANKING_OF_SFT
        | RANKING_FOR_NEGATIVES
        | NEGATIVES
        | DDRO,
    ),
    "a setting of PQ": ([edit(DEMO, "centroids: 256", "centroids: 128")], [], {"train_pq_codebook"} | DOCIDS),
    "BM25 of the negatives": (
        [edit(DEMO, "  mining:\n    k1: 0.82", "  mining:\n    k1: 0.9")],
        [],
        # Of the pseudo queries only what is told about them: none is left out here.
        {"search_bm25.documents", "search_bm25.validation", "filter_pseudo_queries", "describe_pseudo_queries"}
        | NEGATIVES
        | DDRO,
    ),
    "the beam size": (
        [edit(DEMO, "decoding:\n  beams: 20", "decoding:\n  beams: 30")],
        [],
        RANKING_OF_SFT | RANKING_OF_DDRO,
    ),
    "a caption": ([edit("workflow/report/summary.rst", "All systems", "Each system")], [], set()),
    "a thread count in the rules": (
        [edit("workflow/rules/docids.smk", "threads: cores(16)", "threads: cores(3)")],
        [],
        {"draw_dag"},
    ),
    "a thread count on the command line": ([], ["--set-threads", "train_sft=1", "retrieve=1"], set()),
    "memory and time": ([], ["--set-resources", "train_sft:mem_mb=9000", "train_sft:runtime=9"], set()),
    "a script": ([edit("scripts/plot_training.py", "def main(", "X = 1\n\n\ndef main(")], [], {"plot_training"}),
    "a function that three scripts import": (
        [edit("scripts/ddro/training/trainer.py", "\ndef ", "\ndef another_function(): ...\n\n\ndef ")],
        [],
        TRAINING,
    ),
    "a comment in a module": ([edit("scripts/ddro/training/trainer.py", "\ndef ", "\n# A comment.\ndef ")], [], set()),
    "nothing but file times": ([new_times], [], set()),
    "one experiment more": (
        [edit("config/config.yaml", "    docid: pq\n", "    docid: pq\n  - dataset: awscli\n    docid: atomic\n")],
        [],
        # All jobs of that experiment but those that it shares with the other, and the table and picture.
        {"draw_dag", "evaluate.bm25.test", "evaluate.doct5query.test", "evaluate.dense.test"} | DOCIDS,
    ),
    "a result deleted that the table shows": ([delete("results/summary.md")], [], {"summarise", "note_versions"}),
    "a result deleted whose users are whole": ([delete(f"{EXPERIMENT}/ddro")], [], set()),
    "a result deleted and asked for": ([delete(f"{EXPERIMENT}/ddro")], [f"{EXPERIMENT}/ddro"], {"train_ddro"}),
    "a result deleted and its rule forced": ([delete(f"{EXPERIMENT}/ddro")], ["--forcerun", "train_ddro"], DDRO),
}


def snakemake(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A copy of the project that Snakemake takes for finished."""
    project = tmp_path_factory.mktemp("finished")
    for name in ("workflow", "config", "scripts", "envs"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    for line in csv.DictReader(snakemake(project, "--summary").splitlines(), delimiter="\t"):
        path = project / line["output_file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line["output_file"]) if path.suffix else path.mkdir(exist_ok=True)
    snakemake(project, "--touch", "--forceall")
    return project


@pytest.mark.parametrize("case", CASES)
def test_what_depends_on_a_change_reruns_and_nothing_else(case, finished, tmp_path):
    changes, arguments, expected = CASES[case]
    project = shutil.copytree(finished, tmp_path / "project")
    for change in changes:
        change(project)
    plan = snakemake(project, "--dry-run", *arguments)
    logs = re.findall(r"^Shell command: .* \| tee results/logs/(\S+)\.log$", plan, flags=re.MULTILINE)
    assert len(logs) == len(set(logs)) and ("Nothing to be done" in plan) == (not logs)
    assert {log.split("/")[-1] for log in logs} == expected
    unchanged = {"one experiment more": ("awscli/pq/", "awscli/tu/"), "a setting of PQ": ("awscli/tu/",)}.get(case, ())
    assert not any(log.startswith(unchanged) for log in logs if "compare" not in log and "samples" not in log)
