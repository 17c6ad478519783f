import gzip
import re

import pytest

from ddro.core.command import UserError
from ddro.core.lines import SourceLines, grade_of, identifier_of, record_of, unquoted


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
    assert read(tmp_path / name) == (["eins\tä", "zwei\u2028x", "drei"], {})


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_marks_ends_and_blank_lines_are_no_data(tmp_path, mark, end):
    path = tmp_path / "lines"
    path.write_bytes(mark + end.join([b"", b"one", b"", b" \t ", mark + b"two", b"", b""]))
    lines = SourceLines(path, 0)
    assert list(lines) == ["one", "two"]
    assert lines.report() == {"file": "lines", "lines": 6, "blank": 4, "invalid": {}}
    path.write_bytes(mark + end * 3)
    with pytest.raises(UserError, match="the file is empty"):
        read(path)


def test_packed_lines_are_known_by_their_bytes(tmp_path):
    (tmp_path / "lines.jsonl").write_bytes(gzip.compress(b"a\nb\n"))
    assert read(tmp_path / "lines.jsonl")[0] == ["a", "b"]


def test_what_is_no_file_of_text_in_utf_8_is_refused(tmp_path):
    (tmp_path / "sheet.tsv").write_text("q1\td1\t1\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"sheet.tsv: the text is UTF-16. Save it as UTF-8"):
        read(tmp_path / "sheet.tsv")
    with pytest.raises(UserError, match="can't be read .Is a directory"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "grade"),
    [("1", 1), ("+1", 1), ("1.0", 1), (" 2. ", 2), ("-2.00", -2), ("0003", 3), ("1.5", None), ("1e0", None)]
    + [("", None), ("1,0", None), ("--1", None), ("1_0", None), ("9999999", None), ("nan", None), ("0" * 99, 0)],
)
def test_grades(text, grade):
    assert grade_of(text) == grade


def test_fields_lose_the_quotes_of_csv_unless_they_are_known_with_them():
    assert unquoted('"a ""b"""') == 'a "b"'
    assert [unquoted(field) for field in ('"a"b"', '"', '""', "a")] == ['"a"b"', '"', "", "a"]
    assert unquoted('"a"', {'"a"'}) == '"a"'


def test_what_identifies_a_record():
    assert [identifier_of(value) for value in ("a", 7, 10**30)] == ["a", "7", "1" + "0" * 30]
    assert [identifier_of(value) for value in (None, True, 2.0, ["a"], {})] == [None] * 5


@pytest.mark.parametrize("line", ["{", "[" * 10**6, "9" * 5000, '{"a": NULL}'])
def test_what_is_not_json(line):
    with pytest.raises(ValueError, match="not JSON"):
        record_of(line)
    assert record_of("[1]") == {}


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
