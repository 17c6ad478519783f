"""What judges a GPU runs without one: each command of gpu.sh, at tiny sizes, and the script around them."""

import importlib
import json
import math
import os
import shlex
import subprocess

import pytest
import torch

from ddro.retrieval import beam_search, fixed_search
from project import ROOT

SCRIPT = ROOT / "tests/benchmarks/gpu.sh"
COMMANDS = [line.split(maxsplit=2)[1:] for line in SCRIPT.read_text().splitlines() if line.startswith("measure ")]
TINY = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2}
LEAST = {"documents": 300, "beams": 3, "queries": 2, "repeats": 1, "model": "tiny"}
WANTED = {
    "decode.py": {"device", "precision", "batch", "ours_s_per_query", "bound_fraction"},
    "doc2query.py": {"card", "model", "compute_type", "ratio"},
    "train.py": {"device", "precision", "compile", "part", "examples_per_second", "loss_difference"},
}


@pytest.mark.parametrize(("seconds", "command"), COMMANDS, ids=[command for _, command in COMMANDS])
def test_a_command_runs_without_a_gpu(seconds, command, monkeypatch, capsys):
    name, *words = shlex.split(command)
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    benchmark = importlib.import_module(name.removesuffix(".py"))
    monkeypatch.setitem(benchmark.SIZES, "tiny", TINY)
    for module, part in ((beam_search, "T5Decoder"), (fixed_search, "FixedDecoder")):  # which decode.py replaces
        monkeypatch.setattr(module, part, getattr(module, part))
    options = benchmark.parser().parse_args([*words, *(["--quick"] if name == "train.py" else [])])
    for option in vars(options).keys() & LEAST:
        setattr(options, option, LEAST[option])
    if name == "decode.py":
        options.batch = [min(batch, 2) for batch in options.batch]
    if name == "doc2query.py":
        options.documents = 2
    threads = torch.get_num_threads()
    benchmark.main(options)
    torch.set_num_threads(threads)  # CTranslate2 leaves it at its own number
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    figures = lines[:-1] if name == "train.py" else lines  # its last line sums up
    lists = [vars(options).get(option, [1]) for option in ("precision", "batch", "parts")]
    assert len(figures) == math.prod(len(values) for values in lists if isinstance(values, list | tuple))
    assert all(WANTED[name] <= line.keys() for line in figures)


def test_what_a_stopped_benchmark_has_found_is_there(tmp_path):
    """Python is one that prints its words and two lines, and is stopped at the second command."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$*"\ncase "$*" in *20000*) exit 3;; esac\necho two\n')
    fake.chmod(0o755)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "REHEARSE": "1"}
    done = subprocess.run(["bash", SCRIPT], env=environment, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [name for name, _ in rows] == [f"{command} --quick" for _, command in COMMANDS for _ in range(2)]
    values = [value for _, value in rows]
    assert values[0] == f"tests/benchmarks/{COMMANDS[0][1]} --quick" and values[1] == "two"
    assert values[3] == '"failed, or longer than its limit"'


def test_all_of_it_takes_eight_minutes_at_most():
    assert sum(int(seconds) for seconds, _ in COMMANDS) <= 480
