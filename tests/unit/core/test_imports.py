"""The walls between the wings of the library: imports go one way (docs/architecture.md)."""

import ast
import re
from pathlib import Path

import pytest

MAY_IMPORT = {
    "core": set(),
    "config": {"core"},
    "corpora": {"core"},
    "docids": {"core"},
    "evaluation": {"core"},
    "models": {"core", "docids"},
    "doc2query": {"core", "corpora", "docids", "models"},
    "retrieval": {"core", "corpora", "docids", "models"},
    "training": {"core", "corpora", "docids", "models", "retrieval"},
    "report": {"core", "corpora", "docids", "doc2query", "evaluation", "models", "retrieval", "training"},
}


def imports_of(path: Path) -> set[str]:
    """The modules ``ddro.WING.NAME`` that a file imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("ddro.")}


@pytest.fixture(scope="module")
def modules(root) -> dict[str, set[str]]:
    """``WING.NAME`` -> the modules of the library that it imports."""
    library = root / "scripts/ddro"
    names = {path: ".".join(path.relative_to(library).with_suffix("").parts) for path in library.rglob("*.py")}
    known = set(names.values())
    return {
        name: {imported.removeprefix("ddro.") for imported in imports_of(path)} & known for path, name in names.items()
    }


def test_each_module_is_in_a_wing(modules):
    assert {name.split(".")[0] for name in modules} == {*MAY_IMPORT, "__init__"}


@pytest.mark.parametrize("wing", MAY_IMPORT)
def test_a_wing_imports_only_what_it_may(wing, modules):
    wrong = {
        f"{name} imports {imported}"
        for name, all_imported in modules.items()
        if name.startswith(f"{wing}.")
        for imported in all_imported
        if imported.split(".")[0] not in MAY_IMPORT[wing] | {wing}
    }
    assert wrong == set()


def test_no_module_imports_itself_by_way_of_others(modules):
    waiting = {name: set(imported) for name, imported in modules.items()}
    while free := [name for name, imported in waiting.items() if not imported & waiting.keys()]:
        for name in free:
            del waiting[name]
    assert waiting == {}


def test_an_init_is_a_docstring_alone(root):
    for path in (root / "scripts/ddro").rglob("__init__.py"):
        (statement,) = ast.parse(path.read_text()).body
        assert isinstance(statement, ast.Expr) and isinstance(statement.value.value, str), path


def test_the_page_on_the_architecture_says_the_same(root):
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", (root / "docs/architecture.md").read_text(), flags=re.MULTILINE)
    told = {wing: set(allowed.split(", ")) for wing, allowed in rows if wing in MAY_IMPORT}
    expected = {wing: allowed or {"nothing"} for wing, allowed in MAY_IMPORT.items()}
    assert told == expected | {"report": {"any but config"}}
