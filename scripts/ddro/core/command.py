"""What every script shares: logging, progress, and errors that a person can act on."""

from __future__ import annotations

import argparse
import atexit
import errno
import json
import logging
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

if not sys.stderr.isatty():  # in a log the libraries' own bars, too, show every ten seconds; tqdm reads this once
    os.environ.setdefault("TQDM_MININTERVAL", "10")

try:
    from tqdm import tqdm
except ValueError as mistake:  # it reads its defaults from the environment
    sys.exit(f"an environment variable TQDM_... isn't what it should be ({mistake}). Unset it.")

FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""Errors of the system that are about a path, and for a person to mend."""

Item = TypeVar("Item")

log = logging.getLogger("ddro")
started = time.monotonic()


class UserError(Exception):
    """Input or settings that the program can't work with; the message says where and what to do."""


def call_main(parser: argparse.ArgumentParser, main: Callable[[argparse.Namespace], Any], *, hub: bool = False) -> None:
    """Parse the command line and call ``main``; a `UserError` ends the program with its message alone.

    Without ``hub`` the libraries of Hugging Face use no network, which a compute node may not have. With ``--cost`` the
    program tells in a file what it cost, when it has come to its good end; ``main`` may return further costs.
    """
    add_cost_option(parser)
    arguments = parser.parse_args()
    cost_file = vars(arguments).pop("cost")
    if not hub:
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when these libraries are imported, which main does
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"
    )
    log.setLevel(logging.INFO)
    try:
        make_home_writable()
        further = main(arguments)
        if cost_file:
            write_cost(cost_file, further or {})
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            log.error("the disk is full (%s). Free some space and rerun: nothing half-written is kept.", error)
        elif error.errno in FORBIDDEN and error.filename:
            log.error("%s: %s. Mend the path or who may read and write it, and rerun.", error.filename, error.strerror)
        else:
            raise
        sys.exit(1)


def make_home_writable() -> None:
    """Let HOME be a temporary folder where nothing can be written below it: libraries keep caches and settings there.

    Raises:
        UserError: there is no folder for temporary files.
    """
    home = os.path.expanduser("~")
    if os.path.isdir(home) and os.access(home, os.W_OK | os.X_OK):
        return
    try:
        os.environ["HOME"] = tempfile.mkdtemp(prefix="ddro-home-")
    except OSError as error:
        raise UserError(f"HOME ({home}) can't be written, nor a temporary folder ({error}). Set TMPDIR.") from error
    atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)
    log.info("HOME (%s) can't be written; caches are below %s and go when this ends", home, os.environ["HOME"])


def add_cost_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--cost``, which every script has."""
    parser.add_argument(
        "--cost", type=Path, metavar="JSON", help="file that tells what the run took: seconds, CPU seconds, peak memory"
    )


def write_cost(path: Path, further: Mapping[str, float]) -> None:
    """Write the seconds since the program's start, its CPU seconds, and the peak MiB of it or of a process below it.

    Of several processes that train together the first one writes: seconds and memory are its own.
    """
    if number_in_environment("RANK", 0):
        return
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    numbers = {
        "seconds": time.monotonic() - started,
        "cpu_seconds": sum(process.ru_utime + process.ru_stime for process in spent),
        "peak_mib": max(process.ru_maxrss for process in spent) / (2**20 if sys.platform == "darwin" else 2**10),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps({name: round(value, 3) for name, value in (numbers | further).items()}) + "\n")
    part.replace(path)


def in_one_line(error: Exception) -> str:
    """What another library says was wrong, as part of a sentence: its kind and the first 400 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:400]


def number_in_environment(name: str, default: int) -> int:
    """A whole number that an environment variable holds; a `UserError` says that it holds something else."""
    text = os.environ.get(name, "").strip()
    if not re.fullmatch(r"\d{0,9}", text, re.ASCII):
        raise UserError(f"the environment variable {name} is {text!r}, no whole number. Unset it.")
    return int(text or default)


def shard_of(text: str) -> tuple[int, int]:
    """The ``--shard`` of a scattered job: ``3-of-8`` as (3, 8)."""
    match = re.fullmatch(r"(\d+)-of-(\d+)", text)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(f"--shard {text}: write it as 1-of-8, 2-of-8, ..., 8-of-8.")
    return int(match[1]), int(match[2])


class _LogLines:
    """A text stream that turns each redraw of a progress bar into one line of the log."""

    def write(self, text: str) -> None:
        if line := text.strip("\r\n "):
            log.info("%s", line)

    def flush(self) -> None:
        """Nothing is held back."""


def progress(
    items: Iterable[Item] | None = None, *, description: str, unit: str, total: int | None = None
) -> tqdm[Item] | Iterator[Item]:
    """Iterate with count, rate and time left: a bar on a terminal, a line every ten seconds in a log."""
    on_terminal = sys.stderr.isatty()
    return tqdm(
        items,
        total=total,
        desc=description,
        unit=f" {unit}",
        file=sys.stderr if on_terminal else _LogLines(),
        mininterval=0.2 if on_terminal else 10.0,
        ncols=None if on_terminal else 100,
        ascii=not on_terminal,
    )
