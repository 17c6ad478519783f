"""Which settings were changed, one at a time, and a figure of what that did."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ddro.report.figures import QUIET, STYLE, TRAIN

Point = tuple[float, float, float]
"""A mean and the ends of its interval."""

Panels = dict[str, dict[str, Point]]


def panels_of(measured: Mapping[tuple[str, str, str, str], Point]) -> tuple[Point, Panels]:
    """Sort what was measured into panels.

    Args:
        measured: (dataset, docid, recipe, system) -> MRR@10; the first data set, docid and recipe are the base.

    Returns:
        DDRO of the base; and panel -> value -> DDRO with this change. A recipe ``beta-0.2`` is the value 0.2 of the
        panel beta; a recipe of another name, or another data set, is a value of the panel other. Another docid scheme
        is one of the panel docid. SFT of the base is the value ddro of the panel without.
    """
    base = next(iter(measured))[:3]
    panels: Panels = {}
    for (dataset, docid, recipe, system), point in measured.items():
        if (dataset, docid, recipe) == base:
            if system == "sft":
                panels.setdefault("without", {})["ddro"] = point
        elif system == "ddro":
            panel, _, value = recipe.partition("-")
            if dataset != base[0] or (docid != base[1] and recipe != base[2]):
                panel, value = "other", f"{dataset}/{docid}/{recipe}"
            elif docid != base[1]:
                panel, value = "docid", docid
            elif not value:
                panel, value = "other", recipe
            panels.setdefault(panel, {})[value] = point
    return measured[(*base, "ddro")], panels


@plt.rc_context(STYLE)
def ablation_figure(base: Point, panels: Panels) -> Figure:
    """Draw each panel's values side by side with their intervals, over the line and the band of the base."""
    widths = [len(points) + 0.8 for points in panels.values()]
    figure, row = plt.subplots(
        1,
        len(panels),
        figsize=(1.0 + 0.75 * sum(widths), 3.6),
        sharey=True,
        squeeze=False,
        width_ratios=widths,
        layout="constrained",
    )
    for axes, (panel, points) in zip(row[0], panels.items(), strict=True):
        means, lows, highs = zip(*points.values(), strict=True)
        below, above = ([abs(mean - end) for mean, end in zip(means, ends, strict=True)] for ends in (lows, highs))
        axes.axhspan(base[1], base[2], color=QUIET, alpha=0.15, linewidth=0)
        axes.axhline(base[0], color=QUIET, linestyle="--", linewidth=1.2)
        axes.errorbar(range(len(means)), means, yerr=[below, above], fmt="o", color=TRAIN, capsize=3)
        axes.set_xticks(range(len(means)), [name.replace("_", " ") for name in points], rotation=35, ha="right")
        axes.set(title=panel, xlim=(-0.7, len(means) - 0.3))
    row[0][0].set_ylabel("MRR@10, test queries")
    row[0][0].set_ylim(bottom=0)
    return figure
