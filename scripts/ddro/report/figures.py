"""Figures of training logs, pseudo queries and docids. Equal data are equal bytes: text is outlines, and no date."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ddro.core.files import write_whole
from ddro.training.log import Record, curve

Stages = Mapping[str, Sequence[Record]]

TRAIN, VALIDATION, TEXT, QUIET = "#0072B2", "#D55E00", "#1b1f24", "#8c959f"
"""Blue and vermilion of the palette of Okabe and Ito, told apart with any colour vision; and two greys."""

STAGE_COLOURS = {"pretrain": TRAIN, "search_pretrain": "#009E73", "finetune": "#CC79A7", "ddro": VALIDATION}
"""With the palette's green and purple."""

STYLE = {
    "svg.hashsalt": "ddro",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": TEXT,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": TEXT,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": TEXT,
    "ytick.labelcolor": TEXT,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4.5,
}


@plt.rc_context(STYLE)
def pseudo_query_figure(lengths: Mapping[int, int], ranks: Sequence[int]) -> Figure:
    """Draw how many pseudo queries have so many words, and the share whose document BM25 finds up to each rank."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.bar(list(lengths), list(lengths.values()), color=TRAIN)
    left.set(title="Length", xlabel="words", ylabel="queries")
    depths = range(1, 101)
    shares = [sum(0 < rank <= depth for rank in ranks) / max(len(ranks), 1) for depth in depths]
    right.plot(depths, shares, color=VALIDATION)
    right.set(title="Documents that BM25 finds", xlabel="up to rank", ylim=(0, 1), xscale="log")
    right.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


@plt.rc_context(STYLE)
def loss_figure(stages: Stages) -> Figure:
    """Draw the loss of every stage, of the training batches as a line and of the validation data as points."""
    figure, panels = _row_of_panels(len(stages), share_y=True)
    for panel, (stage, records) in zip(panels, stages.items(), strict=True):
        smoothed = any("label_smoothing" in record for record in records)
        training = "training, labels smoothed" if smoothed else "training"
        _draw(panel, records, {training: "loss", "validation": "eval_loss"})
        panel.set(title=_title(stage), xlabel="optimiser step")
    panels[0].set_ylabel("cross-entropy per token")
    panels[0].set_ylim(bottom=0)
    _legend(figure, panels)
    return figure


@plt.rc_context(STYLE)
def validation_mrr_figure(stages: Stages) -> Figure:
    """Draw MRR@10 on the validation queries from stage to stage; the last value of each stage is written beside it."""
    figure, panels = _row_of_panels(len(stages), share_y=True)
    for panel, (stage, records) in zip(panels, stages.items(), strict=True):
        steps, values = curve(records, "eval_mrr@10")
        panel.set(title=_title(stage), xlabel="optimiser step")
        if not steps:
            _say_nothing_logged(panel)
            continue
        panel.plot(steps, values, color=VALIDATION, marker="o")
        panel.set_xlim(left=0)
        panel.annotate(
            f"{values[-1]:.3f}",
            (steps[-1], values[-1]),
            xytext=(0, 8),
            textcoords="offset points",
            horizontalalignment="right",
            fontweight="bold",
            color=VALIDATION,
        )
    panels[0].set_ylabel("MRR@10, validation queries")
    panels[0].set_ylim(bottom=0)
    return figure


@plt.rc_context(STYLE)
def rewards_figure(records: Sequence[Record]) -> Figure:
    """Draw what DDRO's preference training logs: its loss, reward accuracy and reward margin."""
    figure, (loss, accuracy, margin) = _row_of_panels(3, share_y=False)
    for panel, name, title in (
        (loss, "loss", "Preference loss"),
        (accuracy, "rewards/accuracies", "Reward accuracy"),
        (margin, "rewards/margins", "Reward margin"),
    ):
        _draw(panel, records, {"training": name, "validation": f"eval_{name}"})
        panel.set(title=title, xlabel="optimiser step")
    _mark(loss, math.log(2), "ln 2: no preference")
    _mark(accuracy, 0.5, "chance")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _mark(margin, 0, "reference model")
    _legend(figure, (loss, accuracy, margin))
    return figure


@plt.rc_context(STYLE)
def rates_figure(stages: Stages) -> Figure:
    """Draw how fast each stage was, from its start to its end: examples, tokens, padding among them, and memory."""
    utilisation = any("mfu" in record for records in stages.values() for record in records)
    drawn = [("Examples", "examples_per_second", "a second"), ("Tokens", "tokens_per_second", "a second")]
    drawn += [("Padding", "padding", "share of tokens"), ("Memory", "memory_mib", "MiB")]
    drawn += [("Utilisation", "mfu", "share of the device's peak")] if utilisation else []
    figure, panels = _row_of_panels(len(drawn), share_y=False)
    for panel, (title, key, unit) in zip(panels, drawn, strict=True):
        for stage, records in stages.items():
            steps, values = curve(records, key)
            if steps:
                look = {"color": STAGE_COLOURS[stage], "marker": "o" if len(steps) == 1 else None}
                panel.plot([step / steps[-1] for step in steps], values, label=_title(stage), **look)
        if not panel.get_lines():
            _say_nothing_logged(panel)
        panel.set(title=title, xlabel="share of the stage", ylabel=unit)
        panel.set_xticks([0, 0.5, 1])
        panel.set_ylim(bottom=0)
    _legend(figure, panels)
    return figure


@plt.rc_context(STYLE)
def save_svg(figure: Figure, path: Path | str) -> None:
    """Write ``figure`` as SVG, the same bytes each time, and close it."""
    with write_whole(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.15)
    plt.close(figure)


def _row_of_panels(count: int, share_y: bool) -> tuple[Figure, Sequence[Axes]]:
    figure, panels = plt.subplots(
        1, count, figsize=(max(3.0 * count, 4.5), 3.1), sharey=share_y, squeeze=False, layout="constrained"
    )
    for panel in panels[0]:
        panel.margins(x=0.03, y=0.12)
        panel.xaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    return figure, panels[0]


def _draw(panel: Axes, records: Sequence[Record], keys: Mapping[str, str]) -> None:
    """Draw the training curve as a line and the validation curve as points joined by a line."""
    drawn = False
    for (label, key), colour in zip(keys.items(), (TRAIN, VALIDATION), strict=True):
        steps, values = curve(records, key)
        if steps:
            marker = "o" if label == "validation" or len(steps) == 1 else None
            panel.plot(steps, values, color=colour, marker=marker, label=label)
            drawn = True
    if not drawn:
        _say_nothing_logged(panel)


def _mark(panel: Axes, height: float, label: str) -> None:
    panel.axhline(height, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    panel.annotate(
        label,
        (0.99, height),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        horizontalalignment="right",
        fontsize=8,
        color=QUIET,
    )


def _legend(figure: Figure, panels: Sequence[Axes]) -> None:
    handles = {}
    for panel in panels:
        handles |= {line.get_label(): line for line in panel.get_legend_handles_labels()[0]}
    if handles:
        figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=2)


def _say_nothing_logged(panel: Axes) -> None:
    panel.text(0.5, 0.5, "not logged", transform=panel.transAxes, horizontalalignment="center", color=QUIET)


def _title(stage: str) -> str:
    return stage.upper() if stage == "ddro" else stage.replace("_", " ")


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
