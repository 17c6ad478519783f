import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import evaluate
from ddro.core.command import UserError
from ddro.core.files import read_json, read_table, write_table
from ddro.core.tables import CORPUS, MEASURES, PER_QUERY, QRELS, QUERIES, RUN
from ddro.evaluation.averages import group_means, slice_means, slice_name
from ddro.evaluation.measures import evaluate_run, per_query_table, query_properties
from ddro.retrieval.runs import ranking_rows, read_run, write_trec
from tables import ranking, table


def measure(run, qrels):
    return evaluate_run(table(RUN, *run), table(QRELS, *qrels)).droplevel("docno")


def test_measures_by_hand_of_two_relevant_documents_at_ranks_2_and_4():
    result = measure(ranking("q", "axbyc"), [("q", "x", 1), ("q", "y", 1)]).loc["q"]
    # DCG = 1/log2(3) + 1/log2(5) = 0.63093 + 0.43068, ideal = 1 + 1/log2(3) = 1.63093
    expected = {"MRR@10": 0.5, "R@1": 0, "R@5": 1, "R@10": 1, "Success@1": 0, "Success@10": 1, "nDCG@10": 0.6509209}
    assert result.to_dict() == pytest.approx(expected, abs=1e-7)


def test_measures_by_hand_of_three_relevant_documents_one_of_them_found_first():
    run = ranking("q", "abcdefghij")
    result = measure(run, [("q", "a", 1), ("q", "h", 1), ("q", "z", 1)]).loc["q"]
    # DCG = 1 + 1/log2(9) = 1.3154649, ideal = 1 + 0.6309298 + 0.5 = 2.1309298
    expected = {
        "MRR@10": 1,
        "R@1": 1 / 3,
        "R@5": 1 / 3,
        "R@10": 2 / 3,
        "Success@1": 1,
        "Success@10": 1,
        "nDCG@10": 0.6173197,
    }
    assert result.to_dict() == pytest.approx(expected, abs=1e-7)


def test_ndcg_takes_the_relevance_as_gain():
    # DCG = 1 + 3/log2(3) = 2.8927893, ideal = 3 + 1/log2(3) = 3.6309298
    result = measure(ranking("q", "ab"), [("q", "a", 1), ("q", "b", 3)])
    assert result.loc["q", "nDCG@10"] == pytest.approx(0.7967075, abs=1e-7)


def test_nothing_below_rank_10_counts():
    result = measure(ranking("q", "abcdefghijk"), [("q", "k", 1)])
    assert result.loc["q"].tolist() == [0.0] * len(MEASURES)
    assert measure(ranking("q", "abcdefghijk"), [("q", "j", 1)]).loc["q", "MRR@10"] == pytest.approx(0.1)


def test_a_query_without_ranking_counts_as_zero():
    result = measure(ranking("q2", "a"), [("q1", "a", 1), ("q2", "a", 1)])
    assert result.index.tolist() == ["q1", "q2"]
    assert result.loc["q1"].tolist() == [0.0] * len(MEASURES)
    assert result.loc["q2"].tolist() == [1.0] * len(MEASURES)


def test_documents_judged_irrelevant_do_not_count():
    result = measure(ranking("q", "ab"), [("q", "a", 0), ("q", "b", 1)])
    assert result.loc["q", "MRR@10"] == 0.5
    assert result.loc["q", "R@1"] == 0.0


@pytest.mark.parametrize("docnos", ["ab", "ba"])
@pytest.mark.parametrize("scores", [[0.0, 0.0], [-1.0, -1.0 - 1e-12], [16777217.0, 16777216.0]])
def test_the_rank_decides_also_where_scores_tie_in_double_or_single_precision(docnos, scores):
    first, second = docnos
    run = ranking("q", docnos, scores)
    of_first, of_second = measure(run, [("q", first, 1)]).loc["q"], measure(run, [("q", second, 1)]).loc["q"]
    assert of_first.tolist() == [1.0] * len(MEASURES)
    names = ["MRR@10", "R@1", "Success@1", "Success@10"]
    assert of_second[names].tolist() == [0.5, 0.0, 0.0, 1.0]
    assert of_second["nDCG@10"] == pytest.approx(0.6309298, abs=1e-7)


QUERY_ROWS = [("t1", "a", "train"), ("t2", "b", "train"), ("v1", "c", "validation")]
QUERY_ROWS += [("q3", "d", "test"), ("q1", "e", "test"), ("q2", "f", "test"), ("q4", "g", "test")]
QREL_ROWS = [("t1", "A", 1), ("t2", "B", 1), ("t2", "Z", 0), ("v1", "C", 1)]
QREL_ROWS += [("q1", "A", 1), ("q1", "D", 1), ("q2", "C", 1), ("q3", "D", 1), ("q4", "Z", 1)]


def test_properties_of_the_queries():
    # C has a validation query only; Z was judged irrelevant to a training query.
    queries = [*QUERY_ROWS[:-1], ("q4", " two  words ", "test")]
    result = query_properties(table(QUERIES, *queries), table(QRELS, *QREL_ROWS), "test")
    assert result["group"].to_dict() == {"q1": "seen", "q2": "unseen", "q3": "unseen", "q4": "unseen"}
    assert result["relevant_documents"].tolist() == [2, 1, 1, 1]
    assert result["query_words"].tolist() == [1, 1, 1, 2]


def of_each_query(run, protocol="query"):
    qrels = table(QRELS, *(row for row in QREL_ROWS if row[0].startswith("q")))
    properties = query_properties(table(QUERIES, *QUERY_ROWS), table(QRELS, *QREL_ROWS), "test")
    return per_query_table(evaluate_run(table(RUN, *run), qrels, protocol), properties)


def test_means_of_groups_and_slices():
    frame = of_each_query(ranking("q1", "xA") + ranking("q2", "C")).to_pandas()
    means = group_means(frame, 100, 0)
    assert {group: means[group]["n_queries"] for group in means} == {"all": 4, "seen": 1, "unseen": 3}
    assert [means[group]["MRR@10"] for group in means] == pytest.approx([0.375, 0.5, 1 / 3])
    assert [means[group]["R@10"] for group in means] == pytest.approx([0.375, 0.5, 1 / 3])
    assert means["seen"]["intervals"]["MRR@10"] is None  # of a single query
    slices = slice_means(frame, 100, 0)
    assert [(part["slice"], part["n_queries"], part["R@10"]) for part in slices["relevant_documents"]] == [
        ("1", 3, pytest.approx(1 / 3)),
        ("2", 1, 0.5),
        ("3+", 0, None),
    ]
    assert [part["n_queries"] for part in slices["query_words"]] == [4, 0, 0, 0]
    nobody = group_means(frame[:1], 100, 0)["unseen"]
    assert nobody == {"n_queries": 0, **dict.fromkeys(MEASURES), "intervals": dict.fromkeys(MEASURES)}


def test_names_of_slices():
    assert [slice_name(*ends) for ends in ((1, 1), (4, 6), (7, None))] == ["1", "4-6", "7+"]


def test_per_query_table_has_its_schema_and_order():
    result = of_each_query(ranking("q1", "A"))
    assert result.schema.equals(PER_QUERY)
    assert result.select(["qid", "docno", "group", "MRR@10"]).to_pylist()[:2] == [
        {"qid": "q1", "docno": "", "group": "seen", "MRR@10": 1.0},
        {"qid": "q2", "docno": "", "group": "unseen", "MRR@10": 0.0},
    ]


def hit_of_the_authors(ranked, relevant, depth):
    """Whether the one relevant document of an instance is among the first: they look for it in the list."""
    return float(relevant in ranked[:depth])


def reciprocal_rank_of_the_authors(ranked, relevant, depth):
    return next((1 / rank for rank, docno in enumerate(ranked[:depth], 1) if docno == relevant), 0.0)


def test_the_protocol_of_the_paper_gives_what_the_authors_functions_do():
    """On rankings of docids that documents share, which stand side by side in them, with one to three relevant ones."""
    random = np.random.default_rng(3)
    shared = [["a"], ["b", "c", "d"], ["e", "f"], ["g"], ["h"], ["i", "j"], ["k"], ["l"], ["m"], ["n"]]
    run, qrels, expected = [], [], {}
    for number in range(40):
        qid, docids = f"q{number:02}", random.permutation(len(shared))[: random.integers(1, 9)]
        ranked = [docno for docid in docids for docno in random.permutation(shared[docid]).tolist()]
        run += [(qid, docno, rank, -float(rank)) for rank, docno in enumerate(ranked, 1)]
        for relevant in random.choice(list("abcdefghijklmn"), size=random.integers(1, 4), replace=False).tolist():
            qrels.append((qid, relevant, 1))
            expected[qid, relevant] = [reciprocal_rank_of_the_authors(ranked, relevant, 10)] + [
                hit_of_the_authors(ranked, relevant, depth) for depth in (1, 5, 10)
            ]
    found = evaluate_run(table(RUN, *run), table(QRELS, *qrels), "judgement")[["MRR@10", "R@1", "R@5", "R@10"]]
    assert {key: row.tolist() for key, row in zip(found.index, found.to_numpy(), strict=True)} == expected


def test_a_document_that_stands_twice_is_refused_where_the_authors_count_it_twice(tmp_path):
    path = tmp_path / "run.trec"
    path.write_text("q1 Q0 a 1 3 x\nq1 Q0 b 2 2 x\nq1 Q0 a 3 1 x\n")
    with pytest.raises(UserError, match="'a': the document is in the ranking of this query already"):
        read_run(path)


def test_the_protocol_of_the_paper_measures_each_relevant_document_alone():
    result = of_each_query(ranking("q1", "xDA") + ranking("q2", "C"), "judgement")
    assert result.select(["qid", "docno", "MRR@10", "R@1", "R@10"]).to_pylist() == [
        {"qid": "q1", "docno": "A", "MRR@10": pytest.approx(1 / 3), "R@1": 0.0, "R@10": 1.0},
        {"qid": "q1", "docno": "D", "MRR@10": 0.5, "R@1": 0.0, "R@10": 1.0},
        {"qid": "q2", "docno": "C", "MRR@10": 1.0, "R@1": 1.0, "R@10": 1.0},
        {"qid": "q3", "docno": "D", "MRR@10": 0.0, "R@1": 0.0, "R@10": 0.0},
        {"qid": "q4", "docno": "Z", "MRR@10": 0.0, "R@1": 0.0, "R@10": 0.0},
    ]
    assert result["relevant_documents"].to_pylist() == [2, 2, 1, 1, 1]


@pytest.fixture
def files(tmp_path):
    write_table(table(QUERIES, *QUERY_ROWS), tmp_path / "queries.parquet", QUERIES)
    write_table(table(QRELS, *QREL_ROWS), tmp_path / "qrels.parquet", QRELS)
    write_table(table(CORPUS, *((docno, "", "", "", 1) for docno in "ABCDXZ")), tmp_path / "corpus.parquet", CORPUS)
    return tmp_path


def start(files, run, split="test"):
    write_trec(table(RUN, *run), files / "run.trec.gz", "tag")
    options = f"--run {files}/run.trec.gz --queries {files}/queries.parquet --qrels {files}/qrels.parquet"
    options += f" --corpus {files}/corpus.parquet --split {split} --system sft"
    options += f" --output-metrics {files}/sft.json --output-per-query {files}/sft.parquet"
    evaluate.main(evaluate.parser().parse_args(options.split()))
    return read_json(files / "sft.json")


def test_script_writes_means_and_each_query(files):
    result = start(files, ranking("q1", "XA") + ranking("q2", "C"))
    assert (result["system"], result["split"], result["queries_without_hits"]) == ("sft", "test", 2)
    assert result["groups"]["all"]["MRR@10"] == pytest.approx(0.375)
    per_query = read_table(files / "sft.parquet", PER_QUERY)
    assert per_query["MRR@10"].to_pylist() == [0.5, 1.0, 0.0, 0.0]
    assert result["protocol"] == "query"
    assert result["groups"]["all"]["intervals"]["MRR@10"] == [0.0, 0.75]
    assert np.mean(per_query["R@10"].to_pylist()) == pytest.approx(result["groups"]["all"]["R@10"])


def test_script_refuses_what_does_not_fit(files):
    with pytest.raises(UserError, match=r"run.trec.gz: row 1: docno 'Q' is not in .*corpus.parquet"):
        start(files, ranking("q1", "AQ"))
    with pytest.raises(UserError, match=r"run.trec.gz: row 0: qid 't1' is not in the test queries"):
        start(files, ranking("t1", "A"))
    write_table(table(QRELS, *QREL_ROWS, ("q0", "A", 1)), files / "qrels.parquet", QRELS)
    with pytest.raises(UserError, match=r"qrels.parquet: row \d: qid 'q0' is not in .*queries.parquet"):
        start(files, ranking("q1", "A"))
    write_table(table(QRELS, *QREL_ROWS), files / "qrels.parquet", QRELS)
    write_table(table(QUERIES, *QUERY_ROWS, ("q9", "h", "test")), files / "queries.parquet", QUERIES)
    with pytest.raises(UserError, match=r"query 'q9' of the split 'test' has no relevant document \(1 such"):
        start(files, ranking("q1", "A"))
    write_table(table(QUERIES, *QUERY_ROWS[:2]), files / "queries.parquet", QUERIES)
    with pytest.raises(UserError, match="no query is in the split 'test'"):
        start(files, ranking("q1", "A"))
    assert not (files / "sft.json").exists()


def test_script_refuses_a_query_judged_irrelevant_only_and_a_judged_document_outside_the_corpus(files):
    write_table(table(QRELS, *QREL_ROWS[:-1], ("q4", "Z", 0)), files / "qrels.parquet", QRELS)
    with pytest.raises(UserError, match="query 'q4' of the split 'test' has no relevant document"):
        start(files, ranking("q1", "A"))
    pq.write_table(table(QRELS, *QREL_ROWS, ("q4", "gone", 1)), files / "qrels.parquet")
    with pytest.raises(UserError, match="docno 'gone' is not in"):
        start(files, ranking("q1", "A"))


@pytest.fixture(scope="module")
def theirs(root):
    """Of each instance its ranking and what the authors' functions make of it: see the fixture's own words."""
    return read_json(root / "tests/fixtures/authors_code/evaluation.json")["instances"]


def ours(instances):
    """Our measures of the same rankings, as a published checkpoint is measured."""
    rankings = {row["qid"]: row["ranking"] for row in instances}
    run = []
    for qid, docnos in rankings.items():
        run += ranking_rows(qid, docnos, range(len(docnos)), [0.0] * len(docnos))
    judged = [(row["qid"], row["relevant"], 1) for row in instances]
    return evaluate_run(pa.Table.from_pylist(run, RUN), table(QRELS, *judged), "judgement")


def test_the_authors_functions_give_what_the_protocol_of_the_paper_gives(theirs):
    alike = [row for row in theirs if len(set(row["ranking"])) == len(row["ranking"])]
    assert len(alike) == 20
    measured = ours(alike)
    for row in alike:
        of_instance, expected = measured.loc[(row["qid"], row["relevant"])], row["measures"]
        assert of_instance["MRR@10"] == pytest.approx(expected["MRR@10"])
        for k in (1, 5, 10):
            assert of_instance[f"R@{k}"] == expected[f"R@{k}"] == expected[f"Hit@{k}"]


def test_a_document_of_two_docids_counts_once_here_and_twice_in_the_authors_functions(theirs):
    """On purpose: a ranking that names a document twice isn't one."""
    repeats = [row for row in theirs if len(set(row["ranking"])) < len(row["ranking"])]
    measured = ours(repeats)
    differences = {"MRR@10": 0, "R@10": 0}
    for row in repeats:
        of_instance, expected = measured.loc[(row["qid"], row["relevant"])], row["measures"]
        once = list(dict.fromkeys(row["ranking"]))[:10]
        rank = once.index(row["relevant"]) + 1 if row["relevant"] in once else None
        assert of_instance["MRR@10"] == (pytest.approx(1 / rank) if rank else 0)
        assert of_instance["R@10"] == (rank is not None)
        assert of_instance["MRR@10"] >= expected["MRR@10"] - 1e-9  # those behind it move up
        differences["MRR@10"] += of_instance["MRR@10"] > expected["MRR@10"] + 1e-9
        differences["R@10"] += of_instance["R@10"] != expected["R@10"]
    assert all(differences.values()), differences


def test_a_run_that_finds_nothing_counts_as_zero_for_each_query(tmp_path):
    """BM25's, where no query has an indexed word."""
    corpus = [("d1", "", "The Who", "who?", 1), ("d2", "", "That", "this and that", 1)]
    for name, schema, rows in (
        ("corpus", CORPUS, corpus),
        ("queries", QUERIES, [("q1", "who", "train"), ("q2", "that", "test"), ("q3", "who", "test")]),
        ("qrels", QRELS, [("q1", "d1", 1), ("q2", "d2", 2), ("q3", "d1", 1)]),
    ):
        write_table(table(schema, *rows), tmp_path / f"{name}.parquet", schema)
    write_table(RUN.empty_table(), tmp_path / "run.parquet", RUN)
    options = [
        f"--{name}={tmp_path / name}.parquet" for name in ("run", "corpus", "queries", "qrels", "output-per-query")
    ]
    options += ["--system=bm25", "--resamples=10", f"--output-metrics={tmp_path / 'metrics.json'}"]
    evaluate.main(evaluate.parser().parse_args(options))
    metrics = read_json(tmp_path / "metrics.json")
    assert metrics["queries_without_hits"] == 2
    assert {name: metrics["groups"][name]["n_queries"] for name in ("all", "seen", "unseen")} == {
        "all": 2,
        "seen": 1,
        "unseen": 1,
    }
    per_query = read_table(tmp_path / "output-per-query.parquet", PER_QUERY).to_pylist()
    assert [(row["qid"], row["MRR@10"], row["nDCG@10"]) for row in per_query] == [("q2", 0, 0), ("q3", 0, 0)]
