"""Files that are whole or absent, and tables that are checked when written and when read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ddro.core.command import UserError


@contextmanager
def write_whole(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside ``path``; on success it becomes ``path`` (a file or a folder), else it is removed.

    Whoever finds ``path`` finds all of it, also after a crash: files and folders come and go by a rename. What a killed
    process has left under a temporary name is removed first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = path.with_name(f".{path.name}.part"), path.with_name(f".{path.name}.old")
    _remove(temporary)
    _remove(old)
    try:
        yield temporary
        flush_to_disk(temporary)
        if path.is_dir():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        _remove(temporary)
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Make the content durable before its final name appears."""
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as handle:
            os.fsync(handle.fileno())


def write_json(value: Any, path: Path | str) -> None:
    """Write ``value`` as readable JSON with sorted keys, so that equal values are equal bytes."""
    with write_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path | str) -> Any:
    """Read a JSON file; a `UserError` names the file and line of a mistake, or says that there is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Run snakemake to make it, or name the folder that has it.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file ({error}). Delete it and rerun.") from error
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno}: not JSON ({error.msg}). Delete the file and rerun.") from error


def write_table(table: pa.Table, path: Path | str, schema: pa.Schema, unique: list[str] | None = None) -> None:
    """Check ``table`` against ``schema`` (see `check_table`) and write it as zstd Parquet, whole or not at all."""
    table = check_table(table, path, schema, unique)
    with write_whole(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_table(path: Path | str, schema: pa.Schema, unique: list[str] | None = None) -> pa.Table:
    """Read a Parquet table and check it; a `UserError` names the file, and the row where there is one."""
    try:
        table = pq.read_table(path, columns=_there(path, schema))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Run snakemake to make it.") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a Parquet file ({error}). Delete it and rerun.") from error
    return check_table(table, path, schema, unique)


@contextmanager
def row_writer(
    path: Path, schema: pa.Schema, rows_a_group: int = 1024, compression: str = "zstd", **options: Any
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that adds a row to a Parquet table, checked; the memory holds ``rows_a_group`` rows at most.

    The ``options`` are `pq.ParquetWriter`'s. The file appears, whole, when the context ends without an error.
    """
    rows: list[dict[str, Any]] = []
    written = 0

    def flush() -> None:
        nonlocal written
        writer.write_table(check_table(pa.Table.from_pylist(rows, schema), path, schema, first_row=written))
        written += len(rows)
        rows.clear()

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        if len(rows) == rows_a_group:
            flush()

    with (
        write_whole(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression=compression, **options) as writer,
    ):
        yield add
        if rows:
            flush()


def write_parts(
    parts: Iterable[pa.Table], path: Path, schema: pa.Schema, rows_a_group: int = 1024, compression: str = "zstd"
) -> int:
    """Write a Parquet table of these parts, checked, as `row_writer` writes their rows; return their number."""
    written, waiting = 0, schema.empty_table()
    with write_whole(path) as temporary, pq.ParquetWriter(temporary, schema, compression=compression) as writer:
        for part in parts:
            waiting = pa.concat_tables([waiting, check_table(part, path, schema, first_row=written + len(waiting))])
            whole = len(waiting) // rows_a_group * rows_a_group
            for start in range(0, whole, rows_a_group):
                writer.write_table(waiting.slice(start, rows_a_group).combine_chunks())
            written, waiting = written + whole, waiting.slice(whole)
        if len(waiting):
            writer.write_table(waiting.combine_chunks())
    return written + len(waiting)


def open_in_parts(path: Path | str) -> pq.ParquetFile:
    """Open a Parquet file to read it part by part; as pyarrow opens it, it reads the whole file ahead."""
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)


def read_batches(path: Path | str, schema: pa.Schema, rows: int = 1024) -> Iterator[pa.Table]:
    """Yield the rows of a Parquet table, so many at a time, each part checked as by `read_table`."""
    with open_in_parts(path) as file:
        for number, batch in enumerate(file.iter_batches(rows, columns=_there(path, schema))):
            part = pa.Table.from_batches([batch])
            yield check_table(part, path, schema, first_row=number * rows)


def _there(path: Path | str, schema: pa.Schema) -> list[str] | None:
    """The columns to read; None for all where one is missing, so that the message can tell those found."""
    names = pq.read_schema(path).names
    return schema.names if set(schema.names) <= set(names) else None


def check_table(
    table: pa.Table, path: Path | str, schema: pa.Schema, unique: list[str] | None = None, first_row: int = 0
) -> pa.Table:
    """Return ``table`` with the columns and types of ``schema``; its rows are those of the file from ``first_row`` on.

    Its metadata stay.

    Raises:
        UserError: a missing column, a type that doesn't convert, a null, or two rows that agree in ``unique``.
    """
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise UserError(f"{path}: column {missing[0]!r} is missing (found: {', '.join(table.column_names)}).")
    table = table.select(schema.names)
    try:
        table = table.cast(schema.with_metadata(table.schema.metadata))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{path}: expected columns {_describe(schema)}: {error}") from error
    for name in schema.names:
        if table[name].null_count:
            row = pc.index(pc.is_null(table[name]), True).as_py()
            raise UserError(f"{path}: row {first_row + row}: {name} is empty.")
    if unique:
        check_unique(table, path, unique)
    return table


def check_unique(table: pa.Table, path: Path | str, columns: list[str]) -> None:
    """Raise a `UserError` that names the first value of ``columns`` that stands in two rows, and the rows."""
    counts = table.group_by(columns).aggregate([([], "count_all")])
    twice = counts.filter(pc.greater(counts["count_all"], 1))
    if twice.num_rows:
        key = {name: twice[name][0].as_py() for name in columns}
        described = ", ".join(f"{name} {value!r}" for name, value in key.items())
        same = [pc.equal(table[name], value) for name, value in key.items()]
        rows = pc.indices_nonzero(reduce(pc.and_, same)).to_pylist()
        raise UserError(f"{path}: {described} stands in rows {rows[0]} and {rows[1]}; it must be unique.")


def check_foreign_key(table: pa.Table, path: Path | str, column: str, known: pa.ChunkedArray, where: str) -> None:
    """Raise a `UserError` that names the first row whose ``column`` is not among the values ``known``."""
    unknown = pc.invert(pc.is_in(table[column], value_set=known.combine_chunks()))
    count = pc.sum(unknown).as_py() or 0
    if count:
        row = pc.index(unknown, True).as_py()
        value = table[column][row].as_py()
        raise UserError(f"{path}: row {row}: {column} {value!r} is not in {where} ({count} such rows).")


def _describe(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
