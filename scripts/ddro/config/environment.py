"""The environment of Snakemake's jobs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path


def give_jobs_a_python() -> None:
    """Put this program's own folder first on the PATH, unless the python found there has the packages.

    Jobs ask the PATH for python. Where Snakemake is called by its path (.venv/bin/snakemake) that may be another one.
    """
    python, own = shutil.which("python"), Path(sys.executable).parent
    if python and Path(python).parent == own:
        return
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pyarrow') is None)"
    if not python or subprocess.run([python, "-c", look], capture_output=True).returncode:
        os.environ["PATH"] = os.pathsep.join([str(own), os.environ.get("PATH", os.defpath)])
