"""Copies of the project for tests that run Snakemake in them, and the slice of the default data set: tiny.yaml."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TINY = "tests/pipeline/tiny.yaml"
SLICE = ["--configfile", TINY]
EXPERIMENT = "results/awscli/pq/tiny"
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def copy_of_project(folder: Path) -> Path:
    """Copy all that a run needs, without results."""
    for name in ("workflow", "config", "scripts", "envs", "tests/pipeline", "tests/system"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "slurm").symlink_to("workflow/profiles/slurm")
    return folder


def snakemake(folder: Path, *arguments: str, config: str = TINY, timeout: float = 900) -> str:
    """Run Snakemake with the slice's configuration, or another, to its good end; return what it prints."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", config]
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr
