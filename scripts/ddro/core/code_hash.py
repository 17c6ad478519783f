"""A hash of what a script does: of its own code and of the local modules that it imports, without comments.

Snakemake doesn't see edits of a script that ``shell:`` starts, nor of a module that the script imports. Each rule
therefore has this hash among its params: an edit of code reruns exactly the rules that use it; a comment, a docstring,
the layout of a line, or a new time of a file reruns nothing.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ddro.core.command import UserError


def code_hash(script: Path) -> str:
    """Hash the code of ``script`` and of every module beside or below its folder that it imports, directly or not.

    Imports are found wherever they stand, also inside functions; ``importlib`` calls with a computed name aren't.
    Files are read once per process.

    Returns:
        16 hexadecimal digits, the same for the same code in any folder.

    Raises:
        UserError: the script doesn't exist, or one of the files isn't Python.
    """
    root = script.parent
    parts = [(path.relative_to(root).as_posix(), _parse(path, root)[0]) for path in sources(script)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def sources(script: Path) -> list[Path]:
    """The script and all local files that its imports reach, sorted; raises like `code_hash`."""
    if not script.is_file():
        raise UserError(f"{script}: no such script. The rule {script.stem} starts it.")
    reached = {script}
    waiting = [script]
    while waiting:
        names = _parse(waiting.pop(), script.parent)[1]
        new = {file for name in names for file in _files(name, script.parent)} - reached
        reached |= new
        waiting += new
    return sorted(reached)


def imported_names(script: Path) -> set[str]:
    """Dotted names that the script's code, or local code that it imports, imports; raises like `code_hash`."""
    return {name for path in sources(script) for name in _parse(path, script.parent)[1]}


@cache
def _parse(path: Path, root: Path) -> tuple[str, frozenset[str]]:
    """The code of a file in one fixed layout without docstrings, and the dotted names that it may import."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise UserError(f"{path}:{line}: not Python ({error}).") from error
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, name, None), list):
                setattr(node, name, [statement for statement in statements if not _is_text(statement)])
    return ast.unparse(tree), frozenset(_imports(tree, path, root))


def _is_text(statement: ast.stmt) -> bool:
    """True for a docstring, or a string that stands alone for the same purpose: it does nothing."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _imports(tree: ast.Module, path: Path, root: Path) -> Iterator[str]:
    """Dotted names that a module's imports may load: ``from a import b`` gives a and a.b (b may be a module)."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            outer = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*outer, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" if module else alias.name for alias in node.names)


def _files(name: str, root: Path) -> Iterator[Path]:
    """The files below ``root`` that run when the dotted ``name`` is imported: its packages, then itself."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:length])
        yield from (file for file in (base.with_suffix(".py"), base / "__init__.py") if file.is_file())
