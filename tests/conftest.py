"""What all tests share."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from project import copy_of_project, snakemake  # noqa: E402


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the project."""
    return ROOT


@pytest.fixture(scope="session")
def finished_slice(tmp_path_factory) -> Path:
    """A copy of the project in which the slice has run to its end. Only read it; see `own_slice`."""
    folder = copy_of_project(tmp_path_factory.mktemp("slice"))
    snakemake(folder)
    return folder


@pytest.fixture(scope="module")
def own_slice(finished_slice, tmp_path_factory) -> Path:
    """A copy of the finished slice for one module, which Snakemake, too, takes for finished."""
    return shutil.copytree(finished_slice, tmp_path_factory.mktemp("own") / "slice", symlinks=True)
