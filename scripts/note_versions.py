"""Note what made the results: the commit of this code, the version of each package, the machine, and every setting."""

import argparse
import html
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from ddro.core.command import call_main, log
from ddro.core.files import read_json, write_whole


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--lock", type=Path, required=True, help="the pinned packages, as pip takes them")
    options.add_argument("--settings", type=Path, required=True, help="the settings of each experiment (JSON)")
    options.add_argument("--output", type=Path, required=True, help="the page (HTML)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import re

    from ddro.report.html import page

    pins = re.findall(r"^([\w.-]+==[^\s;]+)", arguments.lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    pins.append(f"torch=={torch_version()}")
    machine = (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores, Python {platform.python_version()}"
    )
    parts = [
        ("Code", f"{git('describe', '--always', '--dirty', '--abbrev=40') or 'not a git checkout'}"),
        ("Machine", machine),
        ("Settings", json.dumps(read_json(arguments.settings), indent=2)),
        ("Packages", "\n".join(pins)),
    ]
    body = "\n".join(f"<h2>{title}</h2>\n<pre>{html.escape(text)}</pre>" for title, text in parts)
    with write_whole(arguments.output) as temporary:
        temporary.write_text(page("What made these results", body), encoding="utf-8")
    log.info("code %s", parts[0][1])


def torch_version() -> str:
    """The version with its build, where it is installed here; the lock leaves it out, as the builds differ."""
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "(not in this rule's environment; the log of each training has it)"


def git(*words: str) -> str:
    """What git answers of this code, nothing if there is no repository."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


if __name__ == "__main__":
    call_main(parser(), main)
