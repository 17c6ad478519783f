"""Write envs/lock.txt and the conda environments envs/*.yaml from the envs/*.in; needs uv and the network.

Versions that stand in lock.txt are kept where they still fit; ``--upgrade`` takes the newest.

lock.txt is what the plain venv installs with ``pip install --no-deps --require-hashes``, torch aside: of it pip takes
the CPU build where one is offered, and the CUDA build elsewhere, so no hash can be given. A conda environment has bare
pins of everything that its family needs, at the same versions, with one exception: what awscli and botocore require
clashes with newer versions that others need. The venv leaves it out, as nothing imports the two; data.yaml, which pip
installs with all requirements, has it at the versions that they ask for.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK = HERE / "lock.txt"
FAMILIES = ("data", "docids", "training", "bm25", "evaluation", "workflow")
EXTRAS = ("ansible",)
"""Families of one data set, which the plain venv leaves out."""
CONDA_ONLY = {"bm25": ["openjdk =21"]}
DATA_PACKAGES = ("awscli", "botocore")
NOT_LOCKED = re.compile(r"torch|triton|(nvidia|cuda)-(?!ml-py$).*")
"""Packages that come with the build of torch that pip chooses."""


def main() -> None:
    """Write the lock, then each environment with the lock's versions."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--uv", default="uv", help="the program uv (default: %(default)s)")
    options.add_argument("--upgrade", action="store_true", help="take the newest versions")
    arguments = options.parse_args()

    requirements = {path.stem: read_requirements(path) for path in sorted(HERE.glob("*.in"))}
    everything = sorted({line for family in FAMILIES for line in requirements[family]})
    data = [line for line in everything if name_of(line) in DATA_PACKAGES]
    exact = [line for line in everything if "==" in line]
    old = "" if arguments.upgrade or not LOCK.exists() else LOCK.read_text()

    others = compile_pins(arguments.uv, [line for line in everything if line not in data], [], old, "--generate-hashes")
    alone = compile_pins(arguments.uv, data, [], "", "--generate-hashes", "--no-deps")
    locked = {name: block for name, block in others.items() if not NOT_LOCKED.fullmatch(name)} | alone
    LOCK.write_text("".join(block + "\n" for block in locked.values()))

    versions = pins(LOCK.read_text())
    required_by_data = compile_pins(arguments.uv, data, [])
    for family in FAMILIES + EXTRAS:
        free = required_by_data if family == "data" else {}
        constraints = exact + [line for name, line in versions.items() if name not in free]
        compiled = compile_pins(arguments.uv, requirements[family], constraints)
        lines = [line for name, line in compiled.items() if name == "torch" or not NOT_LOCKED.fullmatch(name)]
        (HERE / f"{family}.yaml").write_text(environment(family, lines))


def read_requirements(path: Path) -> list[str]:
    """The requirements of a .in file, without comments."""
    return [line for line in path.read_text().splitlines() if line and not line.startswith("#")]


def compile_pins(
    uv: str, requirements: list[str], constraints: list[str], old: str = "", *options: str
) -> dict[str, str]:
    """Resolve requirements with uv; return each package's pin (with its hashes, if asked for) by its name.

    The versions of ``constraints`` must be taken; those of ``old``, an earlier output, are preferred.
    """
    with tempfile.TemporaryDirectory() as folder:
        wanted, bounds, output = Path(folder, "wanted.in"), Path(folder, "bounds.txt"), Path(folder, "output.txt")
        wanted.write_text("\n".join(requirements))
        bounds.write_text("\n".join(constraints))
        output.write_text(old)
        command = [uv, "pip", "compile", str(wanted), "--constraint", str(bounds), "--output-file", str(output)]
        command += ["--python-version", "3.11", "--quiet", "--no-header", "--no-annotate", "--no-emit-index-url"]
        try:
            subprocess.run([*command, *options], check=True)
        except FileNotFoundError:
            sys.exit(f"{uv}: no such program. Install uv, or name it: make lock UV=/path/to/uv")
        except subprocess.CalledProcessError:
            sys.exit(1)  # uv has said why
        text = output.read_text()
    blocks = re.findall(r"^\S.*(?:\n[ \t].*)*", text, flags=re.MULTILINE)
    return {name_of(block): block for block in blocks}


def name_of(requirement: str) -> str:
    """The name of the package, in lower case with hyphens."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def pins(lock: str) -> dict[str, str]:
    """``name==version`` by the name, from the text of a lock."""
    return {name_of(line): line for line in re.findall(r"^[\w.-]+==[^\s;]+", lock, flags=re.MULTILINE)}


def environment(family: str, lines: list[str]) -> str:
    """The text of a conda environment; pip takes all Python packages, so that they are the venv's own."""
    conda = ["python =3.11", "pip", *CONDA_ONLY.get(family, [])]
    return "".join(
        [
            f"# Made by `make lock` from {family}.in: don't edit.\n",
            "channels:\n  - conda-forge\n",
            'variables:\n  PYTHONNOUSERSITE: "1"\n',
            "dependencies:\n",
            *(f"  - {package}\n" for package in conda),
            "  - pip:\n",
            *(f"      - {line}\n" for line in lines),
        ]
    )


if __name__ == "__main__":
    main()
