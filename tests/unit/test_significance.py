import numpy as np
import pandas as pd
import pytest

import compare_systems
from ddro.command import UserError
from ddro.files import read_json, write_table
from ddro.measures import per_query_table
from ddro.significance import compare, paired_t_test
from ddro.tables import MEASURES, PER_QUERY

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


def frame(values, qids=None):
    qids = qids or [f"q{number}" for number in range(len(values))]
    return pd.DataFrame({name: np.asarray(values, float) for name in MEASURES}, index=pd.Index(qids, name="qid"))


def test_every_system_against_every_baseline_but_itself():
    systems = {"bm25": frame([0, 0, 1]), "sft": frame([0, 1, 1]), "ddro": frame([1, 1, 0.5])}
    results = compare(systems, ["bm25", "sft"])
    assert len(results) == 4 * len(MEASURES)
    pairs = [(row["system"], row["baseline"]) for row in results if row["measure"] == "MRR@10"]
    assert pairs == [("bm25", "sft"), ("sft", "bm25"), ("ddro", "bm25"), ("ddro", "sft")]
    differences = [row["difference"] for row in results if row["measure"] == "R@5"]
    assert differences == pytest.approx([-1 / 3, 1 / 3, 0.5, 1 / 6])


def test_queries_are_paired_by_name_not_by_place():
    values = [0.1, 0.5, 0.9]
    shuffled = frame([0.9, 0.1, 0.5], ["q2", "q0", "q1"])
    assert compare({"sft": frame(values), "ddro": shuffled}, ["sft"])[0]["p"] == 1.0


def test_different_queries_are_refused():
    with pytest.raises(UserError, match=r"sft and ddro were measured on different queries: 'q2' .*\(1 such"):
        compare({"sft": frame([0, 1, 1]), "ddro": frame([0, 1])}, ["sft"])


def test_other_bad_input():
    with pytest.raises(UserError, match="baseline 'bm25' is not among the systems given"):
        compare({"sft": frame([0, 1]), "ddro": frame([0, 1])}, ["bm25"])
    with pytest.raises(UserError, match="sft: 1 query"):
        compare({"sft": frame([0]), "ddro": frame([1])}, ["sft"])


def start(folder, *per_query, baselines="sft"):
    options = ["--per-query", *per_query, "--baselines", baselines, "--output", str(folder / "comparison.json")]
    compare_systems.main(compare_systems.parser().parse_args(options))


def test_script(tmp_path):
    for system, values in (("sft", SLEEP[0]), ("ddro", SLEEP[1])):
        groups = pd.Series("seen", index=frame(values).index)
        write_table(per_query_table(frame(values), groups), tmp_path / f"{system}.parquet", PER_QUERY)
    start(tmp_path, f"sft={tmp_path}/sft.parquet", f"ddro={tmp_path}/ddro.parquet")
    result = read_json(tmp_path / "comparison.json")
    assert result["n_queries"] == 10
    assert result["systems"] == ["sft", "ddro"]
    assert result["comparisons"][0]["p"] == pytest.approx(0.002833, abs=5e-7)
    with pytest.raises(UserError, match="at least two systems"):
        start(tmp_path, f"sft={tmp_path}/sft.parquet", f"sft={tmp_path}/ddro.parquet")
    with pytest.raises(SystemExit):
        start(tmp_path, "sft")
