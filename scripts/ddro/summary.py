"""The tables that the pipeline ends in: one row per (dataset, docid, recipe, system), and what each stage cost."""

from __future__ import annotations

import csv
import html
import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ddro.stage_times import StageTime, cost
from ddro.tables import MEASURES

Row = dict[str, str | int | float | None]

COLUMNS = (
    *("dataset", "docid", "recipe", "system", "n_queries", *MEASURES),
    *("n_seen", "MRR@10_seen", "R@10_seen", "n_unseen", "MRR@10_unseen", "R@10_unseen"),
    *("p_vs_sft", "p_vs_bm25", "paper_MRR@10", "paper_R@10", "seconds", "peak_mib"),
)
_TEXT = ("experiment", "system", "where", "stage")
_WHOLE_NUMBERS = ("n_queries", "n_seen", "n_unseen", "peak_mib")


class Table(NamedTuple):
    """A table for people: ``rows`` are the cells of ``header``, formatted; - is unknown."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: list[list[str]]


def summary_row(
    experiment: str,
    system: str,
    metrics: Mapping[str, Any],
    comparison: Mapping[str, Any],
    expected: Mapping[str, Any],
    times: Iterable[StageTime],
) -> Row:
    """Return the row of ``system`` in ``experiment`` (dataset/docid/recipe): `COLUMNS` and their values, or None.

    Args:
        metrics: what evaluate.py wrote.
        comparison: what compare_systems.py wrote; p is that of the main measure, MRR@10.
        expected: config/expected.yaml; its percentages become fractions, as ours are.
        times: the stages of the experiment, of which those that made the system are summed.
    """
    dataset, docid, recipe = experiment.split("/")
    row: Row = {"dataset": dataset, "docid": docid, "recipe": recipe, "system": system}
    groups = metrics["groups"]
    row |= {"n_queries": groups["all"]["n_queries"]} | {name: groups["all"][name] for name in MEASURES}
    for group in ("seen", "unseen"):
        row[f"n_{group}"] = groups[group]["n_queries"]
        row |= {f"{name}_{group}": groups[group][name] for name in ("MRR@10", "R@10")}
    tests = [test for test in comparison["comparisons"] if test["system"] == system and test["measure"] == "MRR@10"]
    p = {test["baseline"]: test["p"] for test in tests}
    row |= {"p_vs_sft": p.get("sft"), "p_vs_bm25": p.get("bm25")}
    published = published_result(expected, dataset, docid, system)
    for name in ("MRR@10", "R@10"):
        row[f"paper_{name}"] = published[name] / 100 if name in published else None
    row["seconds"], row["peak_mib"] = cost(times, system)
    return {name: row[name] for name in COLUMNS}


def published_result(expected: Mapping[str, Any], dataset: str, docid: str, system: str) -> Mapping[str, float]:
    """Return the published percentages of a system by measure, or nothing; BM25 stands under the docid ``any``."""
    schemes = expected.get(dataset, {})
    return schemes.get("any", {}).get(system) or schemes.get(docid, {}).get(system) or {}


def to_csv(rows: Sequence[Row]) -> str:
    """Return ``rows`` as CSV: measures and p with six digits, seconds and MiB with one decimal; None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_csv_cell(name, row[name]) for name in COLUMNS])
    return text.getvalue()


def tables(rows: Sequence[Row], times: Iterable[StageTime]) -> list[Table]:
    """Return what a person wants to see of ``rows`` and of all stages (given twice: shown once)."""

    def select(title: str, note: str, *columns: str) -> Table:
        header = ("experiment", "system", *columns)
        named = ({**row, "experiment": f"{row['dataset']}/{row['docid']}/{row['recipe']}"} for row in rows)
        return Table(title, note, header, [[_cell(name, row[name]) for name in header] for row in named])

    stages = [
        [time.where, time.name, _cell("seconds", time.seconds), _cell("peak_mib", time.peak_mib)]
        for time in dict.fromkeys(times)
    ]
    return [
        select("Measures", "Means over the test queries.", "n_queries", *MEASURES),
        select(
            "Significance, published results, cost",
            "p: paired two-sided t-test on MRR@10. paper: the published number, as a fraction. "
            "seconds: wall-clock time of all stages that made the system; peak_mib: memory of the largest.",
            *("p_vs_sft", "p_vs_bm25", "paper_MRR@10", "paper_R@10", "seconds", "peak_mib"),
        ),
        select(
            "Seen and unseen queries",
            "Seen: a relevant document of the test query has a training query too. Unseen: none has.",
            *("n_seen", "MRR@10_seen", "R@10_seen", "n_unseen", "MRR@10_unseen", "R@10_unseen"),
        ),
        Table(
            "Stages",
            "Wall-clock seconds and peak memory of each job as Snakemake measured it; - where it did not.",
            ("where", "stage", "seconds", "peak_mib"),
            stages,
        ),
    ]


def to_markdown(heading: str, tables: Iterable[Table]) -> str:
    """Return the tables as Markdown whose columns line up on a terminal: text to the left, numbers to the right."""
    lines = [f"# {heading}", ""]
    for table in tables:
        widths = [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]
        rules = [
            "-" * width if name in _TEXT else "-" * (width - 1) + ":"
            for name, width in zip(table.header, widths, strict=True)
        ]
        lines += [f"## {table.title}", "", textwrap.fill(table.note, 110), ""]
        for cells in (table.header, rules, *table.rows):
            aligned = (
                cell.ljust(width) if name in _TEXT else cell.rjust(width)
                for name, cell, width in zip(table.header, cells, widths, strict=True)
            )
            lines.append(f"| {' | '.join(aligned)} |")
        lines.append("")
    return "\n".join(lines)


_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff }
body { margin: 2rem auto; padding: 0 1rem; width: fit-content }
h2 { margin: 2rem 0 0; font-size: 1.15rem } p { margin: .2rem 0 .6rem; color: #57606a; max-width: 60rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #d8dee4; white-space: nowrap }
th { border-bottom: 2px solid #57606a; font-weight: 600 } .text { text-align: left }
tbody tr:hover { background: #f3f6f9 }
"""


def to_html(heading: str, tables: Iterable[Table]) -> str:
    """Return the tables as one HTML page that needs nothing else."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f"<title>{html.escape(heading)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{html.escape(heading)}</h1>",
    ]
    for table in tables:
        parts.append(f"<h2>{html.escape(table.title)}</h2>\n<p>{html.escape(table.note)}</p>\n<table>")
        parts.append(f"<thead>{_html_row('th', table.header, table.header)}</thead>\n<tbody>")
        parts += [_html_row("td", table.header, row) for row in table.rows]
        parts.append("</tbody>\n</table>")
    return "\n".join([*parts, "</body>\n</html>\n"])


def _html_row(tag: str, header: Sequence[str], cells: Sequence[str]) -> str:
    row = ""
    for name, cell in zip(header, cells, strict=True):
        row += f"<{tag} class={'text' if name in _TEXT else 'number'}>{html.escape(cell)}</{tag}>"
    return f"<tr>{row}</tr>"


def _cell(name: str, value: str | int | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if name in _WHOLE_NUMBERS:
        return f"{value:.0f}"
    if name == "seconds":
        return f"{value:.1f}"
    if name.startswith("p_vs_") and value < 0.0001:
        return "<0.0001"
    return f"{value:.4f}"


def _csv_cell(name: str, value: str | int | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int):
        return str(value)
    return f"{value:.1f}" if name in ("seconds", "peak_mib") else f"{value:.6g}"
