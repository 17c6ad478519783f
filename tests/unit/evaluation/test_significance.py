import numpy as np
import pandas as pd
import pytest

import compare_systems
from ddro.core.command import UserError
from ddro.core.files import read_json, write_table
from ddro.core.tables import MEASURES, PER_QUERY
from ddro.evaluation.measures import per_query_table
from ddro.evaluation.significance import bootstrap_interval, compare, holm, paired_t_test, randomisation_test

# Student's own example (Biometrika 6, 1908): hours of sleep gained with two drugs. R's help page of `sleep`
# and its t.test(paired = TRUE) print t = -4.0621, df = 9, p = 0.002833, interval -2.4598858 to -0.7001142.
SLEEP = ([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0], [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_published_example_of_student():
    result = paired_t_test(*SLEEP)
    assert result["p"] == pytest.approx(0.002833, abs=5e-7)
    assert result["difference"] == pytest.approx(-1.58)
    assert [result["low"], result["high"]] == pytest.approx([-2.4598858, -0.7001142], abs=5e-8)


def test_published_example_of_box_hunter_and_hunter():
    # Wear of boys' shoes (Statistics for Experimenters, 1978); R prints for MASS::shoes t = -3.3489, p = 0.008539.
    a = [13.2, 8.2, 10.9, 14.3, 10.7, 6.6, 9.5, 10.8, 8.8, 13.3]
    b = [14.0, 8.8, 11.2, 14.2, 11.8, 6.4, 9.8, 11.3, 9.3, 13.6]
    assert paired_t_test(a, b)["p"] == pytest.approx(0.008539, abs=5e-7)


def test_sides_change_the_sign_only():
    there, back = paired_t_test(*SLEEP), paired_t_test(*reversed(SLEEP))
    assert back["p"] == pytest.approx(there["p"])
    assert (back["difference"], back["low"], back["high"]) == pytest.approx((1.58, -there["high"], -there["low"]))


def test_identical_systems_have_p_1_and_not_nan():
    assert paired_t_test([0.5, 1.0, 0.0], [0.5, 1.0, 0.0]) == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_the_same_difference_everywhere_has_p_0():
    assert paired_t_test([1.0, 0.75], [0.5, 0.25]) == {"difference": 0.5, "low": 0.5, "high": 0.5, "p": 0.0}


@pytest.mark.parametrize(("ours", "theirs"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([], [])])
def test_lists_that_cannot_be_paired(ours, theirs):
    with pytest.raises(ValueError, match="two equally long lists"):
        paired_t_test(ours, theirs)


def test_bootstrap_interval_is_that_of_scipy():
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).beta(0.4, 0.6, size=(300, 2))
    low, high = bootstrap_interval(values, 20_000, seed=3)
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", axis=0, rng=4)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=1e-3)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=1e-3)
    assert (bootstrap_interval(values, 20_000, seed=3)[0] == low).all()


def test_bootstrap_covers_the_true_mean_19_times_in_20():
    generator = np.random.default_rng(0)
    intervals = [bootstrap_interval(generator.random((80, 1)), 200, seed) for seed in range(400)]
    covered = sum(low[0] <= 0.5 <= high[0] for low, high in intervals)
    assert 360 <= covered <= 395


def test_randomisation_on_the_example_of_student_is_the_exact_test_to_rounding():
    from scipy.stats import permutation_test

    exact = permutation_test(SLEEP, lambda a, b: np.mean(a - b), permutation_type="samples", vectorized=False).pvalue
    differences = np.subtract(*SLEEP)[:, None]
    assert exact == pytest.approx(4 / 1024)  # all of the 2^10 signs were tried
    assert randomisation_test(differences, 200_000, seed=5)[0] == pytest.approx(exact, abs=7e-4)


def test_randomisation_of_equal_systems_and_of_the_same_difference_everywhere():
    differences = np.stack([np.zeros(40), np.full(40, 0.1)], axis=1)
    assert randomisation_test(differences, 999, seed=0).tolist() == [1.0, 0.001]


def test_holm_on_an_example_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 is 0.02, 0.03, 0.06, 0.04; none may be below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def frame(values, qids=None):
    qids = qids or [f"q{number}" for number in range(len(values))]
    index = pd.MultiIndex.from_product([qids, [""]], names=["qid", "docno"])
    return pd.DataFrame({name: np.asarray(values, float) for name in MEASURES}, index=index)


def test_every_system_against_every_baseline_but_itself():
    systems = {"bm25": frame([0, 0, 1]), "sft": frame([0, 1, 1]), "ddro": frame([1, 1, 0.5])}
    results = compare(systems, ["bm25", "sft"], 100, 0)
    assert len(results) == 4 * len(MEASURES)
    pairs = [(row["system"], row["baseline"]) for row in results if row["measure"] == "MRR@10"]
    assert pairs == [("bm25", "sft"), ("sft", "bm25"), ("ddro", "bm25"), ("ddro", "sft")]
    differences = [row["difference"] for row in results if row["measure"] == "R@5"]
    assert differences == pytest.approx([-1 / 3, 1 / 3, 0.5, 1 / 6])


def test_queries_are_paired_by_name_not_by_place():
    values = [0.1, 0.5, 0.9]
    shuffled = frame([0.9, 0.1, 0.5], ["q2", "q0", "q1"])
    assert compare({"sft": frame(values), "ddro": shuffled}, ["sft"], 100, 0)[0]["p"] == 1.0


def test_different_queries_are_refused():
    with pytest.raises(UserError, match=r"sft and ddro were measured on different queries: 'q2' .*\(1 such"):
        compare({"sft": frame([0, 1, 1]), "ddro": frame([0, 1])}, ["sft"], 100, 0)


def test_other_bad_input():
    with pytest.raises(UserError, match="baseline 'bm25' is not among the systems given"):
        compare({"sft": frame([0, 1]), "ddro": frame([0, 1])}, ["bm25"], 100, 0)


def test_of_a_single_query_there_is_no_test():
    assert compare({"sft": frame([0]), "ddro": frame([1])}, ["sft"], 100, 0) == []


def start(folder, *per_query, baselines="sft"):
    options = ["--per-query", *per_query, "--baselines", baselines, "--output", str(folder / "comparison.json")]
    compare_systems.main(compare_systems.parser().parse_args(options))


def test_script(tmp_path):
    for system, values in (("sft", SLEEP[0]), ("ddro", SLEEP[1])):
        properties = pd.DataFrame({"group": "seen", "relevant_documents": 1, "query_words": 3}, frame(values).index)
        write_table(
            per_query_table(frame(values), properties.droplevel("docno")), tmp_path / f"{system}.parquet", PER_QUERY
        )
    start(tmp_path, f"sft={tmp_path}/sft.parquet", f"ddro={tmp_path}/ddro.parquet")
    result = read_json(tmp_path / "comparison.json")
    assert result["n_queries"] == 10
    assert result["systems"] == ["sft", "ddro"]
    (first, *_) = result["comparisons"]
    assert first["p"] == pytest.approx(0.002833, abs=5e-7)
    assert first["p_randomisation"] == pytest.approx(4 / 1024, abs=2e-3)
    assert first["bootstrap"] == pytest.approx([0.9, 2.3], abs=0.15)
    with pytest.raises(UserError, match="at least two systems"):
        start(tmp_path, f"sft={tmp_path}/sft.parquet", f"sft={tmp_path}/ddro.parquet")
    with pytest.raises(SystemExit):
        start(tmp_path, "sft")
