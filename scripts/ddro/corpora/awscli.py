"""The embedded data set: AWS operations as documents, the headings of their usage examples as queries.

Read from the package data of ``awscli`` and ``botocore`` (Apache-2.0), which are located and never imported.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ddro.core.command import UserError
from ddro.core.text import collapse_spaces, first_sentence, html_to_text, words
from ddro.corpora.information_needs import Document, Need, Phrase, information_needs

COMMAND_OF_SERVICE = {"s3": "s3api", "codedeploy": "deploy", "config": "configservice"}
"""Service folders of botocore whose command has another name."""

MEMBERS_IN_BODY = 12
MIN_BODY_WORDS = 8
MIN_HEADING_WORDS = 3
MIN_SENTENCE_WORDS = 4

_REFERENCE = "https://docs.aws.amazon.com/cli/latest/reference"
_HEADING = re.compile(r"^\*\*(?P<text>.+?)\*\*\s*$")
_EXAMPLE_NUMBER = re.compile(r"^(example|to example)\s*\d*\s*[:.\-]\s*", re.IGNORECASE)
_LINK = re.compile(r"`([^`<]*?)\s*<[^`>]*>`_{0,2}")


def operation_models(botocore: Path) -> Iterator[tuple[str, dict]]:
    """Yield (service folder, model) with each service's newest ``service-2.json.gz``, in the order of names.

    Raises:
        UserError: no model is found, or one is truncated or not a service model.
    """
    services = sorted(path for path in (botocore / "data").glob("*") if path.is_dir())
    found = False
    for service in services:
        versions = sorted(service.glob("*/service-2.json.gz"))
        if versions:
            found = True
            yield service.name, read_model(versions[-1])
    if not found:
        raise UserError(f"{botocore}/data: no service-2.json.gz below it. Reinstall botocore (envs/lock.txt).")


def read_model(path: Path) -> dict:
    """The JSON of one gzip'd service model."""
    try:
        model = json.loads(gzip.decompress(path.read_bytes()))
        model["metadata"]["serviceFullName"], model["operations"].keys(), model["shapes"].keys()  # noqa: B018 - raises
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: truncated or not gzip ({error}). Reinstall botocore (envs/lock.txt).") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a service model ({error!r}). Reinstall botocore (envs/lock.txt).") from error
    return model


def document(model: dict, operation: str, command: str, name: str) -> Document:
    """The reference text of ``operation`` as a document.

    Title: the service's full name and the operation. Body: the operation's documentation as plain text, then
    "member: first sentence" for the first 12 members of its input.
    """
    details = model["operations"][operation]
    members = model["shapes"].get(details.get("input", {}).get("shape"), {}).get("members", {})
    sentences = (
        (member, first_sentence(html_to_text(description.get("documentation", ""))))
        for member, description in list(members.items())[:MEMBERS_IN_BODY]
    )
    parts = [html_to_text(details.get("documentation", ""))]
    parts += [f"{member}: {sentence}" for member, sentence in sentences if sentence]
    return Document(
        docno=f"{command}/{name}",
        url=f"{_REFERENCE}/{command}/{name}.html",
        title=f"{model['metadata']['serviceFullName']} {name}",
        body=collapse_spaces(" ".join(parts)),
    )


def phrases(source: str, docno: str) -> list[Phrase]:
    """The bold headings of an example file and the first sentence below each, in the order of the file.

    "Example N:" is stripped from a heading, the operation's name is removed from a sentence; both are case-folded.
    Headings of fewer than 3 words and sentences of fewer than 4 are left out.
    """
    operation = docno.rpartition("/")[2]
    lines = source.splitlines()
    found: list[Phrase] = []
    for number, line in enumerate(lines):
        match = _HEADING.match(line)
        if not match:
            continue
        heading = _phrase(_EXAMPLE_NUMBER.sub("", match["text"].strip()))
        if len(words(heading)) >= MIN_HEADING_WORDS:
            found.append(Phrase(heading, "heading", docno))
        sentence = _phrase(_without(operation, first_sentence(_paragraph(lines[number + 1 :]))))
        if len(words(sentence)) >= MIN_SENTENCE_WORDS:
            found.append(Phrase(sentence, "sentence", docno))
    return found


def _paragraph(lines: list[str]) -> str:
    """The first paragraph, without mark-up; nothing where a literal block or another heading comes first."""
    start = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
    kept: list[str] = []
    for line in lines[start:]:
        if not line.strip() or _HEADING.match(line):
            break
        kept.append(line.strip())
    if lines[start : start + 1] and lines[start][:1].isspace():
        return ""
    return _plain(" ".join(kept))


def _plain(text: str) -> str:
    """reStructuredText mark-up dropped: links keep their words, literals and emphasis their content."""
    text = _LINK.sub(r"\1", text)
    return collapse_spaces(text.replace("``", "").replace("**", "").replace("`_", "").replace("`", "").replace("*", ""))


def _without(operation: str, sentence: str) -> str:
    return re.sub(rf"(?<![\w-]){re.escape(operation)}(?![\w-])", " ", sentence, flags=re.IGNORECASE)


def _phrase(text: str) -> str:
    return _plain(text).casefold().rstrip(".:;, ")


def read_packages(awscli: Path, botocore: Path) -> tuple[list[Document], list[Need], Counter]:
    """All documents that have an example, their information needs, and counts of what is left out.

    Raises:
        UserError: a package file is missing, truncated or malformed, or nothing is found.
    """
    counts: Counter = Counter()
    documents: list[Document] = []
    found: list[Phrase] = []
    for service, model in operation_models(botocore):
        command = COMMAND_OF_SERVICE.get(service, service)
        operations = {operation.casefold(): operation for operation in model["operations"]}
        for path in sorted((awscli / "examples" / command).glob("*.rst")):
            operation = operations.get(path.stem.replace("-", "").casefold())
            if operation is None:
                counts["example files without an operation"] += 1
                continue
            try:
                candidate = document(model, operation, command, path.stem)
            except (AttributeError, KeyError, TypeError) as error:
                raise UserError(
                    f"{botocore}/data/{service}: the model of {operation} is malformed ({error!r}). "
                    "Reinstall botocore (envs/lock.txt)."
                ) from error
            if len(words(candidate.body)) < MIN_BODY_WORDS:
                counts["documents of fewer than 8 words"] += 1
                continue
            documents.append(candidate)
            found += phrases(_read_example(path), candidate.docno)
    if not documents:
        raise UserError(
            f"{awscli}/examples: no example file belongs to an operation. Reinstall awscli (envs/lock.txt)."
        )
    needs, dropped = information_needs(found)
    return sorted(documents, key=lambda item: item.docno), needs, counts + dropped


def _read_example(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 at byte {error.start}. Reinstall awscli (envs/lock.txt).") from error
