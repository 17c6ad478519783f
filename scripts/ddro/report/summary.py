"""The tables that the pipeline ends in: one row per (dataset, docid, recipe, system), and what each stage cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ddro.core.tables import MEASURES
from ddro.evaluation.published import Difference
from ddro.evaluation.significance import holm
from ddro.report.costs import JobCost, cost, training_cost
from ddro.report.html import Table

Row = dict[str, str | int | float | None]

TESTED_AGAINST = ("sft", "bm25")
TESTS = ("p", "p_holm", "p_randomisation")
COLUMNS = (
    *("dataset", "variant", "docid", "recipe", "system", "protocol", "n_queries", *MEASURES),
    *(f"{name}_{end}" for name in MEASURES for end in ("low", "high")),
    *("n_seen", "MRR@10_seen", "R@10_seen", "n_unseen", "MRR@10_unseen", "R@10_unseen"),
    *(f"{test}_vs_{baseline}" for test in TESTS for baseline in TESTED_AGAINST),
    *(f"{kind}_{name}" for kind in ("paper", "verdict") for name in ("MRR@10", "R@1", "R@5", "R@10")),
    *("beams", "queries_per_s", "ms_median", "ms_p95", "index_mib", "model_mib", "device"),
    *("training_seconds", "training_gpu_seconds", "training_gpu_wh", "seconds", "peak_mib"),
)
_WHOLE_NUMBERS = ("n_queries", "n_seen", "n_unseen", "peak_mib", "beams")
_ONE_DECIMAL = (
    *("seconds", "cpu_seconds", "gpu_seconds", "gpu_wh", "training_seconds", "training_gpu_seconds", "training_gpu_wh"),
    *("queries_per_s", "ms_median", "ms_p95", "index_mib", "model_mib"),
)

NOTES = {
    "query": "one instance per query, with all its relevant documents",
    "judgement": "the paper's, one instance per query and relevant document",
}


def summary_row(
    experiment: str,
    variant: str,
    system: str,
    metrics: Mapping[str, Any],
    comparison: Mapping[str, Any],
    published: Sequence[Difference],
    efficiency: Mapping[str, Any],
    costs: Sequence[JobCost],
) -> Row:
    """Return the row of ``system`` in ``experiment`` (dataset/docid/recipe): `COLUMNS` and their values, or None.

    Args:
        variant: of the data set, as its data_report.json names it.
        metrics: what evaluate.py wrote.
        comparison: what compare_systems.py wrote; p are those of the main measure, MRR@10. `correct` adds Holm's.
        published: the published measures of the system, beside ours.
        efficiency: values of the columns ``beams`` to ``device``, as far as they are known.
        costs: of the jobs that made the system's ranking.
    """
    dataset, docid, recipe = experiment.split("/")
    row: Row = dict.fromkeys(COLUMNS)
    row |= {"dataset": dataset, "variant": variant, "docid": docid, "recipe": recipe, "system": system}
    row["protocol"] = metrics["protocol"]
    groups = metrics["groups"]
    row |= {"n_queries": groups["all"]["n_queries"]} | {name: groups["all"][name] for name in MEASURES}
    for name in MEASURES:
        row[f"{name}_low"], row[f"{name}_high"] = groups["all"]["intervals"][name] or (None, None)
    for group in ("seen", "unseen"):
        row[f"n_{group}"] = groups[group]["n_queries"]
        row |= {f"{name}_{group}": groups[group][name] for name in ("MRR@10", "R@10")}
    for test in comparison["comparisons"]:
        if test["system"] == system and test["measure"] == "MRR@10" and test["baseline"] in TESTED_AGAINST:
            row[f"p_vs_{test['baseline']}"] = test["p"]
            row[f"p_randomisation_vs_{test['baseline']}"] = test["p_randomisation"]
    for difference in published:
        row[f"paper_{difference.measure}"] = difference.theirs
        row[f"verdict_{difference.measure}"] = difference.verdict
    row |= {name: value for name, value in efficiency.items() if name in COLUMNS}
    names = ("training_seconds", "training_gpu_seconds", "training_gpu_wh")
    row |= dict(zip(names, training_cost(costs), strict=True))
    row["seconds"], row["peak_mib"] = cost(costs)
    return row


def correct(rows: Sequence[Row]) -> list[Row]:
    """Return ``rows`` with Holm's correction of the t-tests: one family of all tests of the table.

    The same two systems of an experiment are one test, whichever of them the row is about.
    """
    tests: dict[tuple, float] = {}

    def key(row: Row, baseline: str) -> tuple:
        return row["dataset"], row["docid"], row["recipe"], frozenset((row["system"], baseline))

    for row in rows:
        tests |= {key(row, name): row[f"p_vs_{name}"] for name in TESTED_AGAINST if row[f"p_vs_{name}"] is not None}
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    return [row | {f"p_holm_vs_{name}": corrected.get(key(row, name)) for name in TESTED_AGAINST} for row in rows]


def to_csv(rows: Sequence[Row]) -> str:
    """Return ``rows`` as CSV: measures and p with six digits, times and sizes with one decimal; None is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_csv_cell(name, row[name]) for name in COLUMNS])
    return text.getvalue()


def summary_tables(
    rows: Sequence[Row],
    published: Mapping[tuple[str, str], Sequence[Difference]],
    slices: Mapping[tuple[str, str], Mapping[str, Sequence[Mapping[str, Any]]]],
    costs: Iterable[JobCost],
) -> list[Table]:
    """Return what a person wants to see.

    Args:
        rows: of all experiments and systems.
        published: (experiment, system) -> what is published of it beside ours; those without are left out.
        slices: (experiment, system) -> the ``slices`` that evaluate.py wrote.
        costs: of all jobs.
    """

    def select(title: str, note: str, *columns: str) -> Table:
        header = ("experiment", "system", *columns)
        named = ({**row, "experiment": f"{row['dataset']}/{row['docid']}/{row['recipe']}"} for row in rows)
        return Table(title, note, header, [[_cell(name, row[name]) for name in header] for row in named])

    protocols = "; ".join(
        f"{name}: {note}" for name, note in NOTES.items() if name in {row["protocol"] for row in rows}
    )
    numbers = ("seconds", "cpu_seconds", "peak_mib", "gpu_seconds", "gpu_wh")
    shown = [
        select("Measures", f"Means over the test queries. Protocol {protocols}.", "protocol", "n_queries", *MEASURES),
        _intervals(rows),
        select(
            "Significance",
            "Paired two-sided tests on MRR@10. p: t-test; p_holm: the same, corrected for the number of tests in this "
            "table (Holm); p_randomisation: Fisher's randomisation test.",
            *(f"{test}_vs_{baseline}" for baseline in TESTED_AGAINST for test in TESTS),
        ),
        select(
            "Seen and unseen queries",
            "Seen: a relevant document of the test query has a training query too. Unseen: none has.",
            *("n_seen", "MRR@10_seen", "R@10_seen", "n_unseen", "MRR@10_unseen", "R@10_unseen"),
        ),
        _slices(slices),
        select(
            "Efficiency",
            "Queries a second and milliseconds a query (median and 95th percentile of its share of a batch) of the "
            "beam search; index: the trie's arrays, or Lucene's folder; training: of the SFT stages and of DDRO, in "
            "seconds, and where they ran on GPUs in seconds and watt hours of these; seconds: of all jobs that made "
            "the system, one after another; peak_mib: memory of the largest.",
            *("beams", "queries_per_s", "ms_median", "ms_p95", "index_mib", "model_mib", "device"),
            *("training_seconds", "training_gpu_seconds", "training_gpu_wh", "seconds", "peak_mib"),
        ),
        Table(
            "Stages",
            "Wall-clock seconds, CPU seconds and peak memory of each job, and what a training took of GPUs; - where it "
            "isn't known, or there was none.",
            ("where", "stage", *numbers),
            [[job.where, job.name, *(_cell(name, getattr(job, name)) for name in numbers)] for job in costs],
        ),
    ]
    if published:
        shown.insert(2, _published(published))
    if unmoved := [[job.where, job.name] for job in costs if job.kept_step == 0]:
        note = (
            "These trainings end with the model that they began with, since no validation of theirs was better: what "
            "they learn doesn't help the validation queries. Lower the rate, change the data, or leave them out."
        )
        shown.insert(1, Table("Trainings that gained nothing", note, ("where", "stage"), unmoved))
    return shown


def _intervals(rows: Sequence[Row]) -> Table:
    names = ("MRR@10", "R@1", "R@10", "nDCG@10")
    cells = [
        [f"{row['dataset']}/{row['docid']}/{row['recipe']}", str(row["system"])]
        + [f"{row[f'{name}_low']:.3f} to {row[f'{name}_high']:.3f}" for name in names]
        for row in rows
        if row["n_queries"] > 1
    ]
    note = "How far the means depend on which queries were drawn: percentile bootstrap over the queries."
    return Table("95 % intervals", note, ("experiment", "system", *names), cells)


def _published(published: Mapping[tuple[str, str], Sequence[Difference]]) -> Table:
    header = ("experiment", "system", "measure", "ours", "paper", "difference", "verdict")
    cells = [
        [*key, line.measure, f"{100 * line.ours:.2f}", f"{100 * line.theirs:.2f}", f"{line.points:+.2f}", line.verdict]
        for key, lines in published.items()
        for line in lines
    ]
    note = "In percent; the difference in points. The bounds of OK and close stand in config/expected.yaml."
    return Table("Beside the paper", note, header, cells)


def _slices(slices: Mapping[tuple[str, str], Mapping[str, Sequence[Mapping[str, Any]]]]) -> Table:
    names = ("MRR@10", "R@10")
    cells = [
        [*key, column.replace("_", " "), part["slice"], str(part["n_queries"])]
        + [_cell(name, part[name]) for name in names]
        for key, columns in slices.items()
        for column, parts in columns.items()
        for part in parts
        if part["n_queries"]
    ]
    note = "By the number of a query's relevant documents, and by its words; few queries, wide intervals."
    return Table("Slices of the queries", note, ("experiment", "system", "of", "slice", "n_queries", *names), cells)


def _cell(name: str, value: str | int | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if name in _WHOLE_NUMBERS:
        return f"{value:.0f}"
    if name in _ONE_DECIMAL:
        return f"{value:.1f}"
    if name.startswith("p_") and value < 0.0001:
        return "<0.0001"
    return f"{value:.4f}"


def _csv_cell(name: str, value: str | int | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int):
        return str(value)
    return f"{value:.1f}" if name in (*_ONE_DECIMAL, "peak_mib") else f"{value:.6g}"
