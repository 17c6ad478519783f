"""Files are whole or absent; a table that isn't what it should be is refused with its row."""

import argparse
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ddro.core.command import UserError, call_main
from ddro.core.files import (
    check_foreign_key,
    check_table,
    check_unique,
    read_batches,
    read_json,
    read_table,
    row_writer,
    write_json,
    write_table,
    write_whole,
)
from ddro.core.tables import CORPUS, DOCIDS, QRELS

QREL_ROWS = [
    {"qid": "q1", "docno": "d1", "relevance": 1},
    {"qid": "q1", "docno": "d2", "relevance": 2},
    {"qid": "q2", "docno": "d1", "relevance": 0},
]
QREL_TABLE = pa.Table.from_pylist(QREL_ROWS, QRELS)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with write_whole(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        assert temporary.parent == path.parent and not path.exists()
        temporary.write_text("whole", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "whole"
    assert names(path.parent) == ["file.txt"]


def test_an_error_half_way_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), write_whole(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise ZeroDivisionError
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["file.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "model"
    for name in ("first", "second"):
        with write_whole(path) as temporary:
            temporary.mkdir()
            (temporary / "inner").mkdir()
            (temporary / "inner" / name).write_text(name, encoding="utf-8")
    assert names(path / "inner") == ["second"]
    assert names(tmp_path) == ["model"]


def test_an_error_half_way_leaves_the_old_folder(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "weights").write_text("old", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), write_whole(path) as temporary:
        temporary.mkdir()
        (temporary / "weights").write_text("half", encoding="utf-8")
        raise ZeroDivisionError
    assert (path / "weights").read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["model"]


def test_a_folder_that_is_there_is_never_half_of_it(tmp_path, monkeypatch):
    """Whenever something is renamed, the final name has all of the old folder, or nothing, or all of the new one."""
    path = tmp_path / "model"
    contents = [["a", "b"], ["c", "d"]]
    seen = []
    replace = os.replace

    def watch(source, target):
        seen.append(names(path) if path.exists() else None)
        replace(source, target)
        seen.append(names(path) if path.exists() else None)

    monkeypatch.setattr(os, "replace", watch)
    for files in contents:
        with write_whole(path) as temporary:
            temporary.mkdir()
            for name in files:
                (temporary / name).touch()
    assert seen == [None, ["a", "b"], ["a", "b"], None, None, ["c", "d"]]


def test_what_a_killed_process_left_is_removed(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(ZeroDivisionError), write_whole(path) as temporary:
        leftover = temporary.name
        raise ZeroDivisionError
    (tmp_path / leftover).mkdir()
    (tmp_path / leftover / "half").touch()
    with write_whole(path) as temporary:
        assert not temporary.exists()
        temporary.mkdir()
    assert names(tmp_path) == ["model"]
    assert names(path) == []


def test_equal_values_are_equal_bytes_of_json(tmp_path):
    write_json({"b": 1, "a": ["é", 0.5]}, tmp_path / "one.json")
    write_json({"a": ["é", 0.5], "b": 1}, tmp_path / "two.json")
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    assert read_json(tmp_path / "one.json") == {"a": ["é", 0.5], "b": 1}


def test_broken_json_is_named_with_its_line(tmp_path):
    (tmp_path / "broken.json").write_text('{\n"a": 1,\n}', encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.json:3: not JSON"):
        read_json(tmp_path / "broken.json")


def test_a_table_comes_back_as_it_went(tmp_path):
    path = tmp_path / "qrels.parquet"
    write_table(QREL_TABLE, path, QRELS, ["qid", "docno"])
    assert read_table(path, QRELS, ["qid", "docno"]).equals(QREL_TABLE)
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    first = path.read_bytes()
    write_table(QREL_TABLE, path, QRELS)
    assert path.read_bytes() == first


def test_columns_are_put_in_order_cast_and_the_rest_left_out():
    loose = pa.table(
        {"note": ["", ""], "relevance": pa.array([1, 0], pa.int64()), "docno": ["d", "e"], "qid": ["q", "q"]}
    )
    assert check_table(loose, "qrels", QRELS).schema == QRELS


def test_a_wrong_table_is_not_written(tmp_path):
    with pytest.raises(UserError):
        write_table(QREL_TABLE, tmp_path / "qrels.parquet", QRELS, ["qid"])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("table", "schema", "message"),
    [
        (QREL_TABLE.drop_columns("docno"), QRELS, r"^f: column 'docno' is missing \(found: qid, relevance\)"),
        (QREL_TABLE.set_column(2, "relevance", pa.array(["1", "two", "3"])), QRELS, "^f: expected columns qid: string"),
        (QREL_TABLE.set_column(2, "relevance", pa.array([1, 2**40, 3])), QRELS, "^f: expected columns .*int32.*not in"),
        (QREL_TABLE.set_column(0, "qid", pa.array(["q", None, None])), QRELS, "^f: row 1: qid is empty"),
        (pa.table({"docno": ["d"], "tokens": [5]}), DOCIDS, "^f: expected columns docno: string, tokens: list"),
    ],
)
def test_a_wrong_table_is_refused(table, schema, message):
    with pytest.raises(UserError, match=message):
        check_table(table, "f", schema)


def test_rows_that_agree_are_refused():
    check_unique(QREL_TABLE, "f", ["qid", "docno"])
    with pytest.raises(UserError, match="^f: qid 'q1' stands in rows 0 and 1; it must be unique"):
        check_unique(QREL_TABLE, "f", ["qid"])
    twice = pa.concat_tables([QREL_TABLE, QREL_TABLE.slice(2)])
    with pytest.raises(UserError, match="^f: qid 'q2', docno 'd1' stands in rows 2 and 3"):
        check_table(twice, "f", QRELS, ["qid", "docno"])
    check_table(QRELS.empty_table(), "f", QRELS, ["qid", "docno"])


def test_an_unknown_key_is_named_with_its_row():
    known = pa.chunked_array([["d1"], ["d3"]])
    with pytest.raises(UserError, match=r"^f: row 1: docno 'd2' is not in the corpus \(1 such rows\)"):
        check_foreign_key(QREL_TABLE, "f", "docno", known, "the corpus")
    check_foreign_key(QREL_TABLE, "f", "docno", pa.chunked_array([["d1"], ["d2"]]), "the corpus")
    check_foreign_key(QRELS.empty_table(), "f", "docno", known, "the corpus")
    with pytest.raises(UserError, match=r"row 0: .*\(3 such rows\)"):
        check_foreign_key(QREL_TABLE, "f", "docno", pa.chunked_array([], pa.string()), "the corpus")


def test_a_file_that_is_no_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"corpus\.parquet: no such file. Run snakemake"):
        read_table(tmp_path / "corpus.parquet", CORPUS)
    write_table(QREL_TABLE, tmp_path / "cut.parquet", QRELS)
    whole_file = (tmp_path / "cut.parquet").read_bytes()
    for content in (b"", b"text", whole_file[:-5], whole_file[: len(whole_file) // 2]):
        (tmp_path / "cut.parquet").write_bytes(content)
        with pytest.raises(UserError, match=r"cut\.parquet: not a Parquet file"):
            read_table(tmp_path / "cut.parquet", QRELS)


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


def test_a_table_is_read_in_parts_that_are_checked(tmp_path):
    path = tmp_path / "q.parquet"
    write_table(pa.Table.from_pylist(QREL_ROWS, QRELS), path, QRELS)
    parts = list(read_batches(path, QRELS, rows=2))
    assert [part.num_rows for part in parts] == [2, 1]
    assert pa.concat_tables(parts).to_pylist() == QREL_ROWS
    pq.write_table(pa.Table.from_pylist([*QREL_ROWS, {"qid": "q3", "docno": None, "relevance": 1}], QRELS), path)
    with pytest.raises(UserError, match="q.parquet: row 3: docno is empty"):
        list(read_batches(path, QRELS, rows=2))
    with pytest.raises(UserError, match="column 'url' is missing"):
        list(read_batches(path, CORPUS))


def test_a_row_with_a_null_is_not_written(tmp_path):
    with (
        pytest.raises(UserError, match="q.parquet: row 3: docno is empty"),
        row_writer(tmp_path / "q.parquet", QRELS, rows_a_group=2) as add,
    ):
        for row in [*QREL_ROWS, {"qid": "q3", "docno": None, "relevance": 1}]:
            add(row)
    assert names(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_full_disk_ends_a_script_with_one_line(caplog, monkeypatch):
    def main(_):
        with open("/dev/full", "w", encoding="utf-8") as file:
            file.write("x")

    monkeypatch.setattr("sys.argv", ["script.py"])
    caplog.set_level("INFO", logger="ddro")  # which run sets, too; pytest puts it back
    with pytest.raises(SystemExit) as ended:
        call_main(argparse.ArgumentParser(), main)
    assert ended.value.code == 1
    assert caplog.messages[-1].startswith("the disk is full")
