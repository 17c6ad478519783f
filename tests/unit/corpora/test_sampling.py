import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ddro.corpora.sampling import rows_a_range, write_in_order

SCHEMA = pa.schema({"docno": pa.string(), "body": pa.string()})


def parts(docnos, size):
    for start in range(0, len(docnos), size):
        rows = [{"docno": docno, "body": f"text of {docno}"} for docno in docnos[start : start + size]]
        yield pa.Table.from_pylist(rows, SCHEMA)


def test_rows_come_out_by_rank_and_those_without_are_left_out(tmp_path):
    docnos = [f"d{number * 37 % 1000}" for number in range(1000)]
    rank = {f"d{number}": (number * 7 + 3) % 900 for number in range(900)}
    write_in_order(parts(docnos, 64), "docno", rank, tmp_path / "t.parquet", SCHEMA, rows=100)
    rows = pq.read_table(tmp_path / "t.parquet").to_pylist()
    assert [row["docno"] for row in rows] == sorted(rank, key=rank.get)
    assert all(row["body"] == f"text of {row['docno']}" for row in rows)
    assert pq.ParquetFile(tmp_path / "t.parquet").num_row_groups == 9
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]


def test_nothing_stays_after_an_error(tmp_path):
    def broken():
        yield from parts(["a", "b"], 2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_in_order(broken(), "docno", {"a": 0, "b": 1}, tmp_path / "t.parquet", SCHEMA)
    assert list(tmp_path.iterdir()) == []


def test_a_range_of_long_rows_has_few(tmp_path):
    chance = random.Random(0)
    for name, length, count in (("short", 10, 20_000), ("long", 2**20, 4), ("none", 1, 0)):
        bodies = [chance.randbytes(length // 2).hex() for _ in range(count)]
        table = pa.table({"docno": list(map(str, range(count))), "body": bodies}, schema=SCHEMA)
        pq.write_table(table, tmp_path / name)
    assert [rows_a_range(tmp_path / name) for name in ("short", "none")] == [2**14, 1]
    assert 120 <= rows_a_range(tmp_path / "long") <= 128
