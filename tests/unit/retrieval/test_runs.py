import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddro.core.command import UserError
from ddro.core.files import write_table
from ddro.core.tables import RUN
from ddro.retrieval.runs import check_run, read_run, untied, without_own_documents, write_trec

LINES = "q2 Q0 iot/create-job 1 -0.5 sft\nq2 Q0 s3/put 2 -0.75 sft\nq1 Q0 s3/put 1 12.0 sft\n"


def run_of(*rows):
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=RUN)


RUN_OF_LINES = run_of(("q2", "iot/create-job", 1, -0.5), ("q2", "s3/put", 2, -0.75), ("q1", "s3/put", 1, 12.0))


def test_trec_text_is_literally_this(tmp_path):
    write_trec(RUN_OF_LINES, tmp_path / "sft.test.trec.gz", "sft")
    assert gzip.decompress((tmp_path / "sft.test.trec.gz").read_bytes()).decode() == LINES


def test_same_run_same_bytes_whatever_its_name_and_time(tmp_path, monkeypatch):
    write_trec(RUN_OF_LINES, tmp_path / "one.trec.gz", "sft")
    monkeypatch.setattr("time.time", lambda: 0.0)
    write_trec(RUN_OF_LINES, tmp_path / "two.trec.gz", "sft")
    one, two = (tmp_path / "one.trec.gz").read_bytes(), (tmp_path / "two.trec.gz").read_bytes()
    assert one == two
    assert one[3:8] == b"\0\0\0\0\0"  # no name in the header, and no time


def test_what_is_written_is_read(tmp_path):
    third = run_of(("q", "d", 1, 1 / 3), ("q", "e", 2, -1e-30))
    write_trec(third, tmp_path / "run.trec.gz", "t")
    back = read_run(tmp_path / "run.trec.gz")
    assert back.drop_columns("score").equals(third.drop_columns("score"))
    assert back["score"].to_pylist() == pytest.approx([1 / 3, -1e-30], rel=1e-7)


def test_plain_text_and_parquet_are_read_alike(tmp_path):
    (tmp_path / "run.trec").write_text(LINES.replace(" ", "\t"))
    write_table(RUN_OF_LINES, tmp_path / "run.parquet", RUN)
    assert read_run(tmp_path / "run.trec").equals(RUN_OF_LINES)
    assert read_run(tmp_path / "run.parquet").equals(RUN_OF_LINES)


def test_equal_scores_are_a_ranking():
    tied = run_of(("q", "b", 1, 0.0), ("q", "a", 2, 0.0))
    assert check_run(tied, "run") is tied


def test_queries_may_alternate():
    check_run(run_of(("q1", "a", 1, 2.0), ("q2", "a", 1, 9.0), ("q1", "b", 2, 1.0)), "run")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q Q0 d 1 0.5", ":2: expected qid Q0 docno rank score tag"),
        ("q Q0 d 1 0.5 tag more", ":2: expected"),
        ("q Q0 d first 0.5 tag", ":2: expected"),
        ("q Q0 d 1 high tag", ":2: expected"),
        ("q Q0 d 1 nan tag", ":2: .*score is nan"),
        ("q Q0 d 1 inf tag", ":2: .*score is inf"),
        ("p Q0 a 2 0.5 tag", ":2: qid 'p', docno 'a': .*already"),
        ("q Q0 d 1 1e39 tag", ":2: .*score is 1e\\+39, not a finite number of single"),
    ],
)
def test_bad_lines_are_named(tmp_path, line, message):
    path = tmp_path / "bad.trec"
    path.write_text(f"p Q0 a 1 1.0 tag\n{line}\n")
    with pytest.raises(UserError, match=f"bad.trec{message}"):
        read_run(path)


def test_the_scores_of_a_text_decide_as_in_trec_eval_and_ranks_that_disagree_are_counted(tmp_path, caplog):
    lines = ["q a 1 0.5", "q b 1 0.7", "p x 7 0.25", "q c 3 0.5", "q d 0 0.50000001", "p y 8 0.125"]
    (tmp_path / "run.trec").write_text("".join("{} Q0 {} {} {} tag\n".format(*line.split()) for line in lines))
    result = read_run(tmp_path / "run.trec").to_pylist()
    # 0.5 and 0.50000001 are one number of single precision: docno d is before c and a.
    expected = [("q", "b", 1), ("q", "d", 2), ("q", "c", 3), ("q", "a", 4), ("p", "x", 1), ("p", "y", 2)]
    assert [(row["qid"], row["docno"], row["rank"]) for row in result] == expected
    assert "4 ranks are not what the scores say" in caplog.text


@pytest.mark.parametrize(
    "scores",
    [[0.0, 0.0, 0.0], [-1.0, -1.0 - 1e-12, -1.0 - 2e-12], [16777217.0, 16777216.0, 5.0], [1e-45, 0.0, -0.0, -1e-46]],
)
def test_scores_that_tie_are_written_apart_so_that_the_order_is_found_again(tmp_path, scores):
    rows = [("q", docno, rank, score) for rank, (docno, score) in enumerate(zip("abcd", scores, strict=False), 1)]
    write_trec(run_of(*rows, ("p", "z", 1, 100.0), ("p", "a", 2, 100.0)), tmp_path / "run.trec.gz", "t")
    back = read_run(tmp_path / "run.trec.gz")
    assert back["docno"].to_pylist() == [*"abcd"[: len(scores)], "z", "a"]


@given(st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=50))
def test_untied_scores_fall_by_as_little_as_possible(scores):
    scores = np.sort(np.array(scores))[::-1]
    result = untied(np.zeros(len(scores), np.int64), scores)
    expected = [np.float32(scores[0]) + np.float32(0)]
    for score in scores[1:].astype(np.float32):
        expected.append(min(score, np.nextafter(expected[-1], np.float32(-np.inf))))
    assert (result == np.array(expected)).all()
    assert (np.diff(result) < 0).all()


def test_many_white_spaces_part_as_well_as_one(tmp_path):
    (tmp_path / "run.trec").write_text("q  Q0\td    1   2.5 tag\n")
    assert read_run(tmp_path / "run.trec").to_pylist() == [{"qid": "q", "docno": "d", "rank": 1, "score": 2.5}]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (("p", "b", 3, 0.5), ":2: .*rank 3 breaks the count"),
        (("p", "b", 2, 1.5), ":2: .*score 1.5 is above"),
        (("q", "d", 0, 0.5), ":2: .*rank 0 breaks"),
    ],
)
def test_ranks_of_a_table_count_and_its_scores_fall(second, message):
    with pytest.raises(UserError, match=f"run{message}"):
        check_run(run_of(("p", "a", 1, 1.0), second), "run")


def test_bad_parquet_rows_are_named(tmp_path):
    path = tmp_path / "run.parquet"
    write_table(run_of(("q", "a", 1, 1.0), ("q", "a", 2, 0.5)), path, RUN)
    with pytest.raises(UserError, match="run.parquet:2: qid 'q', docno 'a'"):
        read_run(path)
    pq.write_table(pa.table({"qid": ["q"], "docno": ["a"], "rank": [1]}), path)
    with pytest.raises(UserError, match="column 'score' is missing"):
        read_run(path)


def test_missing_empty_and_broken_files(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_run(tmp_path / "none.trec.gz")
    (tmp_path / "empty.trec").touch()
    with pytest.raises(UserError, match="the run is empty"):
        read_run(tmp_path / "empty.trec")
    write_table(RUN.empty_table(), tmp_path / "empty.parquet", RUN)
    assert read_run(tmp_path / "empty.parquet").num_rows == 0  # of BM25, where no query has an indexed word
    write_trec(RUN_OF_LINES, tmp_path / "whole.trec.gz", "t")
    (tmp_path / "cut.trec.gz").write_bytes((tmp_path / "whole.trec.gz").read_bytes()[:-9])
    (tmp_path / "text.trec.gz").write_text(LINES)
    (tmp_path / "latin.trec").write_bytes(b"q Q0 caf\xe9 1 1.0 t\n")
    for name in ("cut.trec.gz", "text.trec.gz", "latin.trec"):
        with pytest.raises(UserError, match=f"{name}: not a whole text file"):
            read_run(tmp_path / name)


def test_a_damaged_archive_is_named_wherever_the_damage_is(tmp_path):
    rows = [("q", f"d{row}", row, -float(row)) for row in range(1, 500)]
    write_trec(run_of(*rows), tmp_path / "run.trec.gz", "sft")
    whole = (tmp_path / "run.trec.gz").read_bytes()
    for place in range(10, len(whole) - 8, 7):
        (tmp_path / "run.trec.gz").write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        with pytest.raises(UserError, match="run.trec.gz"):
            read_run(tmp_path / "run.trec.gz")


@pytest.mark.parametrize("docno", ["two words", "", "line\n", "no\u00a0break"])
def test_white_space_cannot_be_written(tmp_path, docno):
    with pytest.raises(UserError, match="docno .* white space"):
        write_trec(run_of(("q", docno, 1, 0.0)), tmp_path / "run.trec.gz", "t")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_run_is_not_written(tmp_path):
    with pytest.raises(UserError, match="score is nan"):
        write_trec(run_of(("q", "d", 1, float("nan"))), tmp_path / "run.trec.gz", "t")
    with pytest.raises(UserError, match="tag"):
        write_trec(RUN_OF_LINES, tmp_path / "run.trec.gz", "my run")
    assert list(tmp_path.iterdir()) == []


def test_a_mark_before_a_run_and_blank_lines_behind_it_are_no_data(tmp_path):
    path = tmp_path / "run.trec"
    path.write_bytes(b"\xef\xbb\xbfq1 Q0 d1 1 2.0 t\r\nq1 Q0 d2 2 1.0 t\r\n\r\n\n")
    assert read_run(path)["qid"].to_pylist() == ["q1", "q1"]
    path.write_text("q1 Q0 d1 99999999999999999999 2.0 t\n")
    with pytest.raises(UserError, match="run.trec:1: expected qid Q0 docno rank score tag"):
        read_run(path)


def test_a_query_that_is_a_document_is_left_out_of_its_own_ranking_and_the_others_move_up():
    run = run_of(
        *[("d1", "d2", 1, 9.0), ("d1", "d1", 2, 8.0), ("d1", "d3", 3, 7.0)],
        *[("d2", "d2", 1, 9.0), ("d2", "d1", 2, 8.0), ("d2", "d3", 3, 7.0)],
        *[("d3", "d1", 1, 6.0), ("d3", "d3", 2, 5.0)],
    )
    left = without_own_documents(run, {"d1", "d3", "unranked"})
    assert left.equals(
        run_of(
            *[("d1", "d2", 1, 9.0), ("d1", "d3", 2, 7.0)],
            *[("d2", "d2", 1, 9.0), ("d2", "d1", 2, 8.0), ("d2", "d3", 3, 7.0)],  # d2 isn't a document, but for its id
            ("d3", "d1", 1, 6.0),
        )
    )
    check_run(left, "run")
    assert without_own_documents(run, {"d1"}, depth=1)["docno"].to_pylist() == ["d2", "d2", "d1"]
    assert without_own_documents(run, frozenset()) is run
