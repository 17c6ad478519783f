"""Reading what others publish: lines of plain or gzip text, where a malformed line is counted, not fatal."""

from __future__ import annotations

import gzip
import io
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from isal import igzip_threaded, isal_zlib

from ddro.core.command import UserError, log, progress

SHOWN = 3
"""Invalid lines of a file that the log shows, and of each reason that the report lists; all are counted."""


class SourceLines:
    """The lines of a UTF-8 text file, gzip if its name ends in .gz, without their line ends (Windows' or others').

    ISA-L unpacks in a thread of its own, several times as fast as zlib. After the last line, or whenever it is
    not to be believed, iterating raises a `UserError` if the file is empty, cut off or not gzip, or if more than the
    share ``tolerance`` of its lines was rejected.
    """

    def __init__(self, path: Path, tolerance: float) -> None:
        """Remember what to read; iterating reads it."""
        self.path, self.tolerance = path, tolerance
        self.number = 0
        self.rejected: Counter = Counter()
        self.examples: dict[str, list[int]] = defaultdict(list)

    def reject(self, reason: str) -> None:
        """Count the current line as invalid."""
        self.rejected[reason] += 1
        if len(self.examples[reason]) < SHOWN:
            self.examples[reason].append(self.number)
        if self.rejected.total() <= SHOWN:
            log.warning("%s: line %d left out: %s", self.path, self.number, reason)

    def report(self) -> dict[str, Any]:
        """What was read and what rejected, for the data report."""
        invalid = {
            reason: {"count": count, "first_lines": self.examples[reason]} for reason, count in self.rejected.items()
        }
        return {"file": self.path.name, "lines": self.number, "invalid": invalid}

    def __iter__(self) -> Iterator[str]:
        """Yield each line that is UTF-8."""
        self.number = 0
        try:
            size = self.path.stat().st_size
            with (
                self.path.open("rb") as packed,
                _unpacking(packed) if self.path.suffix == ".gz" else packed as lines,
                progress(description=f"read {self.path.name}", unit="MiB", total=-(-size // 2**20)) as bar,
            ):
                while block := lines.readlines(2**16):
                    for line in block:
                        self.number += 1
                        try:
                            text = line.decode()
                        except UnicodeDecodeError:
                            self.reject("not UTF-8")
                        else:
                            yield text.rstrip("\r\n")
                    bar.set_postfix_str(f"{self.number:,} lines", refresh=False)
                    bar.update(packed.tell() // 2**20 - bar.n)
        except FileNotFoundError as error:
            raise UserError(f"{self.path}: no such file. Download it first.") from error
        except (EOFError, gzip.BadGzipFile, zlib.error, isal_zlib.error) as error:
            raise UserError(
                f"{self.path}: damaged or cut off somewhere after line {self.number} ({error}). Delete it and download "
                "it again."
            ) from error
        if not self.number:
            raise UserError(f"{self.path}: the file is empty. Delete it and download it again.")
        rejected = self.rejected.total()
        if rejected > self.tolerance * self.number:
            raise UserError(
                f"{self.path}: {rejected} of {self.number} lines are invalid, more than the share {self.tolerance:g} "
                f"that is tolerated ({_described(self.rejected)}; line {_first(self.examples)}). Is it the right file? "
                "max_invalid of the data set allows more."
            )
        log.info("%s: %d lines, %d invalid", self.path.name, self.number, rejected)


def cant_be_kept(docno_or_qid: str, *texts: str) -> str | None:
    """Why a document or query can't be kept, if it can't: what a TREC run or a UTF-8 file has no place for."""
    if any(character.isspace() for character in docno_or_qid):
        return "white space in the id"
    try:
        for text in (docno_or_qid, *texts):
            text.encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is no character"
    return None


def _unpacking(packed: BinaryIO) -> BinaryIO:
    """What a thread of its own unpacks: in large blocks, since it waits for Python's lock after each.

    It reads 32 MiB of the packed file at a time: so coarse is the progress.
    """
    return io.BufferedReader(igzip_threaded.open(packed, block_size=2**22), 2**17)


def _first(examples: dict[str, list[int]]) -> int:
    return min(numbers[0] for numbers in examples.values())


def _described(counts: Counter) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())
