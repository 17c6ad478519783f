"""Every command that a page shows: make targets exist, Snakemake plans, scripts understand their options."""

import argparse
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token
from snakemake.cli import parse_args

from ddro.config.schema import problems, read_yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", "config/README.md", "results/README.md"]
PAGES += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

CHECKED = ("make", "snakemake", "python")
LEFT_TO_THE_SHELL = ("source", "git", "squeue", "scontrol", "scancel", "tensorboard", "WHOLE_SLICE=1")
"""What a page may show beside those: programs of others."""

NO_COMMANDS = re.compile(r"\||(module )?\w+:\s|fetch ->|L = |my_corpus/")
"""How a block begins that shows something else: a table, YAML or a module, the rules, an equation, a folder."""

PLACEHOLDERS = {
    "FILE": "config/paper.yaml",
    "mine.yaml": "config/config.yaml",
    "NAME": "retrieve",
    "RULE": "train_ddro",
    "RESULT": "results/awscli/pq/demo/ddro",
    "FOLDER": ".",
    "PATH": "workflow/Snakefile",
    "PROJECT/workflow/Snakefile": "workflow/Snakefile",
    "results/D/I/docids.txt": "results/awscli/pq/docids.txt",
    "results/DATASET/DOCID/docids.txt": "results/awscli/pq/docids.txt",
    "PYTHON=/path/to/python3.11": f"PYTHON={sys.executable}",
}


def parse(page: str) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text())


def shown() -> dict[str, str]:
    """Each command that a page shows, and the page and line where it stands first."""
    found: dict[str, str] = {}
    for page in PAGES:
        for token in parse(page):
            line = token.map[0] + 1 if token.map else 0
            if token.type in ("code_block", "fence"):
                for number, text in enumerate(commands_of(token.content), line):
                    found.setdefault(text, f"{page}:{number}")
            for child in token.children or []:
                if child.type == "code_inline" and program(child.content) in CHECKED and " " in child.content:
                    found.setdefault(child.content, f"{page}:{line}")
    return found


def program(command: str) -> str:
    """The program that a command starts, without its folder."""
    words = command.split()
    return words[0].rsplit("/", 1)[-1] if words else ""


def commands_of(block: str) -> list[str]:
    """The lines of a block of commands, without comments; none if it shows something else."""
    lines = [re.split(r"\s+# ", line)[0].strip() for line in block.splitlines() if line.strip()]
    return [] if NO_COMMANDS.match(block.strip()) else lines


SHOWN = shown()


@cache
def plan(options: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """A dry run; where there is no conda, which the profile asks for, without it."""
    without = (
        ["--software-deployment-method", "env-modules"] if "slurm" in options and not shutil.which("conda") else []
    )
    command = [sys.executable, "-m", "snakemake", *options, *without, "--dry-run", "--quiet"]
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)


def script_of(path: str):
    specification = importlib.util.spec_from_file_location(f"shown_{Path(path).stem}", ROOT / path)
    script = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(script)
    return script


def check_python(words: list[str], monkeypatch) -> None:
    """Let pytest collect, and a script's parser read its options; a benchmark, which loads much, prints its help."""
    if words[:2] == ["-m", "pytest"]:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *words[2:]]
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stdout + done.stderr
        return
    path, *options = words
    if path.startswith("tests/benchmarks/"):
        done = subprocess.run([sys.executable, path, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and all(word in done.stdout for word in options if word.startswith("-"))
        return
    monkeypatch.syspath_prepend(ROOT / "scripts")
    parser: argparse.ArgumentParser = script_of(path).parser()
    if options == ["--help"]:
        assert parser.format_help()
    else:
        parser.parse_args(options)


@pytest.mark.parametrize("command", SHOWN, ids=SHOWN.values())
def test_a_shown_command_works(command, monkeypatch):
    for part in command.split(" && "):
        for old, new in PLACEHOLDERS.items():
            part = re.sub(rf"(?<![\w/.-]){re.escape(old)}(?![\w/=-])", new, part)
        name, words = program(part), shlex.split(part)[1:]
        if name == "make":
            done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"{SHOWN[command]}: {done.stderr}"
        elif name == "snakemake" and "--conda-create-envs-only" in words and not shutil.which("conda"):
            parse_args(words)
        elif name == "snakemake":
            done = plan(tuple(word for word in words if word not in ("-n", "--dry-run")))
            assert done.returncode == 0, f"{SHOWN[command]}: {done.stdout}{done.stderr}"
        elif name == "python":
            check_python(words, monkeypatch)
        elif name == "pip":
            assert words[0] == "install" and re.search(r"==\d", words[-1]), f"{SHOWN[command]}: a version is missing"
        else:
            assert name in (*LEFT_TO_THE_SHELL, "cd"), f"{SHOWN[command]}: {name} is no command that this test knows"


def test_the_pages_show_the_commands_that_matter():
    wanted = ["make demo", "make test", "snakemake export", "snakemake --profile slurm --configfile config/paper.yaml"]
    assert set(wanted) <= SHOWN.keys()


def test_the_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().split()) <= 1000


def configurations() -> dict[str, dict]:
    """Each part of a configuration that a page shows, by page and line."""
    known = read_yaml(ROOT / "workflow/schemas/config.schema.yaml")["properties"].keys() | {"overrides"}
    blocks = {
        f"{page}:{token.map[0] + 1}": yaml.safe_load(token.content)
        for page in PAGES
        for token in parse(page)
        if token.type in ("code_block", "fence") and re.match(r"\w+:\s", token.content)
    }
    return {where: block for where, block in blocks.items() if block.keys() & known}


@pytest.mark.parametrize("where", configurations())
def test_a_shown_configuration_is_valid(where):
    config = configurations()[where]
    recipes = [{"overrides": config.pop("overrides", {})}, *config.get("recipes", {}).values()]
    assert problems(config, read_yaml(ROOT / "workflow/schemas/config.schema.yaml")) == []
    schema = read_yaml(ROOT / "workflow/schemas/recipe.schema.yaml")
    assert [problem for recipe in recipes for problem in problems(recipe, schema)] == []


def test_the_settings_that_the_method_names_are_there():
    """In the last column of the table of differences: a section and a key, or a key alone."""
    text = (ROOT / "docs/method.md").read_text().split("## Where the sources differ")[1].split("\n## ")[0]
    named = {
        name for row in re.findall(r"^\|.*\| (.*) \|$", text, re.MULTILINE) for name in re.findall(r"`([\w.]+)`", row)
    }
    sections = yaml.safe_load((ROOT / "workflow/schemas/recipe.schema.yaml").read_text())["properties"]
    known = {"paper", "authors_code", "demo"}

    def learn(part: dict, path: str) -> None:
        for key, value in part.get("properties", {}).items():
            known.update((key, f"{path}{key}", *value.get("enum", [])))
            learn(value, f"{path}{key}.")

    learn({"properties": sections}, "")
    assert named <= known and "sft.head" in named


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"
