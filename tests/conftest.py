"""What all tests share."""

import os
import shutil
import sys
from pathlib import Path

# Of several workers each has its share of the processors; before torch is imported.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, os.cpu_count() // workers)))

import pytest  # noqa: E402
from filelock import FileLock  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from project import copy_of_project, snakemake  # noqa: E402


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the project."""
    return ROOT


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, lest one worker is busy with it when the others have nothing left."""
    items.sort(key=lambda item: item.path.name != "test_kill.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none, and say so."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("gpu: this machine has none")


@pytest.fixture(scope="session")
def finished_slice(tmp_path_factory, worker_id) -> Path:
    """A copy of the project in which the slice has run to its end. Only read it; see `own_slice`."""
    folder = tmp_path_factory.getbasetemp()
    folder = (folder if worker_id == "master" else folder.parent) / "slice"  # one for all workers
    with FileLock(f"{folder}.lock"):
        if not Path(f"{folder}.finished").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            snakemake(copy_of_project(folder))
            Path(f"{folder}.finished").touch()
    return folder


@pytest.fixture(scope="module")
def own_slice(finished_slice, tmp_path_factory) -> Path:
    """A copy of the finished slice for one module, which Snakemake, too, takes for finished."""
    return shutil.copytree(finished_slice, tmp_path_factory.mktemp("own") / "slice", symlinks=True)
