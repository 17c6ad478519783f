"""The workflow runs from any folder: by --directory, by --snakefile, and as a module of another workflow."""

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from ddro.core import tables
from ddro.core.files import read_table
from project import ENVIRONMENT, ROOT, TINY

SNAKEFILE = ROOT / "workflow/Snakefile"
MODULE = f"""
module ddro:
    snakefile: {str(SNAKEFILE)!r}
    config: {{"experiments": [{{"dataset": "awscli", "docid": "pq"}}, {{"dataset": "awscli", "docid": "rq"}}]}}

use rule * from ddro as ddro_*

rule mine:
    default_target: True
    input: rules.ddro_all.input
"""


def snakemake(*arguments: str, start: Path) -> str:
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=start, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def planned(output: str) -> dict[str, int]:
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", output, flags=re.MULTILINE)}


@pytest.fixture(scope="module")
def plan_at_home(tmp_path_factory) -> dict[str, int]:
    jobs = planned(snakemake("--dry-run", "--forceall", start=ROOT))
    assert jobs["train_ddro"] == 2
    return jobs


def test_another_directory_for_the_results(plan_at_home, tmp_path):
    assert planned(snakemake("--dry-run", "--forceall", "--directory", str(tmp_path), start=ROOT)) == plan_at_home


def test_started_in_another_folder(plan_at_home, tmp_path):
    assert planned(snakemake("--dry-run", "--snakefile", str(SNAKEFILE), start=tmp_path)) == plan_at_home


def test_a_module_of_another_workflow_with_its_own_configuration(plan_at_home, tmp_path):
    (tmp_path / "Snakefile").write_text(MODULE)
    jobs = planned(snakemake("--dry-run", "--printshellcmds", start=tmp_path))
    others = {"all", "total"}
    expected = {f"ddro_{name}": count for name, count in plan_at_home.items() if name not in others}
    expected["ddro_train_rq_codebook"] = 1  # docids of titles and URLs need none
    assert jobs == expected | {"mine": 1, "total": sum(expected.values()) + 1}


def test_the_directory_s_own_configuration_counts_and_its_paths_are_relative_to_it(tmp_path):
    folder = tmp_path / "corpora/mine"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "D1", "title": "one", "text": "two"}) + "\n")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q1", "text": "three"}) + "\n")
    (folder / "qrels/train.tsv").write_text("q1\tD1\t1\n")
    (folder / "qrels/test.tsv").write_text("q1\tD1\t1\n")
    config = {"datasets": {"mine": {"folder": "corpora/mine"}}, "experiments": [{"dataset": "mine", "recipe": "demo"}]}
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text(yaml.safe_dump(config))
    output = snakemake("--dry-run", "--directory", str(tmp_path), start=ROOT)
    assert planned(output)["read_folder"] == 1
    assert "--corpus corpora/mine/corpus.jsonl" in output


@pytest.mark.slow
def test_a_run_in_another_directory(tmp_path):
    """Some cheap rules for real; one of them starts Snakemake itself."""
    before = {path: path.stat().st_mtime_ns for path in (ROOT / "results").glob("*")}
    wanted = ["results/awscli/queries.parquet", "results/dag.svg"]
    place = tmp_path / "a place"
    options = ["--configfile", str(ROOT / TINY), "--directory", str(place)]
    jobs = planned(snakemake(*wanted, *options, "--cores", "2", start=ROOT))
    assert jobs == {"fetch_awscli": 1, "sample_corpus": 1, "split_queries": 1, "draw_dag": 1, "total": 4}
    queries = read_table(place / "results/awscli/queries.parquet", tables.QUERIES, ["qid"])
    assert set(queries["split"].to_pylist()) == {"train", "validation", "test"}
    assert ElementTree.parse(place / "results/dag.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert {path: path.stat().st_mtime_ns for path in (ROOT / "results").glob("*")} == before
    again = snakemake(*wanted, *options, "--dry-run", "--snakefile", str(SNAKEFILE), start=tmp_path)
    assert "Nothing to be done" in again


def test_called_by_its_path_with_another_python_first_and_a_home_that_is_none(tmp_path):
    """As `.venv/bin/snakemake` without the activated environment: the jobs take Snakemake's python."""
    other = tmp_path / "bin"
    other.mkdir()
    (other / "python").write_text("#!/bin/sh\nexit 3\n")
    (other / "python").chmod(0o755)
    environment = os.environ | {"PATH": f"{other}:/usr/bin:/bin", "HOME": "/dev/null"}
    environment.pop("XDG_CACHE_HOME", None)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "results/awscli/raw/queries.parquet"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert read_table(tmp_path / "results/awscli/raw/queries.parquet", tables.RAW_QUERIES, ["qid"]).num_rows > 10_000
