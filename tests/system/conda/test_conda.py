"""Snakemake's own ``--sdm conda`` makes the environments of envs/, and a job runs in its own and in nothing else.

With a conda on the PATH it is that one, with its channels; otherwise the stand-in of this folder.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from project import ENVIRONMENT, copy_of_project, snakemake

# The target needs fetch, sample_corpus and split_queries (data), index and search (bm25, with Java), and evaluate.
TARGET = "results/awscli/pq/tiny/metrics/bm25.test.json"
JOBS = {  # by their logs: the environment
    "fetch_awscli": "data",
    "split_queries": "data",
    "search_bm25.test": "bm25",
    "evaluate.bm25.test": "evaluation",
}
# A job of this copy tells of its interpreter when it ends.
TELL = """
    import atexit, json

    def tell():
        files = [module.__file__ for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
        told = {"prefix": sys.prefix, "path": sys.path, "files": files, "environment": dict(os.environ)}
        print("TOLD", json.dumps(told), file=sys.stderr, flush=True)

    atexit.register(tell)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def path_with_conda(tmp_path_factory) -> str:
    if not shutil.which("conda"):
        folder = tmp_path_factory.mktemp("conda")
        subprocess.run([sys.executable, Path(__file__).with_name("stand_in.py"), "make", folder / "conda"], check=True)
        return f"{folder / 'conda/bin'}:{ENVIRONMENT['PATH']}"
    return ENVIRONMENT["PATH"]


def test_jobs_run_in_their_environments_and_see_nothing_else(path_with_conda, tmp_path, monkeypatch):
    project = copy_of_project(tmp_path / "project")
    command = project / "scripts/ddro/command.py"
    text = command.read_text()
    start = "    arguments = parser.parse_args()\n"
    assert start in text
    command.write_text(text.replace(start, TELL + start))
    monkeypatch.setitem(ENVIRONMENT, "PATH", path_with_conda)

    output = snakemake(project, TARGET, "--software-deployment-method", "conda", timeout=540)
    assert output.count("Creating conda environment") == 3

    prefixes = {}
    for job, family in JOBS.items():
        (log,) = (project / "results/logs").rglob(f"{job}.log")
        (line,) = (line for line in log.read_text().splitlines() if line.startswith("TOLD "))
        told = json.loads(line.removeprefix("TOLD "))
        prefix = Path(told["prefix"])
        assert prefixes.setdefault(family, prefix) == prefix
        assert prefix.parent == project / ".snakemake/conda"
        assert prefix.with_name(f"{prefix.name}.yaml").read_text() == (project / f"envs/{family}.yaml").read_text()
        own = (str(prefix), str(project / "scripts"))
        assert [entry for entry in told["path"] + told["files"] if not entry.startswith(own)] == []
        assert told["environment"]["PYTHONNOUSERSITE"] == "1"
        if family == "bm25":
            assert told["environment"]["JAVA_HOME"].startswith(str(prefix))
    assert len(set(prefixes.values())) == len(prefixes) == 3

    # A changed package reruns what uses the environment and what follows, and nothing else.
    environment = project / "envs/evaluation.yaml"
    environment.write_text(environment.read_text().replace("scipy==", "scipy<="))
    plan = snakemake(project, TARGET, "--dry-run", "--software-deployment-method", "conda")
    assert re.search(r"^evaluate +1\ntotal +1$", plan, flags=re.MULTILINE), plan
