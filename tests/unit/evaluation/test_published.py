import pytest

from ddro.core.command import UserError
from ddro.evaluation.published import differences, published_result, read_expected

EXPECTED = {
    "bounds": {"OK": 1.0, "close": 3.0},
    "published": {"msmarco": {"any": {"bm25": {"MRR@10": 29.24, "R@10": 55.07}}, "pq": {"ddro": {"MRR@10": 45.76}}}},
}


@pytest.mark.parametrize(
    ("ours", "points", "verdict"),
    [(0.4, 0.0, "OK"), (0.41, 1.0, "OK"), (0.39, -1.0, "OK"), (0.4101, 1.01, "close"), (0.37, -3.0, "close")]
    + [(0.4301, 3.01, "FAIL"), (0.0, -40.0, "FAIL"), (0.410049, 1.0, "OK")],
)
def test_verdicts(ours, points, verdict):
    (line,) = differences({"R@1": ours, "R@5": 1.0}, {"R@1": 0.4}, {"OK": 1.0, "close": 3.0})
    assert (line.measure, line.ours, line.theirs, line.points, line.verdict) == ("R@1", ours, 0.4, points, verdict)


def test_published_results_belong_to_data_set_docid_and_system():
    assert published_result(EXPECTED, "msmarco", "tu", "bm25") == pytest.approx({"MRR@10": 0.2924, "R@10": 0.5507})
    assert published_result(EXPECTED, "msmarco", "tu", "ddro") == {}
    assert published_result(EXPECTED, "awscli", "pq", "bm25") == {}


def test_shipped_published_results(root):
    expected = read_expected(root / "config/expected.yaml")
    assert published_result(expected, "msmarco", "tu", "ddro") == pytest.approx(
        {"R@1": 0.3824, "R@5": 0.6646, "R@10": 0.7401, "MRR@10": 0.5007}
    )
    mrr = [
        published_result(expected, dataset, docid, system)["MRR@10"]
        for dataset in ("msmarco", "nq")
        for docid in ("pq", "tu")
        for system in ("bm25", "doct5query", "sft", "ddro")
    ]
    percent = [29.24, 34.81, 44.79, 45.76, 29.24, 34.81, 49.18, 50.07]
    percent += [23.60, 29.55, 50.48, 55.51, 23.60, 29.55, 44.32, 45.99]
    assert [100 * value for value in mrr] == pytest.approx(percent)


@pytest.mark.parametrize(
    "text",
    [
        *(
            f"bounds: {{OK: 1, close: 3}}\npublished: {text}\n"
            for text in (
                "5",
                "{nq: {pq: {sft: {R@1: 144}}}}",
                "{nq: {pq: {sft: {R@2: 44}}}}",
                "{nq: {pq: {sft: {R@1: x}}}}",
            )
        ),
        "bounds: {OK: 3, close: 1}\npublished: {}\n",
        "published: {}\n",
        "{",
        "",
    ],
)
def test_bad_published_results(tmp_path, text):
    path = tmp_path / "expected.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="expected.yaml: "):
        read_expected(path)
