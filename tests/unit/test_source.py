import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ddro.command import UserError
from ddro.source import SourceLines, row_writer


def read(path, tolerance=0.0, rejected=()):
    lines = SourceLines(path, tolerance)
    kept = []
    for line in lines:
        if line in rejected:
            lines.reject("refused")
        else:
            kept.append(line)
    return kept, dict(lines.rejected)


@pytest.mark.parametrize("name", ["lines.tsv", "lines.tsv.gz"])
def test_lines_without_their_ends(tmp_path, name):
    content = "eins\tä\r\nzwei\u2028x\n\ndrei".encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read(tmp_path / name) == (["eins\tä", "zwei\u2028x", "", "drei"], {})


def test_malformed_lines_are_counted_shown_and_tolerated_up_to_a_share(tmp_path, caplog):
    path = tmp_path / "lines"
    path.write_bytes(b"a\n\xff\xfe\nb\nc\n" + b"x\n" * 6)
    assert read(path, tolerance=0.2, rejected=["b"]) == (["a", "c", *"xxxxxx"], {"not UTF-8": 1, "refused": 1})
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "line 2 left out: not UTF-8",
        "line 3 left out: refused",
    ]
    with pytest.raises(UserError, match=r"2 of 10 lines are malformed.*0\.19.*1 not UTF-8, 1 refused"):
        read(path, tolerance=0.19, rejected=["b"])


def test_a_cut_off_damaged_empty_or_missing_file_is_named(tmp_path):
    packed = gzip.compress("".join(f"line {number}\n" for number in range(50000)).encode())
    path = tmp_path / "lines.gz"
    path.write_bytes(packed[:-200])
    with pytest.raises(UserError, match=r"lines.gz: damaged or cut off after line \d+ .*download it again"):
        read(path)
    path.write_bytes(packed[:5000] + b"?" + packed[5001:])
    with pytest.raises(UserError, match="damaged or cut off"):
        read(path)
    path.write_bytes(b"plain text\n")
    with pytest.raises(UserError, match="damaged or cut off after line 0"):
        read(path)
    for empty in (b"", gzip.compress(b"")):
        path.write_bytes(empty)
        with pytest.raises(UserError, match="the file is empty"):
            read(path)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "absent")


def test_rows_are_written_in_groups_whole_or_not_at_all(tmp_path):
    schema = pa.schema({"number": pa.int32()})
    with row_writer(tmp_path / "a.parquet", schema, rows_a_group=2) as add:
        for number in range(5):
            add({"number": number})
        assert not (tmp_path / "a.parquet").exists()
    with pq.ParquetFile(tmp_path / "a.parquet") as file:
        assert file.metadata.num_row_groups == 3
        assert file.read()["number"].to_pylist() == [0, 1, 2, 3, 4]

    with pytest.raises(RuntimeError), row_writer(tmp_path / "b.parquet", schema) as add:
        add({"number": 1})
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
