"""The conda environments, the lock of the plain venv, and what the scripts import agree with each other."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ddro.core.code_hash import imported_names

ROOT = Path(__file__).resolve().parents[3]
ENVS = ROOT / "envs"
FAMILIES = ["data", "docids", "training", "bm25", "evaluation", "workflow", "ansible"]
REQUIREMENTS = [path for path in sorted(ENVS.glob("*.in")) if path.stem != "ansible"]
"""What the venv has: all but what one extra data set needs."""
TORCH = {"torch": "2.13.0"}
WITH_TORCH = re.compile(r"triton|(nvidia|cuda)-(?!ml-py$).*")
"""Packages that come with the CUDA build of torch."""

RULES = [
    match.groups()
    for path in sorted((ROOT / "workflow/rules").glob("*.smk"))
    for match in re.finditer(r'^rule (\w+):.*?"\.\./\.\./envs/(\w+)\.yaml"', path.read_text(), re.MULTILINE | re.DOTALL)
]


def environment(family: str) -> dict:
    return yaml.safe_load((ENVS / f"{family}.yaml").read_text())


def pip_pins(family: str) -> dict[str, str]:
    """Package -> version of the pip section."""
    (section,) = [entry["pip"] for entry in environment(family)["dependencies"] if isinstance(entry, dict)]
    pins = dict(line.split("==") for line in section)
    return {canonicalize_name(name): version for name, version in pins.items()}


def locked() -> dict[str, str]:
    lines = re.findall(r"^([\w.-]+)==(\S+)", (ENVS / "lock.txt").read_text(), flags=re.MULTILINE)
    return {canonicalize_name(name): version for name, version in lines}


def requirements(path: Path) -> list[Requirement]:
    return [Requirement(line) for line in path.read_text().splitlines() if line and not line.startswith("#")]


def installed_version(name: str) -> str | None:
    try:
        return metadata.version(name).split("+")[0]  # torch 2.13.0+cpu
    except metadata.PackageNotFoundError:
        return None


def needed_by(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What an installed package requires here, with these extras."""
    for requirement in map(Requirement, metadata.distribution(name).requires or []):
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""}):
            yield requirement


def closure(wanted: list[Requirement], pins: dict[str, str]) -> set[str]:
    """The names of all packages that these need, themselves included; what torch brings for a GPU left out.

    What a package needs is asked of the installed one, so it's unknown where another version is pinned.
    """
    done: set[tuple[str, frozenset[str]]] = set()
    waiting = list(wanted)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        key = (name, frozenset(requirement.extras))
        if key not in done and not WITH_TORCH.fullmatch(name):
            done.add(key)
            if name in pins and installed_version(name) == pins[name]:
                waiting += needed_by(*key)
    return {name for name, _ in done}


DATA_REQUIREMENTS = closure([Requirement("awscli"), Requirement("botocore")], locked()) - {"awscli", "botocore"}
"""What the venv leaves out, or has in another version: only the environment `data` installs it for the two."""


@pytest.mark.parametrize("family", FAMILIES)
def test_an_environment_has_the_versions_of_the_lock(family):
    lock = locked() | TORCH
    pins = pip_pins(family)
    others = {name: version for name, version in pins.items() if lock.get(name) != version}
    if family == "data":
        assert {"awscli", "botocore"} <= pins.keys()
        assert all(name in DATA_REQUIREMENTS or name not in lock for name in others)
    elif family == "ansible":
        assert "ansible" in others and not others.keys() & lock.keys()
    else:
        assert others == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_environment_has_all_that_its_packages_need_and_no_more(family):
    pins = pip_pins(family)
    needed = closure(requirements(ENVS / f"{family}.in"), pins)
    assert needed - pins.keys() == set()
    if family == "data":  # what awscli needs isn't installed here, so not all of it is known
        assert not (pins.keys() - needed) & locked().keys()
    elif family == "ansible":  # nor is what ansible needs
        assert {"ansible", "ansible-core"} <= pins.keys()
    else:
        assert pins.keys() - needed == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_an_environment_is_made_of_conda_forge_and_python_3_11(family):
    content = environment(family)
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    assert content["channels"] == ["conda-forge"]
    assert content["variables"] == {"PYTHONNOUSERSITE": "1"}
    assert conda == ["python =3.11", "pip"] + (["openjdk =21"] if family == "bm25" else [])
    assert not [name for name in pip_pins(family) if WITH_TORCH.fullmatch(name)]


def test_the_lock_has_all_families_with_hashes_and_no_build_of_torch():
    lock = locked()
    text = (ENVS / "lock.txt").read_text()
    assert "torch" not in lock
    assert not [name for name in lock if WITH_TORCH.fullmatch(name)]
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=\S)", text.strip()))
    wanted = {canonicalize_name(requirement.name) for path in REQUIREMENTS for requirement in requirements(path)}
    assert wanted - lock.keys() == {"torch"}


def test_the_lock_has_all_that_its_packages_need():
    wanted = [requirement for path in REQUIREMENTS for requirement in requirements(path)]
    others = [requirement for requirement in wanted if requirement.name not in ("awscli", "botocore")]
    lock = locked() | TORCH
    assert closure(others, lock) | {"awscli", "botocore"} == lock.keys()


def test_this_python_has_the_versions_of_the_lock():
    wanted = locked() | TORCH
    assert {name: installed_version(name) for name in wanted} == wanted


@pytest.mark.parametrize(("rule", "family"), RULES)
def test_the_environment_of_a_rule_has_what_its_script_imports(rule, family):
    packages = metadata.packages_distributions()
    pins = pip_pins(family)
    for name in {name.split(".")[0] for name in imported_names(ROOT / f"scripts/{rule}.py")}:
        local = any((ROOT / "scripts" / f"{name}{suffix}").exists() for suffix in ("", ".py"))
        if name not in sys.stdlib_module_names and not local:
            offered_by = {canonicalize_name(package) for package in packages.get(name, [])}
            assert offered_by & pins.keys(), f"{rule} imports {name}, which envs/{family}.yaml doesn't have"


def test_the_environment_is_made_anew_by_its_own_python_s_base(root, tmp_path):
    """make has the environment first on the PATH; pip finds no torch here, after the environment is there again."""
    (tmp_path / "envs").mkdir()
    script = shutil.copy(root / "envs/venv.sh", tmp_path / "envs")
    (tmp_path / "envs/lock.txt").touch()
    folder = tmp_path / "environment"
    venv.create(folder, symlinks=True)
    (folder / "of_before").touch()
    settings = {"PATH": f"{folder}/bin:{os.environ['PATH']}", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    settings["PIP_CONFIG_FILE"] = os.devnull  # the machine's may say otherwise
    done = subprocess.run([script, folder], env=os.environ | settings, capture_output=True, text=True)
    assert "No matching distribution found for torch" in done.stderr, done.stderr
    assert (folder / "bin/pip").exists() and not (folder / "of_before").exists()
