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

from project import ENVIRONMENT, snakemake

JOBS = {  # by their logs: the environment, and a result to ask for
    "split_queries": ("data", "results/awscli/split_report.json"),
    "index_bm25": ("bm25", "results/awscli/bm25/index"),
    "evaluate.bm25.test": ("evaluation", "results/awscli/pq/tiny/metrics/bm25.test.json"),
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


def test_jobs_run_in_their_environments_and_see_nothing_else(own_slice, path_with_conda, monkeypatch):
    command = own_slice / "scripts/ddro/core/command.py"
    text = command.read_text()
    start = "    arguments = parser.parse_args()\n"
    assert start in text
    command.write_text(text.replace(start, TELL + start))
    monkeypatch.setitem(ENVIRONMENT, "PATH", path_with_conda)
    conda = ["--software-deployment-method", "conda"]

    prefixes = []
    for job, (family, result) in JOBS.items():
        rule = job.split(".")[0]
        output = snakemake(own_slice, result, "--forcerun", rule, "--rerun-triggers", "mtime", *conda, timeout=400)
        assert f"Creating conda environment envs/{family}.yaml" in output
        (log,) = (own_slice / "results/logs").rglob(f"{job}.log")
        (line,) = (line for line in log.read_text().splitlines() if line.startswith("TOLD "))
        told = json.loads(line.removeprefix("TOLD "))
        prefix = Path(told["prefix"])
        prefixes.append(prefix)
        assert prefix.parent == own_slice / ".snakemake/conda"
        assert prefix.with_name(f"{prefix.name}.yaml").read_text() == (own_slice / f"envs/{family}.yaml").read_text()
        own = (str(prefix), str(own_slice / "scripts"))
        assert [entry for entry in told["path"] + told["files"] if not entry.startswith(own)] == []
        assert told["environment"]["PYTHONNOUSERSITE"] == "1"
    assert len(set(prefixes)) == len(JOBS)

    # A changed package reruns the job in that environment, and not the one in the other.
    command.write_text(text)
    environment = own_slice / "envs/evaluation.yaml"
    environment.write_text(environment.read_text().replace("scipy==", "scipy<="))
    results = [result for _, result in JOBS.values()]
    alone = ["--allowed-rules", *(job.split(".")[0] for job in JOBS)]  # the others ran without conda
    plan = snakemake(own_slice, *results, "--dry-run", "--rerun-triggers", "software-env", *conda, *alone)
    assert re.search(r"^evaluate +1\ntotal +1$", plan, flags=re.MULTILINE), plan
