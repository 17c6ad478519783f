"""Killed anywhere and called again, the pipeline ends with the tables of a run that nobody disturbed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from project import ENVIRONMENT, EXPERIMENT, SLICE, copy_of_project, snakemake

KILLS = 20
SEED = 8
MEASURED_ANEW = {"queries_per_s", "ms_median", "ms_p95", "seconds", "peak_mib"}
MEASURED_ANEW |= {"training_seconds", "training_gpu_seconds", "training_gpu_wh"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def processes_in(folder: Path) -> list[int]:
    """The processes that work in the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:  # it has ended
            continue
    return found


def run_and_kill(folder: Path, seconds: float) -> int | None:
    """Start Snakemake as after a kill (docs/cluster.md), and kill it and its jobs; return its exit code if it ends."""
    snakemake(folder, "--unlock")
    command = [sys.executable, "-m", "snakemake", *SLICE]
    with open(folder / "run.log", "ab") as log:
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    limit = time.monotonic() + 10
    while processes_in(folder) and time.monotonic() < limit:
        time.sleep(0.1)
    assert processes_in(folder) == []
    return None


def test_twenty_kills_change_nothing(finished_slice, tmp_path):
    folder = copy_of_project(tmp_path / "project")
    # From before the first job starts to the end of all but the longest.
    moments = [random.Random(SEED + count).uniform(2, 16) for count in range(KILLS)]
    assert [run_and_kill(folder, seconds) for seconds in moments] == [None] * KILLS
    snakemake(folder, "--unlock")
    snakemake(folder)

    ours, undisturbed = (pd.read_csv(path / "results/summary.csv") for path in (folder, finished_slice))
    same = [name for name in ours if name not in MEASURED_ANEW]
    pd.testing.assert_frame_equal(ours[same], undisturbed[same])
    for path in sorted((finished_slice / "results/awscli").rglob("*.json")):
        if path.name.endswith(".timing.json"):
            continue
        name = path.relative_to(finished_slice)
        assert (folder / name).read_bytes() == path.read_bytes(), name
    names = [{path.relative_to(one) for path in (one / "results").rglob("*")} for one in (folder, finished_slice)]
    assert names[0] == names[1]  # nothing half-written is left, nothing is missing
    weights = f"{EXPERIMENT}/ddro/model.safetensors"
    assert (folder / weights).read_bytes() == (finished_slice / weights).read_bytes()
