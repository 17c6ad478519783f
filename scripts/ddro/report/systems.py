"""What the summary opens with: all systems of a data set in the form of the paper's table, and a picture of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ddro.report.figures import QUIET, STYLE, TRAIN, VALIDATION
from ddro.report.html import Table

NAMES = {"bm25": "BM25", "doct5query": "DocT5Query", "dense": "dense", "sft": "SFT", "ddro": "DDRO"}
COLOURS = {"SFT": TRAIN, "DDRO": VALIDATION}
MEASURES = ("R@1", "R@5", "R@10", "MRR@10")


class SystemResult(NamedTuple):
    """A system of a data set: its name, ``BM25`` or ``DDRO (PQ)``, and its row of the summary."""

    dataset: str
    name: str
    row: Mapping[str, Any]


def list_systems(rows: Sequence[Mapping[str, Any]]) -> list[SystemResult]:
    """Each system of each data set once: first those without docids, then SFT and DDRO of each experiment.

    ``rows`` are those of `summary.summary_row`. What is equal in several experiments, as BM25 is, is listed once. The
    recipe is part of a name where a data set has several.
    """
    recipes: dict[str, set[str]] = {}
    for row in rows:
        recipes.setdefault(row["dataset"], set()).add(row["recipe"])
    found = []
    for dataset in recipes:
        systems: dict[tuple[Any, ...], SystemResult] = {}
        for row in (row for row in rows if row["dataset"] == dataset):
            inside = [row["docid"].upper()] if row["system"] in ("sft", "ddro") else []
            inside += [row["recipe"]] if inside and len(recipes[dataset]) > 1 else []
            name = NAMES[row["system"]] + (f" ({', '.join(inside)})" if inside else "")
            same = name, row["protocol"], *(row[measure] for measure in MEASURES)
            systems.setdefault(same, SystemResult(dataset, name, row))
        found += sorted(systems.values(), key=lambda system: system.row["system"] in ("sft", "ddro"))
    return found


def papers_table(systems: Sequence[SystemResult]) -> Table:
    """The paper's table: R@1, R@5, R@10 and MRR@10 in percent; and the interval and the p of MRR@10."""
    note = (
        "Means over the test queries, in percent, and the 95 % interval of MRR@10. p: paired t-test of MRR@10 against "
        "SFT of the same docids and recipe, and against BM25. The picture is systems.svg."
    )
    header = ("dataset", "system", *MEASURES, "interval", "p, SFT", "p, BM25")
    rows = []
    for dataset, name, row in systems:
        interval = "-" if row["MRR@10_low"] is None else " to ".join(f"{100 * end:.1f}" for end in _interval(row))
        # Of what has no docids p against SFT would be another for each scheme.
        tests = [row["p_vs_sft"] if row["system"] in ("sft", "ddro") else None, row["p_vs_bm25"]]
        rows.append([dataset, name, *(f"{100 * row[measure]:.2f}" for measure in MEASURES), interval, *map(_p, tests)])
    return Table("Results", note, header, rows)


@plt.rc_context(STYLE)
def systems_figure(systems: Sequence[SystemResult]) -> Figure:
    """Draw MRR@10 of each system with its interval, a panel for each data set; the best system is at the top."""
    datasets = list(dict.fromkeys(system.dataset for system in systems))
    most = max(sum(system.dataset == dataset for system in systems) for dataset in datasets)
    size = (4.4 * len(datasets), 0.9 + 0.36 * most)
    figure, panels = plt.subplots(1, len(datasets), figsize=size, squeeze=False, layout="constrained")
    for panel, dataset in zip(panels[0], datasets, strict=True):
        shown = sorted((one for one in systems if one.dataset == dataset), key=lambda one: one.row["MRR@10"])
        for height, (_, name, row) in enumerate(shown):
            mean, (low, high) = row["MRR@10"], _interval(row)
            colour = COLOURS.get(name.split(" ")[0], QUIET)
            # The ends of a bootstrap interval may lie on one side of the mean by a rounding.
            around = [[max(mean - low, 0.0)], [max(high - mean, 0.0)]]
            panel.errorbar([mean], [height], xerr=around, fmt="o", color=colour, capsize=3)
            panel.annotate(f"{mean:.3f}", (mean, height), (0, 6), textcoords="offset points", ha="center", fontsize=8)
        panel.set_yticks(range(len(shown)), [one.name for one in shown])
        panel.set(title=dataset, xlabel="MRR@10, test queries", ylim=(-0.6, len(shown) - 0.3))
        panel.grid(visible=False, axis="y")
    return figure


def _interval(row: Mapping[str, Any]) -> tuple[float, float]:
    """The ends of the interval of MRR@10; the mean itself where one query makes no interval."""
    return tuple(row["MRR@10"] if row[f"MRR@10_{end}"] is None else row[f"MRR@10_{end}"] for end in ("low", "high"))


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
