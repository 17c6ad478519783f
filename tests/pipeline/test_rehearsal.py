"""The rehearsal: what it needs of the disk, and how the memory of its rules grows with their input."""

import json
import subprocess
import sys
import time
from collections import namedtuple

import psutil
import pytest

from project import ROOT

BENCHMARKS = ROOT / "tests/benchmarks"
UNTIL = [f"pq/rehearsal/{name}" for name in ("negatives/train.parquet", "instances/finetune.parquet", "sft/pretrain")]
GROWS = 2
"""Of an input that is at least so many times as large as at a third of the scale, a job's memory must show less."""


@pytest.fixture
def rehearsal(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import rehearsal

    return rehearsal


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_grows_slower_than_the_input(tmp_path):
    def rehearse(*options):
        command = [sys.executable, BENCHMARKS / "rehearsal.py", "--folder", tmp_path, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=880)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])["jobs"].values()

    smaller, larger = rehearse("--quick", "--until", *UNTIL)
    growing = 0
    for job, told in larger.items():
        before = smaller[job]
        if before["input_mib"] and (grown := told["input_mib"] / before["input_mib"]) >= GROWS:
            growing += 1
            assert told["peak_mib"] / before["peak_mib"] < grown, job
    assert growing >= 8
    assert {
        "msmarco/embed_documents",
        "msmarco/build_instances.pretrain",
        "msmarco/train_sft.pretrain",
    } <= larger.keys()

    # A run that was cut off: what is there stays, and the rest is made.
    (folder,) = (found for found in tmp_path.iterdir() if found.name.endswith("-0.001"))
    made = folder / "results/msmarco/pq/rehearsal/negatives/train.parquet"
    kept, content = folder / "results/msmarco/corpus.parquet", made.read_bytes()
    time = kept.stat().st_mtime_ns
    made.unlink()
    rehearse("--scale", "0.001", "--alone", "--until", UNTIL[0])
    assert (made.read_bytes(), kept.stat().st_mtime_ns) == (content, time)


def test_too_little_disk_is_told_before_the_start(rehearsal, monkeypatch, tmp_path, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(rehearsal.shutil, "disk_usage", lambda path: usage(10**10, 0, 10**10))
    rehearsal.check_disk(tmp_path / "not yet", "msmarco", [0.01])
    assert "1.5 GB needed, 10.0 GB free" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"too little disk .* smaller --scale"):
        rehearsal.check_disk(tmp_path / "not yet", "msmarco", [1.0])


@pytest.mark.skipif(sys.platform != "linux", reason="private memory is told by /proc")
def test_a_jobs_memory_is_looked_at_more_often_in_its_first_seconds(rehearsal, monkeypatch, tmp_path):
    waited, sleep = [], time.sleep
    monkeypatch.setattr(rehearsal.time, "sleep", lambda seconds: (waited.append(seconds), sleep(seconds)))
    monkeypatch.setattr(rehearsal, "FIRST", 0.7)
    job = "import time; some = bytearray(50 * 2**20); time.sleep(1.5)"
    command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", job, "--cost", "job.json"]
    effort = rehearsal.Effort(looks=5, first_looks=50, query_tokens=4, environment={})
    rehearsal.watch_memory(psutil.Popen(command), tmp_path / "most.json", effort)
    assert 50 < json.loads((tmp_path / "most.json").read_text())["job.json"] < 100
    assert waited.count(1 / 50) >= 3 and waited.count(1 / 5) >= 2


@pytest.mark.parametrize("dataset", ["msmarco", "nq"])
@pytest.mark.parametrize("recipe", ["paper", "authors_code"])
def test_the_configuration_is_that_of_the_recipe_but_for_sizes(rehearsal, dataset, recipe):
    from ddro.config.configuration import load_experiments

    def experiment(name, **more):
        return load_experiments(
            {"experiments": [{"dataset": dataset, "docid": "pq", "recipe": name}], **more}, "test", ROOT
        )[0]

    full = experiment(recipe)
    small = experiment("rehearsal", recipes={"rehearsal": rehearsal.smaller(recipe, dataset, 1000)})
    differ = {
        section
        for section, values in full.settings.items()
        if small.settings[section] != values and section not in ("overrides", "extends")
    }
    assert differ == {"corpus", "model", "embedding", "doc2query", "sft", "ddro", "evaluation"}
    assert small.settings["corpus"]["top_k"] == 1000
    assert small.settings["doc2query"]["per_document"] == full.settings["doc2query"]["per_document"]
