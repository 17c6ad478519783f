"""Docid tables as the authors of DDRO publish them: a line ``[d108472]<TAB>32211,32518,...`` for each document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ddro.core.command import UserError
from ddro.core.files import whole
from ddro.docids.tokens import Docid

LINE = re.compile(r"\[([^\t]+)\]\t(\d{1,9}(?:,\d{1,9})*)")
PADDING, END = 0, 1
"""T5's own; some of the published tables have them behind the docids, some have not."""


def read_published(path: Path) -> tuple[dict[str, tuple[int, Docid]], int]:
    """The line number and the docid of each docno, and how many docids had padding or an end token, which is left out.

    Raises:
        UserError: the file isn't there, a line isn't of the form, or a docno stands in two lines.
    """
    docids: dict[str, tuple[int, Docid]] = {}
    stripped = 0
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file (docids.table names it).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error}).") from error
    for number, line in enumerate(lines, 1):
        if not (match := LINE.fullmatch(line)):
            raise UserError(f"{path}:{number}: expected [docno]<TAB>token,token,..., found {line[:80]!r}.")
        docno, tokens = match[1], [int(token) for token in match[2].split(",")]
        if docno in docids:
            raise UserError(f"{path}:{number}: docno {docno!r} stands in line {docids[docno][0]} already. Remove one.")
        docid = tokens[:]
        while docid and docid[-1] in (PADDING, END):
            docid.pop()
        stripped += len(docid) < len(tokens)
        docids[docno] = number, docid
    return docids, stripped


def docids_of(
    docnos: Sequence[str], published: dict[str, tuple[int, Docid]], path: Path
) -> tuple[list[Docid], list[str]]:
    """The docid of each document, and where it stands in the file; published docnos may be in lower case.

    Raises:
        UserError: a document has no docid.
    """
    found = [published.get(docno) or published.get(docno.lower()) for docno in docnos]
    if missing := [docno for docno, entry in zip(docnos, found, strict=True) if not entry]:
        raise UserError(
            f"{path}: {len(missing)} of the {len(docnos)} documents of the corpus have no docid there, the first is "
            f"{missing[0]!r}. Take the table of this very corpus, or set docids.table to null."
        )
    if len({number for number, _ in found}) < len(found):
        raise UserError(f"{path}: two documents of the corpus differ in case alone, and not in this table.")
    return [list(docid) for _, docid in found], [f"{path}:{number}" for number, _ in found]


def write_published(docnos: Sequence[str], docids: Iterator[Sequence[int]], path: Path) -> None:
    """Write the table; docnos are in lower case, as the authors have them, where that leaves them distinct."""
    lower = [docno.lower() for docno in docnos]
    names = lower if len(set(lower)) == len(lower) else docnos
    with whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for name, docid in zip(names, docids, strict=True):
            file.write(f"[{name}]\t{','.join(map(str, docid))}\n")
