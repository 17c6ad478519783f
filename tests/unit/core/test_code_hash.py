"""A script's hash changes with the code that the script runs, and with nothing else."""

import itertools

import pytest

from ddro.core.code_hash import code_hash
from ddro.core.command import UserError

FILES = {
    "ddro/__init__.py": '"""A library."""\n',
    "ddro/base.py": "def double(x):\n    return 2 * x\n",
    "ddro/middle.py": "from ddro import base\n\n\ndef quadruple(x):\n    return base.double(base.double(x))\n",
    "ddro/other.py": "VALUE = 1\n",
    "ddro/inner/__init__.py": "",
    "ddro/inner/near.py": "from ..base import double\nfrom .far import three\n",
    "ddro/inner/far.py": "three = 3\n",
    "direct.py": "import ddro.base\n",
    "transitive.py": "from ddro.middle import quadruple\n",
    "lazy.py": "def main():\n    if True:\n        from ddro.middle import quadruple\n\n        return quadruple\n",
    "relative.py": "from ddro.inner import near\n",
    "unrelated.py": "import json\n\nfrom ddro.other import VALUE\n",
}
SCRIPTS = ["direct", "transitive", "lazy", "relative", "unrelated"]


@pytest.fixture
def hashes(tmp_path):
    """A function that writes FILES, one of them changed, and returns the hash of each script."""
    folders = (tmp_path / str(count) for count in itertools.count())  # a new one each time: files are read once

    def write(name: str = "unrelated.py", text: str = FILES["unrelated.py"]) -> dict[str, str]:
        folder = next(folders)
        for path, content in (FILES | {name: text}).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content, encoding="utf-8")
        return {script: code_hash(folder / f"{script}.py") for script in SCRIPTS}

    return write


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


def test_the_same_code_has_the_same_hash_in_any_folder(hashes):
    first, second = hashes(), hashes()
    assert first == second
    assert len(set(first.values())) == len(SCRIPTS)
    assert all(len(value) == 16 for value in first.values())


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\ndef double(x):\n    return 2 * x  # twice\n",
        '"""A module."""\n\n\ndef double(x):\n    """Twice x."""\n    return 2 * x\n',
        "def double(x):\n\n    return (2\n            * x)\n",
        'def double(x):\n    return 2 * x\n    "text that does nothing"\n',
    ],
)
def test_comments_docstrings_and_layout_change_nothing(hashes, text):
    assert changed(hashes(), hashes("ddro/base.py", text)) == set()


@pytest.mark.parametrize(
    ("name", "text", "reached"),
    [
        ("ddro/base.py", "def double(x):\n    return x + x\n", {"direct", "transitive", "lazy", "relative"}),
        ("ddro/middle.py", "from ddro.base import double as quadruple\n", {"transitive", "lazy"}),
        ("ddro/inner/far.py", "three = 4\n", {"relative"}),
        ("ddro/inner/__init__.py", "LIMIT = 3\n", {"relative"}),
        ("ddro/other.py", "VALUE = 2\n", {"unrelated"}),
        ("ddro/__init__.py", "LIMIT = 3\n", set(SCRIPTS)),
        ("lazy.py", "def main():\n    return 1\n", {"lazy"}),
    ],
)
def test_a_change_reaches_exactly_the_scripts_that_import_it(hashes, name, text, reached):
    assert changed(hashes(), hashes(name, text)) == reached


def test_imports_may_form_a_circle(tmp_path):
    (tmp_path / "one.py").write_text("import two\n")
    (tmp_path / "two.py").write_text("import one\n")
    assert code_hash(tmp_path / "one.py") == code_hash(tmp_path / "two.py")


def test_a_missing_script_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.py: no such script"):
        code_hash(tmp_path / "gone.py")


def test_a_file_that_is_not_python_is_named_with_its_line(tmp_path):
    (tmp_path / "broken.py").write_text("x = 1\ndef (\n")
    with pytest.raises(UserError, match=r"broken\.py:2: not Python"):
        code_hash(tmp_path / "broken.py")


def test_the_scripts_of_this_project_have_hashes(root):
    scripts = sorted((root / "scripts").glob("*.py"))
    assert len({code_hash(script) for script in scripts}) == len(scripts)
