import csv
import io
import json
from html.parser import HTMLParser

import pytest

import summarise
from ddro.core.command import UserError
from ddro.core.files import write_json
from ddro.core.tables import MEASURES
from ddro.evaluation.published import differences
from ddro.report.costs import JobCost, cost, read_cost, training_cost
from ddro.report.html import Table, to_html, to_markdown
from ddro.report.summary import COLUMNS, correct, summary_row, summary_tables, to_csv

BOUNDS = {"OK": 1.0, "close": 3.0}


def group(value, n_queries):
    intervals = {name: [value - 0.1, value + 0.1] for name in MEASURES} if n_queries else dict.fromkeys(MEASURES)
    return {"n_queries": n_queries, **dict.fromkeys(MEASURES, value if n_queries else None), "intervals": intervals}


def metrics(value, n_unseen=40):
    groups = {
        "all": group(value, 160 + n_unseen),
        "seen": group(value + 0.01, 160),
        "unseen": group(value - 0.04, n_unseen),
    }
    slices = {"query_words": [{"slice": "1-4", **group(value, 7)}, {"slice": "10+", **group(value, 0)}]}
    return {"system": "any", "split": "test", "protocol": "query", "groups": groups, "slices": slices}


THREE = ("bm25", "sft", "ddro")
"""The systems of an experiment without further baselines."""


def comparison(**p):
    tests = [
        {"system": system, "baseline": "sft", "measure": "MRR@10", "p": value, "p_randomisation": value / 2}
        for system, value in p.items()
    ]
    tests.append({"system": "ddro", "baseline": "bm25", "measure": "R@1", "p": 0.5})
    return {"systems": list(THREE), "comparisons": tests}


def test_row_of_a_system():
    costs = [JobCost("msmarco/pq/paper", "train_ddro", 1.5, 1.0, 10.0), JobCost("msmarco", "y", 2.0, 1.0, 9.0)]
    beside = differences({"MRR@10": 0.5}, {"MRR@10": 0.4576}, BOUNDS)
    speed = {"beams": 20, "ms_median": 8.5, "unknown": 1}
    row = summary_row(
        "msmarco/pq/paper", "top", "ddro", metrics(0.5), comparison(ddro=0.03, bm25=1.0), beside, speed, costs
    )
    assert tuple(row) == COLUMNS
    assert {name: value for name, value in row.items() if value is not None} == {
        **{"dataset": "msmarco", "variant": "top", "docid": "pq", "recipe": "paper", "system": "ddro"},
        "protocol": "query",
        "n_queries": 200,
        **dict.fromkeys(MEASURES, 0.5),
        **{f"{name}_low": 0.4 for name in MEASURES},
        **{f"{name}_high": 0.6 for name in MEASURES},
        **{"n_seen": 160, "MRR@10_seen": 0.51, "R@10_seen": 0.51},
        **{"n_unseen": 40, "MRR@10_unseen": 0.46, "R@10_unseen": 0.46},
        **{"p_vs_sft": 0.03, "p_randomisation_vs_sft": 0.015},
        **{"paper_MRR@10": 0.4576, "verdict_MRR@10": "FAIL"},
        **{"beams": 20, "ms_median": 8.5, "training_seconds": 1.5, "seconds": 3.5, "peak_mib": 10.0},
    }


def test_holm_over_all_tests_of_the_table_each_pair_once():
    def row(recipe, system, sft, bm25):
        keys = {"dataset": "d", "docid": "pq", "recipe": recipe, "system": system}
        return {**keys, "p_vs_sft": sft, "p_vs_bm25": bm25}

    rows = [row("a", "bm25", 0.01, None), row("a", "sft", None, 0.01), row("a", "ddro", 0.04, 0.03)]
    corrected = correct([*rows, row("b", "ddro", 0.005, None)])
    # Four tests, for bm25 against sft is sft against bm25: 0.005 * 4, 0.01 * 3, 0.03 * 2, then at least as much.
    assert [line["p_holm_vs_sft"] for line in corrected] == pytest.approx([0.03, None, 0.06, 0.02])
    assert [line["p_holm_vs_bm25"] for line in corrected] == pytest.approx([None, 0.03, 0.06, None])


def test_cost_file(tmp_path):
    plain = {"seconds": 12.5, "cpu_seconds": 20.25, "peak_mib": 987.65}
    write_json(plain, tmp_path / "costs/awscli/sample_corpus.json")
    write_json(plain | {"gpu_seconds": 12.0}, tmp_path / "costs/d/pq/r/train_sft.finetune.json")
    costs = tmp_path / "costs"
    found = read_cost(costs / "awscli/sample_corpus.json", costs)
    assert found == JobCost("awscli", "sample_corpus", *plain.values())
    assert (found.gpu_seconds, found.gpu_wh, found.kept_step) == (None, None, None)
    found = read_cost(costs / "d/pq/r/train_sft.finetune.json", costs)
    assert (found.where, found.name, found.gpu_seconds, found.gpu_wh) == ("d/pq/r", "train_sft.finetune", 12.0, None)


@pytest.mark.parametrize("content", [{"seconds": 1.0}, {"seconds": 1, "cpu_seconds": 1, "peak_mib": 1, "x": 1}, 7, []])
def test_not_a_cost_file(tmp_path, content):
    write_json(content, tmp_path / "bad.json")
    with pytest.raises(UserError, match="bad.json: not the cost of a job"):
        read_cost(tmp_path / "bad.json", tmp_path)


def test_a_cost_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="gone.json: no such file"):
        read_cost(tmp_path / "gone.json", tmp_path)


def test_the_cost_of_a_system_is_the_sum_over_its_jobs_and_the_largest_peak():
    corpus = JobCost("d", "sample_corpus", 1.0, 0.5, 50.0)
    codebook = JobCost("d", "train_pq_codebook", 2.0, 4.0, 30.0)
    sft = [
        JobCost("d/pq/r", f"train_sft.{name}", 4.0, 4.0, 70.0, *gpu)
        for name, gpu in (("search_pretrain", (3.0,)), ("finetune", (8.5, 1.0)))
    ]
    ddro = JobCost("d/pq/r", "train_ddro", 16.0, 1.0, 60.0, 80.0, 2.0)
    assert cost([corpus, codebook]) == (3.0, 50.0)
    assert cost([corpus, *sft, ddro]) == (25.0, 70.0)
    assert cost([]) == (None, None)
    assert training_cost([corpus, codebook]) == (None, None, None)
    assert training_cost([codebook, *sft]) == (8.0, 11.5, None)  # the energy of one isn't known
    assert training_cost([*sft[1:], ddro]) == (20.0, 88.5, 3.0)


ROWS = correct(
    [
        summary_row(
            *("awscli/pq/demo", "built in", system, metrics(value, n_unseen=0)),
            *(comparison(ddro=0.00001, bm25=0.04), [], {}, []),
        )
        for system, value in (("bm25", 0.5), ("ddro", 0.6123456789))
    ]
)


def test_csv_has_all_columns_and_empty_cells_for_what_is_not_known():
    lines = to_csv(ROWS).splitlines()
    assert lines[0] == ",".join(COLUMNS)
    bm25, ddro = csv.DictReader(lines)
    assert (bm25["MRR@10"], bm25["R@10_low"], bm25["n_unseen"], bm25["MRR@10_unseen"]) == ("0.5", "0.4", "0", "")
    assert (bm25["p_vs_sft"], bm25["p_holm_vs_sft"], bm25["ms_p95"]) == ("0.04", "0.04", "")
    assert (ddro["MRR@10"], ddro["p_vs_sft"], ddro["p_holm_vs_sft"], ddro["seconds"]) == (
        "0.612346",
        "1e-05",
        "2e-05",
        "",
    )


def test_markdown_is_literally_this():
    table = Table("Title", "Note.", ("system", "R@1", "n_queries"), [["bm25", "0.5000", "7"], ["ddro", "-", "800"]])
    assert to_markdown("Results", [table]) == (
        "# Results\n"
        "\n"
        "## Title\n"
        "\n"
        "Note.\n"
        "\n"
        "| system |    R@1 | n_queries |\n"
        "| ------ | -----: | --------: |\n"
        "| bm25   | 0.5000 |         7 |\n"
        "| ddro   |      - |       800 |\n"
    )


def test_tables_to_read():
    job = JobCost("awscli", "sample_corpus", 1.26, 2.04, 99.5)
    key = ("awscli/pq/demo", "ddro")
    lines = differences({"R@1": 0.4123}, {"R@1": 0.4}, BOUNDS)
    trained = JobCost("awscli", "train_ddro", 7.0, 3.0, 5.0, 6.5, 0.21)
    shown = {
        table.title: table
        for table in summary_tables(ROWS, {key: lines}, {key: metrics(0.5)["slices"]}, [job, trained])
    }
    assert shown["Measures"].header == ("experiment", "system", "protocol", "n_queries", *MEASURES)
    assert shown["Measures"].rows[1] == [*key, "query", "160", *["0.6123"] * 7]
    assert "one instance per query, with all" in shown["Measures"].note
    assert shown["95 % intervals"].rows[0][2] == "0.400 to 0.600"
    assert shown["Beside the paper"].rows == [[*key, "R@1", "41.23", "40.00", "+1.23", "close"]]
    assert shown["Significance"].rows[1] == [*key, "<0.0001", "<0.0001", "<0.0001", "-", "-", "-"]
    assert shown["Seen and unseen queries"].rows[0] == [
        "awscli/pq/demo",
        "bm25",
        "160",
        "0.5100",
        "0.5100",
        "0",
        "-",
        "-",
    ]
    assert shown["Slices of the queries"].rows == [[*key, "query words", "1-4", "7", "0.5000", "0.5000"]]
    assert shown["Stages"].rows == [
        ["awscli", "sample_corpus", "1.3", "2.0", "100", "-", "-"],
        ["awscli", "train_ddro", "7.0", "3.0", "5", "6.5", "0.2"],
    ]
    assert all(len(row) == len(table.header) for table in shown.values() for row in table.rows)
    assert "Beside the paper" not in [table.title for table in summary_tables(ROWS, {}, {}, [])]


def test_a_training_that_keeps_its_start_is_named():
    costs = [
        JobCost("d/pq/r", f"train_sft.{stage}", 4.0, 4.0, 7.0, kept_step=step) for stage, step in (("a", 9), ("b", 0))
    ]
    shown = {table.title: table for table in summary_tables(ROWS, {}, {}, costs)}
    assert shown["Trainings that gained nothing"].rows == [["d/pq/r", "train_sft.b"]]
    assert "Trainings that gained nothing" not in [table.title for table in summary_tables(ROWS, {}, {}, costs[:1])]


def test_html_shows_the_cells_escaped_and_every_tag_is_closed():
    class Reader(HTMLParser):
        open, cells = [], []

        def handle_starttag(self, tag, attributes):
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

        def handle_data(self, data):
            if self.open[-1:] == ["td"]:
                self.cells.append(data)

    reader = Reader()
    reader.feed(to_html("Results & more", [Table("T", "N", ("system", "R@1"), [["<b>", "0.5"], ["x", "-"]])]))
    assert reader.open == []
    assert reader.cells == ["<b>", "0.5", "x", "-"]


def start(folder, root, *experiments):
    """Run the script; the one job that has a cost made the rankings of BM25."""
    write_json({"seconds": 3.0, "cpu_seconds": 2.0, "peak_mib": 4.0}, folder / "costs/msmarco/sample_corpus.json")
    options = [
        *("--results", str(folder)),
        *("--experiments", *experiments),
        *("--costs", str(folder / "costs/msmarco/sample_corpus.json")),
        *("--costs-by-system", json.dumps(dict.fromkeys(experiments, {"bm25": [0], "sft": [], "ddro": []}))),
        *("--expected", str(root / "config/expected.yaml")),
    ]
    for name in ("csv", "markdown", "picture", "html"):
        options += [f"--output-{name}", str(folder / f"summary.{name}")]
    summarise.main(summarise.parser().parse_args(options))
    return list(csv.DictReader(io.StringIO((folder / "summary.csv").read_text())))


def write_reports(folder, variant):
    data = {"variant": variant, "found": {"documents": 9}, "expected": [], "left_out": {}, "noted": {}, "files": []}
    write_json(data, folder / "data_report.json")
    write_json({"splits": {"train": 5}, "counts": {}}, folder / "split_report.json")


def test_script(tmp_path, root):
    for dataset in ("msmarco", "awscli"):
        write_reports(tmp_path / dataset, f"variant of {dataset}")
    for experiment in ("msmarco/pq/paper", "awscli/tu/demo"):
        for system in THREE:
            write_json(metrics(0.25), tmp_path / experiment / f"metrics/{system}.test.json")
        write_json(comparison(ddro=0.5, bm25=0.25), tmp_path / experiment / "metrics/comparison.test.json")
    timing = {"beams": 80, "queries_per_s": 100.0, "device": "cpu", "ms_per_query": {"median": 9.5, "p95": 12.0}}
    timing |= {"trie_bytes": 2**19, "model_bytes": 2**21}
    for experiment in ("msmarco/pq/paper", "awscli/tu/demo"):
        for system, rate in (("sft", 100.0), ("ddro", 50.0)):
            write_json(timing | {"queries_per_s": rate}, tmp_path / experiment / f"runs/{system}.test.timing.json")
    (tmp_path / "msmarco/bm25/index").mkdir(parents=True)
    (tmp_path / "msmarco/bm25/index/segment").write_bytes(bytes(2**20))
    rows = start(tmp_path, root, "msmarco/pq/paper", "awscli/tu/demo")
    assert [(row["dataset"], row["system"]) for row in rows] == [
        (dataset, system) for dataset in ("msmarco", "awscli") for system in THREE
    ]
    assert (rows[0]["variant"], rows[5]["variant"]) == ("variant of msmarco", "variant of awscli")
    assert "| msmarco | variant of msmarco |         9 |     5 |" in (tmp_path / "summary.markdown").read_text()
    assert [row["paper_MRR@10"] for row in rows] == ["0.2924", "0.4479", "0.4576", "", "", ""]
    assert [row["verdict_MRR@10"] for row in rows] == ["FAIL", "FAIL", "FAIL", "", "", ""]
    assert [(row["seconds"], row["peak_mib"]) for row in rows[:2]] == [("3.0", "4.0"), ("", "")]
    assert [row["queries_per_s"] for row in rows] == ["", "100.0", "50.0"] * 2
    assert (rows[1]["index_mib"], rows[1]["model_mib"], rows[0]["index_mib"]) == ("0.5", "2.0", "1.0")
    assert (
        "| msmarco/pq/paper | sft    | MRR@10  | 25.00 | 44.79 |     -19.79 | FAIL    |"
        in (tmp_path / "summary.markdown").read_text()
    )
    assert "| msmarco | sample_corpus " in (tmp_path / "summary.markdown").read_text()
    assert "\n| awscli  | DDRO (TU) | 25.00 |" in (tmp_path / "summary.markdown").read_text()
    page = (tmp_path / "summary.html").read_text()
    assert "<!doctype html>" in page and page.index("DDRO (TU)") < page.index("<svg") < page.index("<h2>Measures")


def test_script_refuses_missing_and_foreign_files(tmp_path, root):
    with pytest.raises(UserError, match="data_report.json: no such file"):
        start(tmp_path, root, "awscli/pq/demo")
    write_reports(tmp_path / "awscli", "built in")
    with pytest.raises(UserError, match="comparison.test.json: no such file"):
        start(tmp_path, root, "awscli/pq/demo")
    folder = tmp_path / "awscli/pq/demo/metrics"
    write_json(comparison(), folder / "comparison.test.json")
    write_json({"groups": {}}, folder / "bm25.test.json")
    with pytest.raises(UserError, match="bm25.test.json, .* lacks 'all'"):
        start(tmp_path, root, "awscli/pq/demo")
    with pytest.raises(SystemExit):
        start(tmp_path, root, "awscli/pq")
    assert not (tmp_path / "summary.csv").exists()
