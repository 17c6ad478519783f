import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mine_negatives
from ddro.core.command import UserError
from ddro.core.files import read_table, write_table
from ddro.core.tables import DOCIDS, NEGATIVES, QRELS, QUERIES, RUN
from ddro.training import negatives
from ddro.training.negatives import (
    by_chance,
    by_model,
    docid_groups,
    mine,
    pairs_table,
    query_generator,
    quotas,
    read_rankings,
    sample_strata,
    stratum_counts,
)


@pytest.mark.parametrize(
    ("count", "strata", "expected"),
    [(1, 3, [1, 0, 0]), (2, 3, [1, 1, 0]), (8, 3, [3, 3, 2]), (16, 3, [6, 5, 5]), (32, 3, [11, 11, 10]), (5, 1, [5])],
)
def test_quotas_are_even_and_the_remainder_goes_to_the_first_strata(count, strata, expected):
    assert quotas(count, strata).tolist() == expected


@pytest.mark.parametrize(
    ("count", "remainder", "expected"),
    [
        (16, "last", [5, 5, 6]),  # the authors' code for MS MARCO: n // 3 each, the rest to the last stratum
        (32, "last", [10, 10, 12]),
        (1, "last", [0, 0, 1]),
        (8, "first", [2, 2, 2]),  # for NQ: n // 3 each, the rest is drawn from the first stratum afterwards
        (1, "first", [0, 0, 0]),
    ],
)
def test_quotas_of_the_authors_code(count, remainder, expected):
    assert quotas(count, 3, remainder).tolist() == expected


@pytest.mark.parametrize(
    ("count", "remainder", "of_strata"),
    [
        (16, "last", [5, 5, 6]),
        (32, "last", [10, 10, 12]),
        (16, "spread", [6, 5, 5]),  # ours, on purpose: the better ranks are the harder negatives
        (8, "first", [4, 2, 2]),
        (1, "first", [1, 0, 0]),
        (1, "spread", [1, 0, 0]),
    ],
)
def test_a_thousand_ranks_give_the_groups_of_the_authors_code(count, remainder, of_strata):
    ranks = np.arange(1, 1001)
    for seed in range(20):
        drawn = sample_strata(ranks, ranks, [100, 500, 1000], count, by_chance(np.random.default_rng(seed)), remainder)
        assert np.histogram(ranks[drawn], [1, 101, 501, 1001])[0].tolist() == of_strata
        assert (np.diff(drawn) >= 0).all()


def test_what_is_missing_is_drawn_from_the_first_stratum_and_may_repeat():
    ranks = np.array([1, 2, 600])
    drawn = sample_strata(ranks, ranks, [100, 500, 1000], 30, by_chance(np.random.default_rng(0)), "first")
    assert len(drawn) == 30 and (ranks[drawn] == 600).sum() == 1  # one of the third stratum is all that it has
    assert set(ranks[drawn].tolist()) == {1, 2, 600}
    beyond = np.array([600])
    assert sample_strata(
        beyond, beyond, [100, 500, 1000], 3, by_chance(np.random.default_rng(0)), "first"
    ).tolist() == [0]


@pytest.mark.parametrize(
    ("available", "count", "expected"),
    [
        ([100, 400, 500], 16, [6, 5, 5]),
        ([100, 400, 0], 16, [6, 10, 0]),  # the third stratum's five come from the second, its neighbour
        ([100, 7, 0], 16, [9, 7, 0]),  # of which two were left: three from the first
        ([0, 400, 500], 1, [0, 1, 0]),
        ([0, 0, 500], 1, [0, 0, 1]),
        ([10, 2, 10], 9, [4, 2, 3]),  # of two neighbours the one with the better ranks
        ([1, 2, 1], 16, [1, 2, 1]),
        ([0, 0, 0], 4, [0, 0, 0]),
        ([1, 9, 0], 6, [1, 5, 0]),
    ],
)
def test_what_a_stratum_lacks_comes_from_the_nearest(available, count, expected):
    assert stratum_counts(available, count).tolist() == expected


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(1, 60))
def test_all_that_is_wanted_or_all_that_there_is_is_drawn(available, count):
    counts = stratum_counts(available, count)
    assert counts.sum() == min(count, sum(available))
    assert (counts <= available).all()
    assert (counts >= np.minimum(available, quotas(count, len(available)))).all()


def test_a_sample_holds_its_share_of_each_stratum_once_in_order():
    ranks = np.array([rank for rank in range(1, 1201) if rank % 7])  # every seventh is excluded
    chance = by_chance(np.random.default_rng(0))
    drawn = sample_strata(ranks, ranks, [100, 500, 1000], 16, chance)
    picked = ranks[drawn]
    assert (np.diff(picked) > 0).all()
    assert np.histogram(picked, [1, 101, 501, 1001])[0].tolist() == [6, 5, 5]
    beyond = np.array([1001, 1002])
    assert sample_strata(beyond, beyond, [100, 500, 1000], 16, chance).tolist() == []


def test_every_candidate_of_a_stratum_is_equally_likely():
    ranks = np.arange(1, 21)
    chance = by_chance(np.random.default_rng(5))
    drawn = np.concatenate([sample_strata(ranks, ranks, [10, 20], 6, chance) for _ in range(4000)])
    shares = np.bincount(drawn, minlength=20) / 4000
    assert shares == pytest.approx(np.full(20, 0.3), abs=0.03)  # 3 of 10


def test_what_the_model_ranks_highest_of_a_stratum_is_taken_then_what_bm25_does():
    documents, ranks = np.array([9, 8, 7, 6, 5, 4]), np.arange(1, 7)
    ranked = by_model(np.array([4, 0, 6, 8]))  # 0 isn't among BM25's
    assert documents[sample_strata(documents, ranks, [6], 2, ranked)].tolist() == [6, 4]
    assert documents[sample_strata(documents, ranks, [6], 4, ranked)].tolist() == [9, 8, 6, 4]
    assert documents[sample_strata(documents, ranks, [3, 6], 2, ranked)].tolist() == [8, 4]
    assert documents[sample_strata(documents, ranks, [3, 6], 2, by_model(np.array([], int)))].tolist() == [9, 6]


def test_the_chance_of_a_query_is_its_own():
    number = int(hashlib.sha256(b"42:q1").hexdigest()[:32], 16)
    assert query_generator(42, "q1").random() == np.random.default_rng(number).random()
    assert len({query_generator(seed, qid).random() for seed in (1, 2) for qid in ("q1", "q2")}) == 4


def test_documents_with_the_same_tokens_have_the_same_group():
    tokens = pa.array([[1, 2], [3], [1, 2], [], [3], [2, 1]], pa.list_(pa.int32()))
    assert docid_groups(tokens).tolist() == [0, 1, 0, 2, 1, 3]


def test_no_negative_is_relevant_or_has_the_docid_of_a_relevant_document():
    documents, ranks = np.array([5, 0, 3, 1, 4, 2]), np.arange(1, 7)
    groups = np.array([0, 1, 2, 0, 4, 5])  # documents 0 and 3 share a docid
    found, at = mine(documents, ranks, np.array([0, 4]), groups, [3, 6], 10, by_chance(np.random.default_rng(0)))
    assert (found.tolist(), at.tolist()) == ([5, 1, 2], [1, 4, 6])


def test_each_positive_has_all_negatives_of_its_query():
    drawn = [(np.array([2, 3]), np.array([7, 9])), (np.array([0]), np.array([1]))]
    table = pairs_table(["q1", "q2"], [np.array([0, 1]), np.array([3])], drawn, pa.array(["a", "b", "c", "d"]))
    assert table.to_pylist() == [
        {"qid": "q1", "positive": "a", "negative": "c", "rank": 7},
        {"qid": "q1", "positive": "a", "negative": "d", "rank": 9},
        {"qid": "q1", "positive": "b", "negative": "c", "rank": 7},
        {"qid": "q1", "positive": "b", "negative": "d", "rank": 9},
        {"qid": "q2", "positive": "d", "negative": "a", "rank": 1},
    ]


def write_run(path, rows):
    table = pa.Table.from_pylist(
        [{"qid": qid, "docno": docno, "rank": rank, "score": 1 / rank} for qid, docno, rank in rows], RUN
    )
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("rows_a_batch", [1, 2, 3, 100])
def test_rankings_are_read_whole_wherever_a_batch_ends(tmp_path, monkeypatch, rows_a_batch):
    monkeypatch.setattr(negatives, "ROWS_A_BATCH", rows_a_batch)
    run = write_run(
        tmp_path / "run.parquet", [("a", "d2", 1), ("a", "d0", 2), ("b", "d1", 1), ("c", "d0", 1), ("c", "d2", 4)]
    )
    found = [
        (qid, rows.tolist(), ranks.tolist()) for qid, rows, ranks in read_rankings(run, pa.array(["d0", "d1", "d2"]))
    ]
    assert found == [("a", [2, 0], [1, 2]), ("b", [1], [1]), ("c", [0, 2], [1, 4])]


def test_an_empty_run_has_no_ranking(tmp_path):
    assert list(read_rankings(write_run(tmp_path / "run.parquet", []), pa.array(["d0"]))) == []


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("b", "d0", 1), ("a", "d0", 1)], "'a' comes after 'b'"),
        ([("a", "d0", 2), ("a", "d1", 1)], "'a': the ranks do not ascend"),
        ([("a", "d0", 1), ("a", "d0", 2)], "'a' ranks a document twice"),
        ([("a", "dx", 1)], "'dx' has no docid"),
    ],
)
def test_a_run_that_is_not_in_order_is_refused(tmp_path, rows, message):
    run = write_run(tmp_path / "run.parquet", rows)
    with pytest.raises(UserError, match=message):
        list(read_rankings(run, pa.array(["d0", "d1"])))


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "text").write_text("q1 Q0 d1 1 3.2 bm25\n")
    with pytest.raises(UserError, match="not a run in Parquet"):
        list(read_rankings(tmp_path / "text", pa.array(["d0"])))
    with pytest.raises(UserError, match="no such file"):
        list(read_rankings(tmp_path / "absent", pa.array(["d0"])))
    pq.write_table(pa.table({"qid": ["a"], "docno": ["d0"]}), tmp_path / "columns")
    with pytest.raises(UserError, match="'rank' is missing"):
        list(read_rankings(tmp_path / "columns", pa.array(["d0"])))


class Case:
    """Forty documents, three training queries and the script's options."""

    def __init__(self, folder):
        self.folder = folder
        self.docnos = [f"d{number:02}" for number in range(40)]
        # d38 has the docid of d39; each other document has its own.
        tokens = [[min(number, 38)] for number in range(40)]
        self.write("docids", {"docno": self.docnos, "tokens": tokens}, DOCIDS)
        splits = {"q1": "train", "q2": "train", "q3": "train", "q9": "test"}
        self.write("queries", {"qid": [*splits], "text": ["x"] * 4, "split": [*splits.values()]}, QUERIES)
        judged = [
            ("q1", "d03", 1),
            ("q1", "d39", 2),
            ("q1", "d05", 0),
            ("q2", "d00", 1),
            ("q3", "d01", 1),
            ("q9", "d02", 1),
        ]
        self.write("qrels", dict(zip(QRELS.names, zip(*judged, strict=True), strict=True)), QRELS)
        rows = [("q1", docno, rank) for rank, docno in enumerate(self.docnos, 1)]
        rows += [("q2", docno, rank) for rank, docno in enumerate(self.docnos[:4], 1)]
        write_run(folder / "run.parquet", rows)

    def write(self, name, columns, schema):
        columns = {column: list(values) for column, values in columns.items()}
        write_table(pa.table(columns, schema), self.folder / f"{name}.parquet", schema)

    def mine(self, output="negatives.parquet", *changes):
        options = ["--split", "train", "--per-query", "6", "--strata", "10", "20", "40", "--seed", "1"]
        options += ["--remainder", "spread", "--collection", "corpus", "--positives", "all", *changes]
        for name in ("run", "queries", "qrels", "docids"):
            options += [f"--{name}", str(self.folder / f"{name}.parquet")]
        output = self.folder / output
        mine_negatives.main(mine_negatives.parser().parse_args([*options, "--output", str(output)]))
        return read_table(output, NEGATIVES).to_pylist()


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def test_mined_negatives(case, caplog):
    caplog.set_level("INFO", logger="ddro")
    rows = case.mine()
    assert [(row["qid"], row["positive"]) for row in rows] == (
        [("q1", "d03")] * 6 + [("q1", "d39")] * 6 + [("q2", "d00")] * 3
    )
    drawn = [(row["negative"], row["rank"]) for row in rows]
    assert drawn[:6] == drawn[6:12]  # the query's negatives for each of its relevant documents
    assert drawn[12:] == [("d01", 2), ("d02", 3), ("d03", 4)]  # all that there are
    names, ranks = zip(*drawn[:6], strict=True)
    assert not {"d03", "d38", "d39"} & set(names)
    assert np.histogram(ranks, [1, 11, 21, 41])[0].tolist() == [2, 2, 2]
    assert [f"d{rank - 1:02}" for rank in ranks] == list(names)
    for line in (
        "15 pairs of 2 queries",
        "ranks 1 to 10: 5 negatives",
        "1 queries without a ranking",
        "1 queries with fewer than 6 candidates, of which all are taken",
    ):
        assert line in caplog.messages


def test_the_same_bytes_every_time_whatever_the_other_queries_are(case):
    rows = case.mine("first")
    assert case.mine("second") == rows
    assert (case.folder / "first").read_bytes() == (case.folder / "second").read_bytes()
    assert case.mine("third", "--seed", "2") != rows

    run = pq.read_table(case.folder / "run.parquet")
    pq.write_table(run.filter(pa.compute.equal(run["qid"], "q1")), case.folder / "run.parquet")
    assert case.mine("fourth") == [row for row in rows if row["qid"] == "q1"]


def test_negatives_that_a_model_ranks_highest(case, caplog):
    caplog.set_level("INFO", logger="ddro")
    path = case.folder / "model.parquet"
    of_query = {"q1": "d03 d30 d25 d38 d15 d12 d05 d02", "q2": "d20 d00", "q3": "d01"}
    write_run(
        path, [(qid, docno, rank) for qid, docnos in of_query.items() for rank, docno in enumerate(docnos.split(), 1)]
    )
    rows = case.mine("out", "--ranking", str(path))
    assert [row["negative"] for row in rows if (row["qid"], row["positive"]) == ("q1", "d03")] == (
        ["d02", "d05", "d12", "d15", "d25", "d30"]  # two of each stratum, never a relevant one or one of its docid
    )
    assert [row["negative"] for row in rows if row["qid"] == "q2"] == ["d01", "d02", "d03"]  # BM25 has no others
    assert "3 negatives that the model does not rank, taken in BM25's order" in caplog.messages

    write_run(path, [("q1", "d03", 1)])
    with pytest.raises(UserError, match=r"model.parquet: query 'q2' is not ranked \(2 such queries\)"):
        case.mine("out", "--ranking", str(path))


def test_one_negative_over_three_strata_is_one(case):
    assert len([row for row in case.mine("out", "--per-query", "1") if row["qid"] == "q1"]) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--strata", "10", "10"], "must be positive and ascending"),
        (["--strata", "0", "10"], "must be positive and ascending"),
        (["--per-query", "0"], "must be 1 or more"),
        (["--split", "validation"], "no query is in the split 'validation'"),
        (["--split", "test"], "'q1' is not in the split 'test'"),
    ],
)
def test_bad_settings_are_named(case, changes, message):
    with pytest.raises(UserError, match=message):
        case.mine("out", *changes)
    assert not (case.folder / "out").exists()


def test_a_judgement_without_a_docid_and_a_split_without_a_pair_are_named(case):
    case.write("qrels", {"qid": ["q1"], "docno": ["dx"], "relevance": [1]}, QRELS)
    with pytest.raises(UserError, match="'dx' has no docid"):
        case.mine()
    case.write("qrels", {"qid": ["q3"], "docno": ["d01"], "relevance": [1]}, QRELS)
    with pytest.raises(UserError, match="no query of the split 'train' has a negative"):
        case.mine()


def test_pairs_with_a_document_outside_the_corpus_are_drawn_and_dropped(case, caplog):
    caplog.set_level("INFO", logger="ddro")
    others = [("q1", f"x{rank:02}", rank) for rank in range(1, 41)]
    inside = [("q1", docno, rank) for rank, docno in enumerate(case.docnos, 41)]
    write_run(case.folder / "run.parquet", others + inside)
    whole = ["--collection", "whole", "--strata", "80", "--per-query"]
    rows = [row for row in case.mine("some", *whole, "20") if row["positive"] == "d03"]
    dropped = 20 - len(rows)
    assert 0 < dropped < 20  # of eighty ranks about half are of other documents
    assert f"{dropped} negatives dropped, for they are outside the corpus; {len(rows)} kept" in caplog.messages
    assert {row["negative"] for row in rows} <= set(case.docnos) - {"d03", "d38", "d39"}
    assert all(row["rank"] == 41 + int(row["negative"][1:]) for row in rows)
    all_of_them = [row["negative"] for row in case.mine("all", *whole, "80") if row["positive"] == "d03"]
    assert all_of_them == [docno for docno in case.docnos if docno not in ("d03", "d38", "d39")]
    with pytest.raises(UserError, match="'x01' has no docid"):
        case.mine("corpus")


def test_one_positive_is_drawn_by_chance_and_the_others_are_no_negatives(case):
    found = set()
    for seed in range(20):
        rows = [row for row in case.mine("out", "--positives", "one", "--seed", str(seed)) if row["qid"] == "q1"]
        assert len(rows) == 6 and len({row["positive"] for row in rows}) == 1
        assert not {"d03", "d38", "d39"} & {row["negative"] for row in rows}
        found |= {row["positive"] for row in rows}
    assert found == {"d03", "d39"}
