import gzip
import re

import pytest

from ddro.core.command import UserError
from ddro.core.lines import SourceLines


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
    with pytest.raises(UserError, match=r"2 of 10 lines are invalid.*0\.19.*1 not UTF-8, 1 refused; line 2"):
        read(path, tolerance=0.19, rejected=["b"])


def test_where_a_large_file_is_cut_off_is_told_to_a_few_blocks(tmp_path):
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress("".join(f"line {number}\n" for number in range(1_500_000)).encode())[:-2000])
    with pytest.raises(UserError, match="after line ") as error:
        read(path)
    line = int(re.search(r"after line (\d+)", str(error.value))[1])
    assert 500_000 < line < 1_500_000


def test_a_cut_off_damaged_empty_or_missing_file_is_named(tmp_path):
    packed = gzip.compress("".join(f"line {number}\n" for number in range(50000)).encode())
    path = tmp_path / "lines.gz"
    path.write_bytes(packed[:-200])
    with pytest.raises(UserError, match=r"lines.gz: damaged or cut off somewhere after line \d+ .*download it again"):
        read(path)
    path.write_bytes(packed[:5000] + b"?" + packed[5001:])
    with pytest.raises(UserError, match="damaged or cut off"):
        read(path)
    path.write_bytes(b"plain text\n")
    with pytest.raises(UserError, match="damaged or cut off somewhere after line 0"):
        read(path)
    for empty in (b"", gzip.compress(b"")):
        path.write_bytes(empty)
        with pytest.raises(UserError, match="the file is empty"):
            read(path)
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "absent")


def test_a_very_long_line_is_a_line_like_others(tmp_path):
    path = tmp_path / "lines.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"x" * 2**20 + b"\nb\n"))
    assert [len(line) for line in read(path)[0]] == [1, 2**20, 1]


def test_the_report_lists_the_first_lines_of_each_reason(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b"\xff\n" * 4 + b"b\n")
    lines = SourceLines(path, 1.0)
    for _ in lines:
        lines.reject("refused")
    assert lines.report() == {
        "file": "lines",
        "lines": 5,
        "invalid": {"not UTF-8": {"count": 4, "first_lines": [1, 2, 3]}, "refused": {"count": 1, "first_lines": [5]}},
    }
