"""A second data set that needs no hub: Ansible's modules as documents, the names of their example tasks as queries.

Read from the package ``ansible`` (GPL-3.0-or-later), whose modules are parsed and never imported.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ddro.core.command import UserError
from ddro.core.text import collapse_spaces, first_sentence, words
from ddro.corpora.information_needs import Document, Need, Phrase, information_needs

VERSION = "11.13.0"
INSTALL = f"Install it beside the others: .venv/bin/pip install --no-deps ansible=={VERSION} (57 MB, GPL-3.0-or-later)."

OPTIONS_IN_BODY = 12
MIN_BODY_WORDS = 8

GENERATED = re.compile(r"fortinet\.(fortimanager|fortios)|check_point\.mgmt|cisco\..*|dellemc\..*")
"""Collections of thousands of generated modules that hardly differ from each other."""

_REFERENCE = "https://docs.ansible.com/ansible/latest/collections"
_MARKUP = re.compile(r"\b(?P<kind>[A-Z]{1,2})\((?P<content>[^()]*)\)")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Module(NamedTuple):
    """What a module says of itself: its collection (``namespace.name``), its name, its documentation and examples."""

    collection: str
    name: str
    documentation: dict[str, Any]
    examples: list[Any]


def module_files(folder: Path) -> list[Path]:
    """All module files of a package's folder ``ansible_collections``, in the order of their names.

    Raises:
        UserError: there is none.
    """
    files = sorted(folder.glob("*/*/plugins/modules/**/*.py"))
    if not files:
        raise UserError(f"{folder}: no module below it, as */*/plugins/modules/*.py. {INSTALL}")
    return files


def read_module(path: Path, folder: Path) -> Module | str:
    """The module of a file, or why it has none: what stands in its DOCUMENTATION and EXAMPLES, which are YAML."""
    collection = ".".join(path.relative_to(folder).parts[:2])
    if GENERATED.fullmatch(collection):
        return "modules of collections whose modules are generated and nearly equal"
    if path.name.startswith("_"):
        return "files that are no module"
    try:
        texts = _texts(ast.parse(path.read_bytes()))
    except (SyntaxError, ValueError):
        return "modules that are not Python"
    if "DOCUMENTATION" not in texts:
        return "files that are no module"
    try:
        documentation = yaml.load(texts["DOCUMENTATION"], _LOADER)
        examples = list(yaml.load_all(texts.get("EXAMPLES", ""), _LOADER))
    except (yaml.YAMLError, ValueError, RecursionError):
        return "modules whose documentation or examples are not YAML"
    if not isinstance(documentation, dict) or not isinstance(documentation.get("module"), str):
        return "modules whose documentation doesn't name them"
    return Module(collection, documentation["module"], documentation, examples)


def _texts(tree: ast.Module) -> dict[str, str]:
    """The names of a file that are given a text, and the texts."""
    return {
        target.id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }


def document(module: Module) -> Document:
    """The documentation of a module as a document.

    Title: its full name, with blanks for underscores, and its short description. Body: its description, then "option:
    first sentence" for its first 12 options.
    """
    details = module.documentation
    parts = [_plain(details.get("description"))]
    options = details.get("options")
    for name, option in list(options.items() if isinstance(options, dict) else ())[:OPTIONS_IN_BODY]:
        if isinstance(option, dict) and (sentence := first_sentence(_plain(option.get("description")))):
            parts.append(f"{name}: {sentence}")
    spoken = module.name.replace("_", " ")
    return Document(
        docno=f"{module.collection}.{module.name}",
        url=f"{_REFERENCE}/{module.collection.replace('.', '/')}/{module.name}_module.html",
        title=collapse_spaces(f"{module.collection} {spoken}: {_plain(details.get('short_description'))}"),
        body=collapse_spaces(" ".join(parts)),
    )


def _plain(text: Any) -> str:
    """Mark-up dropped, paragraphs joined: ``V(x)`` becomes x, ``L(words,url)`` words, ``O(a.b#module:c)`` c."""
    if isinstance(text, list):
        return " ".join(_plain(item) for item in text)
    return "" if text is None else collapse_spaces(_MARKUP.sub(_content, str(text)))


def _content(match: re.Match[str]) -> str:
    content = match["content"]
    if match["kind"] in ("L", "R"):
        return content.split(",")[0]
    if match["kind"] == "P":
        return content.split("#")[0]
    return content.rsplit(":", 1)[-1] if "#" in content else content


def phrases(module: Module, docno: str, counts: Counter) -> Iterator[Phrase]:
    """Case-folded names of the example tasks that use the module; one that says the module's name is only counted."""
    for task in _tasks(module.examples):
        if not any(str(key).rsplit(".", 1)[-1] == module.name for key in task):
            continue
        text = collapse_spaces(str(task["name"])).casefold().strip(" .")
        if module.name in text:
            counts["example tasks that say the name of their module"] += 1
        else:
            yield Phrase(text, "task", docno)


def _tasks(value: Any) -> Iterator[dict[Any, Any]]:
    """The named tasks of a playbook, those of its plays and blocks included."""
    if isinstance(value, list):
        for item in value:
            yield from _tasks(item)
    elif isinstance(value, dict):
        if isinstance(value.get("name"), str):
            yield value
        for key in ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always"):
            yield from _tasks(value.get(key))


def read_package(folder: Path, files: Iterable[Path]) -> tuple[list[Document], list[Need], Counter]:
    """All modules as documents, the information needs of their examples, and counts of what is left out.

    Args:
        folder: ``ansible_collections`` of the package.
        files: of `module_files`.

    Raises:
        UserError: no module, or no task that makes a query.
    """
    counts: Counter = Counter()
    documents: dict[str, Document] = {}
    found: list[Phrase] = []
    for path in files:
        module = read_module(path, folder)
        if isinstance(module, str):
            counts[module] += 1
            continue
        candidate = document(module)
        if candidate.docno in documents:
            counts["modules of a name that another has"] += 1
        elif len(words(candidate.body)) < MIN_BODY_WORDS:
            counts["documents of fewer than 8 words"] += 1
        else:
            documents[candidate.docno] = candidate
            found += phrases(module, candidate.docno, counts)
    needs, dropped = information_needs(found)
    if not needs:
        raise UserError(f"{folder}: no module there has an example task that makes a query. {INSTALL}")
    return [documents[docno] for docno in sorted(documents)], needs, counts + dropped
