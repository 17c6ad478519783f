"""Which documents make the corpus, and a table written in their order with a bounded memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ddro.core.files import write_whole

MOST_ROWS, RANGE_BYTES = 2**14, 2**27
"""What the memory holds of a table that is written in another order, the lesser of the two."""


def most_judged(judged: Mapping[str, int], top_k: int, every: Iterable[str] = ()) -> list[str]:
    """The ``top_k`` docnos with most judged queries, most judged first, ties by docno (docs/method.md).

    Documents without a judged query come only from ``every``, after the others.
    """
    candidates = {docno for docno, count in judged.items() if count > 0}.union(every)
    return sorted(candidates, key=lambda docno: (-judged.get(docno, 0), docno))[:top_k]


def write_in_order(
    tables: Iterable[pa.Table], key: str, rank: Mapping[str, int], path: Path, schema: pa.Schema, rows: int = MOST_ROWS
) -> None:
    """Write the rows of ``tables`` as zstd Parquet, ordered by the rank of their ``key``.

    The ranks are 0, 1, 2, ...; a row whose key has none is left out. The first pass deals the rows out to one file for
    each range of so many ranks, beside ``path``; then one range after the other is sorted and written. So the memory
    holds one of ``tables``, or ``rows`` rows.
    """
    rows = max(rows, len(rank) // 256)  # open files are few
    folder = path.with_name(f".{path.name}.ranges")
    shutil.rmtree(folder, ignore_errors=True)  # of a killed process
    folder.mkdir(parents=True)
    try:
        ranges = _deal_out(tables, key, rank, folder, rows)
        with write_whole(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for number in ranges:
                with pa.OSFile(str(folder / str(number))) as file:
                    table = pa.ipc.open_stream(file).read_all()
                writer.write_table(table.take(np.argsort(table["_rank"].to_numpy())).select(schema.names))
    finally:
        shutil.rmtree(folder)


def rows_a_range(path: Path) -> int:
    """How many rows of a Parquet table, of its mean length, are `RANGE_BYTES`; at most `MOST_ROWS`."""
    table = pq.read_metadata(path)
    total = sum(table.row_group(number).total_byte_size for number in range(table.num_row_groups))
    return min(MOST_ROWS, max(1, RANGE_BYTES * table.num_rows // max(total, 1)))


def _deal_out(tables: Iterable[pa.Table], key: str, rank: Mapping[str, int], folder: Path, rows: int) -> list[int]:
    """Write each range of ranks to its file; return the numbers of those that have rows, in order."""
    writers: dict[int, pa.ipc.RecordBatchStreamWriter] = {}
    try:
        for table in tables:
            ranks = np.array([rank.get(value, -1) for value in table[key].to_pylist()], dtype=np.int64)
            table = table.append_column("_rank", pa.array(ranks))
            for number in np.unique(ranks[ranks >= 0] // rows):
                part = table.take(np.flatnonzero((ranks >= 0) & (ranks // rows == number)))
                if number not in writers:
                    writers[number] = pa.ipc.new_stream(str(folder / str(number)), part.schema)
                writers[number].write_table(part)
    finally:
        for writer in writers.values():
            writer.close()
    return sorted(writers)
