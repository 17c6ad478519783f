"""What a script's start makes of an odd environment, and its end of an error of the system."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ddro.core.command import UserError, number_in_environment

PROGRAM = """
import argparse, os, sys
from pathlib import Path
from ddro.core.command import call_main
parser = argparse.ArgumentParser()
parser.add_argument("--output", type=Path)
def main(arguments):
    home = Path(os.path.expanduser("~"))
    (home / "cache").write_text("kept")
    print(home)
    if arguments.output:
        arguments.output.write_text("data")
call_main(parser, main)
"""


def start(root, *options, **environment):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, options)],
        env=os.environ | {"PYTHONPATH": str(root / "scripts")} | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("home", ["/dev/null", "/proc/1/nothing", "/nowhere/at/all"])
def test_a_home_that_cannot_be_written_is_a_temporary_one(root, tmp_path, home):
    done = start(root, HOME=home, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = done.stderr.splitlines()
    assert f"HOME ({home}) can't be written" in line
    assert Path(done.stdout.strip()).parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_a_home_that_can_be_written_stays(root, tmp_path):
    done = start(root, HOME=str(tmp_path))
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path), "")
    assert (tmp_path / "cache").read_text() == "kept"


@pytest.mark.parametrize(
    ("path", "reason"), [("file/below", "Not a directory"), (".", "Is a directory"), ("x" * 300, "File name too long")]
)
def test_a_path_that_cannot_be_written_is_told_in_a_line(root, tmp_path, path, reason):
    (tmp_path / "file").touch()
    done = start(root, "--output", tmp_path / path, HOME=str(tmp_path))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"ERROR {tmp_path / path}: {reason}" in line


@pytest.mark.parametrize(("text", "number"), [("", 3), (" ", 3), ("7", 7), (" 08 ", 8)])
def test_a_number_of_the_environment(monkeypatch, text, number):
    monkeypatch.setenv("RANK", text)
    assert number_in_environment("RANK", 3) == number


@pytest.mark.parametrize("text", ["abc", "-1", "1.0", "٣", "9" * 20])
def test_what_is_no_number_of_the_environment_is_named(monkeypatch, text):
    monkeypatch.setenv("RANK", text)
    with pytest.raises(UserError, match="the environment variable RANK is .*Unset it"):
        number_in_environment("RANK", 3)


def test_a_default_of_the_progress_bars_that_is_no_number_is_told_in_a_line(root, tmp_path):
    done = start(root, HOME=str(tmp_path), TQDM_MININTERVAL="soon")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "environment variable TQDM_" in line and "Unset it" in line
