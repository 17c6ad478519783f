"""Reading what others publish: lines of plain or gzip text, where a malformed line is counted, not fatal."""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ddro.command import UserError, log, progress
from ddro.files import whole

SHOWN = 3
"""Malformed lines of a file that the log shows; all are counted."""


class SourceLines:
    """The lines of a UTF-8 text file, gzip if its name ends in .gz, without their line ends.

    After the last line, or whenever it is not to be believed, iterating raises a `UserError` if the file is empty, cut
    off or not gzip, or if more than the share ``tolerance`` of its lines was rejected.
    """

    def __init__(self, path: Path, tolerance: float) -> None:
        """Remember what to read; iterating reads it."""
        self.path, self.tolerance = path, tolerance
        self.number = 0
        self.rejected: Counter = Counter()

    def reject(self, reason: str) -> None:
        """Count the current line as malformed."""
        self.rejected[reason] += 1
        if self.rejected.total() <= SHOWN:
            log.warning("%s: line %d left out: %s", self.path, self.number, reason)

    def __iter__(self) -> Iterator[str]:
        """Yield each line that is UTF-8."""
        try:
            size = self.path.stat().st_size
            with (
                self.path.open("rb") as packed,
                gzip.open(packed) if self.path.suffix == ".gz" else packed as lines,
                progress(description=f"read {self.path.name}", unit="MiB", total=-(-size // 2**20)) as bar,
            ):
                for self.number, line in enumerate(lines, 1):
                    bar.update(packed.tell() // 2**20 - bar.n)
                    try:
                        yield line.decode().rstrip("\r\n")
                    except UnicodeDecodeError:
                        self.reject("not UTF-8")
        except FileNotFoundError as error:
            raise UserError(f"{self.path}: no such file. Download it first.") from error
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise UserError(
                f"{self.path}: damaged or cut off after line {self.number} ({error}). Delete it and download it again."
            ) from error
        if not self.number:
            raise UserError(f"{self.path}: the file is empty. Delete it and download it again.")
        rejected = self.rejected.total()
        if rejected > self.tolerance * self.number:
            raise UserError(
                f"{self.path}: {rejected} of {self.number} lines are malformed, more than the share {self.tolerance:g} "
                f"that is tolerated ({_described(self.rejected)}). Is it the right file?"
            )
        log.info("%s: %d lines, %d malformed", self.path.name, self.number, rejected)


def _described(counts: Counter) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.most_common())


@contextmanager
def row_writer(path: Path, schema: pa.Schema, rows_a_group: int = 1024) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that adds a row to a Parquet table; the memory holds ``rows_a_group`` rows at most.

    The file appears, whole, when the context ends without an error.
    """
    rows: list[dict[str, Any]] = []

    def flush() -> None:
        writer.write_table(pa.Table.from_pylist(rows, schema))
        rows.clear()

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        if len(rows) == rows_a_group:
            flush()

    with whole(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        yield add
        if rows:
            flush()
