"""What the summary opens with."""

import re

import pytest

from ddro.core.tables import MEASURES
from ddro.report.figures import save_svg
from ddro.report.html import to_html
from ddro.report.systems import list_systems, papers_table, systems_figure


def row(system, value, docid="pq", recipe="demo", dataset="awscli", p=(None, None), interval=(0.1, 0.9)):
    low, high = interval
    return {
        **{"dataset": dataset, "docid": docid, "recipe": recipe, "system": system, "protocol": "query"},
        **dict.fromkeys(MEASURES, value),
        **{"MRR@10_low": low, "MRR@10_high": high, "p_vs_sft": p[0], "p_vs_bm25": p[1]},
    }


ROWS = [
    row("bm25", 0.5, p=(0.2, None)),
    row("sft", 0.25, p=(None, 0.3)),
    row("ddro", 0.75, p=(0.00001, 0.04)),
    row("bm25", 0.5, "tu", p=(0.7, None)),
    row("sft", 0.3, "tu", p=(None, 0.3)),
    row("sft", 0.2, dataset="ansible", interval=(None, None)),
]


def test_a_system_is_listed_once_and_those_without_docids_come_first():
    assert [(one.dataset, one.name) for one in list_systems(ROWS)] == [
        ("awscli", "BM25"),
        ("awscli", "SFT (PQ)"),
        ("awscli", "DDRO (PQ)"),
        ("awscli", "SFT (TU)"),
        ("ansible", "SFT (PQ)"),
    ]


def test_a_recipe_is_named_and_another_ranking_of_bm25_listed_where_there_are_two():
    rows = [row("bm25", 0.5), row("ddro", 0.6), row("bm25", 0.4, recipe="mine"), row("ddro", 0.7, recipe="mine")]
    names = [one.name for one in list_systems(rows)]
    assert names == ["BM25", "BM25", "DDRO (PQ, demo)", "DDRO (PQ, mine)"]


def test_the_papers_table_is_literally_this():
    table = papers_table(list_systems(ROWS))
    assert table.header == ("dataset", "system", "R@1", "R@5", "R@10", "MRR@10", "interval", "p, SFT", "p, BM25")
    assert table.rows == [
        ["awscli", "BM25", *["50.00"] * 4, "10.0 to 90.0", "-", "-"],
        ["awscli", "SFT (PQ)", *["25.00"] * 4, "10.0 to 90.0", "-", "0.3000"],
        ["awscli", "DDRO (PQ)", *["75.00"] * 4, "10.0 to 90.0", "<0.0001", "0.0400"],
        ["awscli", "SFT (TU)", *["30.00"] * 4, "10.0 to 90.0", "-", "0.3000"],
        ["ansible", "SFT (PQ)", *["20.00"] * 4, "-", "-", "-"],
    ]


def test_the_picture_has_each_system_with_its_interval(tmp_path):
    systems = list_systems(ROWS)
    figure = systems_figure(systems)
    awscli, ansible = figure.axes
    assert [label.get_text() for label in awscli.get_yticklabels()] == [*("SFT (PQ)", "SFT (TU)", "BM25", "DDRO (PQ)")]
    ends = [bar.get_segments()[0][:, 0].tolist() for bar in awscli.collections]
    assert ends == [pytest.approx([0.1, 0.9])] * 4
    assert ansible.collections[0].get_segments()[0][:, 0].tolist() == pytest.approx(
        [0.2, 0.2]
    )  # one query: no interval

    save_svg(figure, tmp_path / "one.svg")
    save_svg(systems_figure(systems), tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()

    page = to_html("Results", [papers_table(systems)] * 2, (tmp_path / "one.svg").read_text())
    assert re.findall(r"<(h2|svg)", page) == ["h2", "svg", "h2"] and "<?xml" not in page
