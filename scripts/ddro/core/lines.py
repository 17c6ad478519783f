"""Reading what others publish: lines of plain or gzip text, where a malformed line is counted, not fatal."""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from isal import igzip_threaded, isal_zlib

from ddro.core.command import UserError, log, progress

SHOWN = 3
"""Invalid lines of a file that the log shows, and of each reason that the report lists; all are counted."""

ENDS = "\ufeff\r\n"
"""What is no part of a line: its end, Windows' or others', and the byte-order mark before the first of a file."""

GRADE = re.compile(r"\s*([+-]?0*[0-9]{1,6})(?:\.0*)?\s*")
"""Of six digits at most: trec_eval keeps a counter for each grade up to the highest."""

QUOTED = re.compile(r'"(?:[^"]|"")*"')
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
GZIP = b"\x1f\x8b"


class SourceLines:
    """The lines of a UTF-8 text file, gzip if its name or its first bytes say so; blank ones are counted, not given.

    ISA-L unpacks in a thread of its own, several times as fast as zlib. After the last line, or whenever it is
    not to be believed, iterating raises a `UserError` if the file is empty, cut off or not gzip, or if more than the
    share ``tolerance`` of its lines was rejected; ``remedy`` says what could be done about that.
    """

    def __init__(self, path: Path, tolerance: float, remedy: str = "Download it again, or mend these lines.") -> None:
        """Remember what to read; iterating reads it."""
        self.path, self.tolerance, self.remedy = path, tolerance, remedy
        self.number = self.blank = self.header = 0
        self.rejected: Counter = Counter()
        self.examples: dict[str, list[int]] = defaultdict(list)

    def reject(self, reason: str) -> None:
        """Count the current line as invalid, once."""
        self.rejected[reason] += 1
        if len(self.examples[reason]) < SHOWN:
            self.examples[reason].append(self.number)
        if self.rejected.total() <= SHOWN:
            log.warning("%s: line %d left out: %s", self.path, self.number, reason)

    def report(self) -> dict[str, Any]:
        """What was read and what rejected, for the data report: what isn't told of the lines was data."""
        invalid = {
            reason: {"count": count, "first_lines": self.examples[reason]} for reason, count in self.rejected.items()
        }
        skipped = {name: count for name, count in (("blank", self.blank), ("header", self.header)) if count}
        return {"file": self.path.name, "lines": self.number, **skipped, "invalid": invalid}

    def __iter__(self) -> Iterator[str]:
        """Yield each line that is UTF-8 and not blank, without `ENDS`."""
        self.number = self.blank = self.header = 0
        try:
            size = self.path.stat().st_size
            with (
                self.path.open("rb") as packed,
                _unpacking(packed) if self._is_packed(packed) else packed as lines,
                progress(description=f"read {self.path.name}", unit="MiB", total=-(-size // 2**20)) as bar,
            ):
                while block := lines.readlines(2**16):
                    if not self.number and block[0].startswith(UTF_16):
                        raise UserError(f"{self.path}: the text is UTF-16. Save it as UTF-8 (iconv -f UTF-16).")
                    for line in block:
                        self.number += 1
                        try:
                            text = line.decode().strip(ENDS)
                        except UnicodeDecodeError:
                            self.reject("not UTF-8")
                            continue
                        if not text or text.isspace():
                            self.blank += 1
                        else:
                            yield text
                    bar.set_postfix_str(f"{self.number:,} lines", refresh=False)
                    bar.update(packed.tell() // 2**20 - bar.n)
        except FileNotFoundError as error:
            raise UserError(f"{self.path}: no such file. Download it first.") from error
        except (EOFError, gzip.BadGzipFile, zlib.error, isal_zlib.error) as error:
            raise UserError(
                f"{self.path}: damaged or cut off somewhere after line {self.number} ({error}). Delete it and download "
                "it again."
            ) from error
        except OSError as error:
            raise UserError(f"{self.path}: can't be read ({error.strerror or error}).") from error
        if self.number == self.blank:
            raise UserError(f"{self.path}: the file is empty. Delete it and download it again.")
        rejected = self.rejected.total()
        if rejected > self.tolerance * self.number:
            raise UserError(
                f"{self.path}: {rejected} of {self.number} lines are invalid, more than the share {self.tolerance:g} "
                f"that is tolerated ({_described(self.rejected)}; line {_first(self.examples)}). Is it the right file? "
                f"{self.remedy}"
            )
        log.info("%s: %d lines, %d invalid", self.path.name, self.number, rejected)

    def _is_packed(self, file: io.BufferedReader) -> bool:
        return self.path.suffix == ".gz" or file.peek(2).startswith(GZIP)


def cant_be_kept(docno_or_qid: str, *texts: str) -> str | None:
    """Why a document or query can't be kept, if it can't: what a TREC run or a UTF-8 file has no place for."""
    if not docno_or_qid:
        return "an empty id"
    if any(character.isspace() for character in docno_or_qid):
        return "white space in the id"
    if "\0" in docno_or_qid:
        return "a NUL character in the id"
    try:
        for text in (docno_or_qid, *texts):
            text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is no character"
    return None


def record_of(line: str) -> dict[str, Any]:
    """The JSON object of a line, empty for another value of JSON; a `ValueError` says that it isn't JSON."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads, or deep nesting
        raise ValueError("not JSON") from error
    return record if isinstance(record, dict) else {}


def identifier_of(value: Any) -> str | None:
    """A docno or qid of a JSON record as text: a string or an integer; None for what is neither."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    return str(value)


def grade_of(text: str) -> int | None:
    """The grade of a judgement: ``1``, ``+1``, ``1.0``, ``-2``, blanks around it or none; None for what is no grade."""
    return int(match[1]) if (match := GRADE.fullmatch(text)) else None


def unquoted(field: str, known: Container[str] = ()) -> str:
    """A field without the quotes that writers of csv put around it; one that is ``known`` as it stands stays."""
    if field.startswith('"') and QUOTED.fullmatch(field) and field not in known:
        return field[1:-1].replace('""', '"')
    return field


def _unpacking(packed: BinaryIO) -> BinaryIO:
    """What a thread of its own unpacks: in large blocks, since it waits for Python's lock after each.

    It reads 32 MiB of the packed file at a time: so coarse is the progress.
    """
    return io.BufferedReader(igzip_threaded.open(packed, block_size=2**22), 2**17)


def _first(examples: dict[str, list[int]]) -> int:
    return min(numbers[0] for numbers in examples.values())


def _described(counts: Counter) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
