import csv
import io
from html.parser import HTMLParser

import pytest

import summarise
from ddro.command import UserError
from ddro.files import write_json
from ddro.stage_times import StageTime, cost, read_benchmark, stage_times
from ddro.summary import COLUMNS, Table, published_result, summary_row, tables, to_csv, to_html, to_markdown
from ddro.tables import MEASURES, SYSTEMS

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
EXPECTED = {"msmarco": {"any": {"bm25": {"MRR@10": 29.24, "R@10": 55.07}}, "pq": {"ddro": {"MRR@10": 45.76}}}}


def metrics(value, n_unseen=40):
    seen = {"n_queries": 160, **dict.fromkeys(MEASURES, value + 0.01)}
    unseen = {"n_queries": n_unseen, **dict.fromkeys(MEASURES, value - 0.04 if n_unseen else None)}
    whole = {"n_queries": 160 + n_unseen, **dict.fromkeys(MEASURES, value)}
    return {"system": "any", "split": "test", "groups": {"all": whole, "seen": seen, "unseen": unseen}}


def comparison(**p):
    tests = [{"system": system, "baseline": "sft", "measure": "MRR@10", "p": value} for system, value in p.items()]
    return {"comparisons": [*tests, {"system": "ddro", "baseline": "bm25", "measure": "R@1", "p": 0.5}]}


def write_benchmark(folder, name, seconds, peak):
    path = folder / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:01\t{peak}\t1\t1\t1\t1\t1\t1\t1\n")


def test_row_of_a_system():
    times = [StageTime("msmarco", "x", ("ddro",), 1.5, 10.0), StageTime("msmarco", "y", SYSTEMS, 2.0, None)]
    row = summary_row("msmarco/pq/paper", "ddro", metrics(0.5), comparison(ddro=0.03, bm25=1.0), EXPECTED, times)
    assert tuple(row) == COLUMNS
    assert row == {
        **{"dataset": "msmarco", "docid": "pq", "recipe": "paper", "system": "ddro", "n_queries": 200},
        **dict.fromkeys(MEASURES, 0.5),
        **{"n_seen": 160, "MRR@10_seen": 0.51, "R@10_seen": 0.51},
        **{"n_unseen": 40, "MRR@10_unseen": 0.46, "R@10_unseen": 0.46},
        **{"p_vs_sft": 0.03, "p_vs_bm25": None, "paper_MRR@10": pytest.approx(0.4576), "paper_R@10": None},
        **{"seconds": 3.5, "peak_mib": 10.0},
    }


def test_published_results_belong_to_data_set_docid_and_system():
    assert published_result(EXPECTED, "msmarco", "tu", "bm25")["R@10"] == 55.07
    assert published_result(EXPECTED, "msmarco", "tu", "ddro") == {}
    assert published_result(EXPECTED, "awscli", "pq", "bm25") == {}


def test_shipped_published_results(root):
    expected = summarise.read_expected(root / "config/expected.yaml")
    assert published_result(expected, "msmarco", "tu", "ddro") == {
        **{"R@1": 38.24, "R@5": 66.46, "R@10": 74.01, "MRR@10": 50.07},
        "significant": ["R@1", "R@5", "MRR@10"],
    }
    mrr = {
        (dataset, docid, system): published_result(expected, dataset, docid, system)["MRR@10"]
        for dataset in ("msmarco", "nq")
        for docid in ("pq", "tu")
        for system in SYSTEMS
    }
    assert list(mrr.values()) == [29.24, 44.79, 45.76, 29.24, 49.18, 50.07, 23.60, 50.48, 55.51, 23.60, 44.32, 45.99]


def test_benchmark_file(tmp_path):
    write_benchmark(tmp_path, "a", "12.3456", "987.65")
    write_benchmark(tmp_path, "b", "0.2", "NA")
    assert read_benchmark(tmp_path / "a.tsv") == (12.3456, 987.65)
    assert read_benchmark(tmp_path / "b.tsv") == (0.2, None)


@pytest.mark.parametrize(
    "text", ["", HEADER, "s\tmax_rss\nfast\t1\n", "s\n1\n", "s\tmax_rss\n1\t1\n2\t2\n", "s\tmax_rss\n1\n"]
)
def test_bad_benchmark_file(tmp_path, text):
    (tmp_path / "bad.tsv").write_text(text)
    with pytest.raises(UserError, match="bad.tsv:2: expected one row"):
        read_benchmark(tmp_path / "bad.tsv")


def test_stages_of_an_experiment_in_the_order_of_the_story(tmp_path):
    write_benchmark(tmp_path / "awscli", "sample_corpus", 1, 100)
    write_benchmark(tmp_path / "awscli", "index_bm25", 2, 200)
    write_benchmark(tmp_path / "awscli", "embed_documents.10", 3, 300)
    write_benchmark(tmp_path / "awscli", "embed_documents.2", 4, 400)
    write_benchmark(tmp_path / "awscli", "fetch_awscli", 5, 500)
    write_benchmark(tmp_path / "awscli", "something_new", 6, 600)
    write_benchmark(tmp_path / "awscli/pq/demo", "train_ddro", 7, 700)
    write_benchmark(tmp_path / "awscli/pq/other", "train_ddro", 8, 800)
    write_benchmark(tmp_path / "nq", "sample_corpus", 9, 900)
    times = stage_times(tmp_path, "awscli/pq/demo")
    known = [(time.where, time.name, time.seconds) for time in times if time.seconds is not None]
    assert known == [
        ("awscli", "fetch_awscli", 5),
        ("awscli", "sample_corpus", 1),
        ("awscli", "embed_documents.2", 4),
        ("awscli", "embed_documents.10", 3),
        ("awscli", "index_bm25", 2),
        ("awscli/pq/demo", "train_ddro", 7),
        ("awscli", "something_new", 6),
    ]
    names = [time.name for time in times]
    assert "split_queries" in names and "train_sft.finetune" in names  # missing, and said so
    assert "read_nq" not in names and "fetch_model" not in names  # other data sets and recipes have them
    # A docid scheme without embeddings neither shows nor counts them, even if another experiment left them there.
    assert not any(name.name.startswith("embed") for name in stage_times(tmp_path, "awscli/tu/demo"))


def test_cost_is_the_sum_of_what_made_a_system_and_the_largest_peak():
    times = [
        StageTime("d", "sample_corpus", SYSTEMS, 1.0, 50.0),
        StageTime("d", "index_bm25", ("bm25", "ddro"), 2.0, None),
        StageTime("d", "train_sft", ("sft", "ddro"), 4.0, 70.0),
        StageTime("d", "train_ddro", ("ddro",), None, None),
    ]
    assert cost(times, "bm25") == (3.0, 50.0)
    assert cost(times, "sft") == (5.0, 70.0)
    assert cost(times, "ddro") == (None, 70.0)
    assert cost([], "ddro") == (None, None)


ROWS = [
    summary_row("awscli/pq/demo", system, metrics(value, n_unseen=0), comparison(ddro=0.00001, bm25=0.04), EXPECTED, [])
    for system, value in (("bm25", 0.5), ("ddro", 0.6123456789))
]


def test_csv_is_literally_this():
    lines = to_csv(ROWS).splitlines()
    assert lines[0] == (
        "dataset,docid,recipe,system,n_queries,MRR@10,R@1,R@5,R@10,Success@1,Success@10,nDCG@10,n_seen,MRR@10_seen,"
        "R@10_seen,n_unseen,MRR@10_unseen,R@10_unseen,p_vs_sft,p_vs_bm25,paper_MRR@10,paper_R@10,seconds,peak_mib"
    )
    assert lines[1] == "awscli,pq,demo,bm25,160,0.5,0.5,0.5,0.5,0.5,0.5,0.5,160,0.51,0.51,0,,,0.04,,,,,"
    assert lines[2].startswith("awscli,pq,demo,ddro,160,0.612346,")
    assert lines[2].endswith(",0,,,1e-05,,,,,")


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
    stage = StageTime("awscli", "sample_corpus", SYSTEMS, 1.26, 99.5)
    measures, costs, groups, stages = tables(ROWS, [stage, stage, StageTime("awscli", "gone", (), None, None)])
    assert measures.header == ("experiment", "system", "n_queries", *MEASURES)
    assert measures.rows[1] == ["awscli/pq/demo", "ddro", "160", *["0.6123"] * 7]
    assert [row[2] for row in costs.rows] == ["0.0400", "<0.0001"]
    assert groups.rows[0] == ["awscli/pq/demo", "bm25", "160", "0.5100", "0.5100", "0", "-", "-"]
    assert stages.rows == [["awscli", "sample_corpus", "1.3", "100"], ["awscli", "gone", "-", "-"]]
    assert all(len(row) == len(table.header) for table in (measures, costs, groups, stages) for row in table.rows)


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
    options = [
        "--results",
        str(folder),
        "--experiments",
        *experiments,
        "--expected",
        str(root / "config/expected.yaml"),
    ]
    for name in ("csv", "markdown", "html"):
        options += [f"--output-{name}", str(folder / f"summary.{name}")]
    summarise.main(summarise.parser().parse_args(options))
    return list(csv.DictReader(io.StringIO((folder / "summary.csv").read_text())))


def test_script(tmp_path, root):
    for experiment in ("msmarco/pq/paper", "awscli/tu/demo"):
        for system in SYSTEMS:
            write_json(metrics(0.25), tmp_path / experiment / f"metrics/{system}.test.json")
        write_json(comparison(ddro=0.5, bm25=0.25), tmp_path / experiment / "metrics/comparison.test.json")
    write_benchmark(tmp_path / "benchmarks/msmarco", "sample_corpus", 3, 4)
    rows = start(tmp_path, root, "msmarco/pq/paper", "awscli/tu/demo")
    assert [(row["dataset"], row["system"]) for row in rows] == [
        (dataset, system) for dataset in ("msmarco", "awscli") for system in SYSTEMS
    ]
    assert [row["paper_MRR@10"] for row in rows] == ["0.2924", "0.4479", "0.4576", "", "", ""]
    assert rows[0]["peak_mib"] == "4.0" and rows[0]["seconds"] == ""
    assert "| msmarco          | sample_corpus " in (tmp_path / "summary.markdown").read_text()
    assert "<!doctype html>" in (tmp_path / "summary.html").read_text()


def test_script_refuses_missing_and_foreign_files(tmp_path, root):
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


@pytest.mark.parametrize(
    "text", ["nq: 5\n", "nq: {pq: {sft: {R@1: 144}}}\n", "nq: {pq: {sft: {R@1: high}}}\n", "{", ""]
)
def test_bad_published_results(tmp_path, text):
    path = tmp_path / "expected.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="expected.yaml: "):
        summarise.read_expected(path)
