import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ddro.corpora.sampling import write_in_order

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
