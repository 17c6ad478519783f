"""The figure of a docid report."""

from __future__ import annotations

import math
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ddro.report.figures import QUIET, STYLE, TRAIN, VALIDATION


@plt.rc_context(STYLE)
def docid_figure(report: dict[str, Any]) -> Figure:
    """Draw the documents that share a docid by the size of their group and, where there are codes, their entropy."""
    has_codes = "entropy_bits" in report
    figure, panels = plt.subplots(
        1, 2 if has_codes else 1, figsize=(8.4 if has_codes else 4.5, 3.1), squeeze=False, layout="constrained"
    )
    _draw_collisions(panels[0, 0], report)
    if has_codes:
        _draw_entropy(panels[0, 1], report)
    return figure


def _draw_collisions(panel: Axes, report: dict[str, Any]) -> None:
    collisions = report["collisions"]
    groups = {int(size): count for size, count in collisions["groups_of_size"].items()}
    share = collisions["documents"] / report["documents"]
    panel.set(
        title=f"{collisions['documents']} of {report['documents']} documents share a docid ({100 * share:.1f} %)",
        xlabel="documents of the same docid",
        ylabel="docids",
    )
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    if not groups:
        panel.text(0.5, 0.5, "none", transform=panel.transAxes, horizontalalignment="center", color=QUIET)
        return
    panel.bar(list(groups), list(groups.values()), color=TRAIN)
    if max(groups.values()) > 100:
        panel.set_yscale("log")
    panel.set_xlim(1, max(groups) + 1)


def _draw_entropy(panel: Axes, report: dict[str, Any]) -> None:
    entropy, most = report["entropy_bits"], math.log2(report["centroids"])
    panel.bar(range(len(entropy)), entropy, color=TRAIN)
    panel.axhline(most, color=VALIDATION, linewidth=1.2)
    panel.set(
        title=f"{100 * report['relative_distortion']:.1f} % of the variance is lost",
        xlabel="position in the docid",
        ylabel=f"entropy of the codes (at most {most:g} bits)",
        ylim=(0, 1.12 * most),
    )
    panel.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
