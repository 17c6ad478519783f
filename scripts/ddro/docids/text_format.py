"""Docid tables as text, in the form in which the authors of DDRO publish theirs: ``[d108472]<TAB>32211,32518,...``.

A line for each document. Published files have the brackets or not, capitals or not, padding (0) before or behind the
docid, an end token (1) or not, Windows' line ends, blank lines, and docnos that stand in several lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ddro.core.command import UserError, log
from ddro.core.files import write_whole
from ddro.core.lines import SourceLines
from ddro.docids.tokens import END, PADDING, Docid

LINE = re.compile(r"\s*([^\t]*\S)\s*\t\s*([0-9]{1,9}(?:\s*,\s*[0-9]{1,9})*)\s*")


class Entry(NamedTuple):
    """A line of a docid table: its number in the file, and its tokens as they stand there."""

    line: int
    tokens: Docid

    @property
    def docid(self) -> Docid:
        """The tokens without padding, the end token included where there is one."""
        return [token for token in self.tokens if token != PADDING]

    @property
    def open_docid(self) -> Docid:
        """The tokens without padding and without end tokens behind them."""
        docid = self.docid
        while docid and docid[-1] == END:
            docid.pop()
        return docid


def without_brackets(docno: str) -> str:
    """A docno as published files name it: ``[d1]`` is d1."""
    return docno.strip().removeprefix("[").removesuffix("]")


def docid_lines(path: Path) -> Iterator[tuple[str, Entry]]:
    """Yield the docno, without brackets, and the entry of each line.

    Raises:
        UserError: the file isn't there or has no line, or a line isn't of the form.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file (docids.table of the recipe names it, or the script's --docids).")
    lines = SourceLines(path, tolerance=0)
    for line in lines:
        if not (match := LINE.fullmatch(line)):
            raise UserError(f"{path}:{lines.number}: expected [docno]<TAB>token,token,..., found {line[:80]!r}.")
        yield without_brackets(match[1]), Entry(lines.number, [int(token) for token in match[2].split(",")])


def read_docid_table(path: Path) -> dict[str, Entry]:
    """The entry of each docno, without brackets, in the order of the file; of a docno in several lines the last one.

    How many lines are left out so is logged.

    Raises:
        UserError: what `docid_lines` refuses.
    """
    table: dict[str, Entry] = {}
    repeated: list[int] = []
    for docno, entry in docid_lines(path):
        if docno in table:
            repeated.append(table[docno].line)
        table[docno] = entry
    if repeated:
        log.warning(
            "%s: %d lines left out, whose document stands in a later line, too, such as line %d",
            path,
            len(repeated),
            repeated[0],
        )
    return table


def docids_of(docnos: Sequence[str], table: Mapping[str, Entry], path: Path) -> tuple[list[Docid], list[str]]:
    """The docid of each document, and where it stands in the file; docnos there may be in lower case.

    Raises:
        UserError: a document has no docid.
    """
    found = [table.get(docno) or table.get(docno.lower()) for docno in docnos]
    if missing := [docno for docno, entry in zip(docnos, found, strict=True) if not entry]:
        raise UserError(
            f"{path}: {len(missing)} of the {len(docnos)} documents of the corpus have no docid there, the first is "
            f"{missing[0]!r}. Take the table of this very corpus, or set docids.table to null."
        )
    if len({entry.line for entry in found}) < len(found):
        raise UserError(f"{path}: two documents of the corpus differ in case alone, and not in this table.")
    return [entry.open_docid for entry in found], [f"{path}:{entry.line}" for entry in found]


def write_docid_table(docnos: Sequence[str], docids: Iterable[Sequence[int]], path: Path) -> None:
    """Write a table; docnos are in lower case, as the authors have them, where that leaves them distinct."""
    lower = [docno.lower() for docno in docnos]
    names = lower if len(set(lower)) == len(lower) else docnos
    with write_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for name, docid in zip(names, docids, strict=True):
            file.write(f"[{name}]\t{','.join(map(str, docid))}\n")
