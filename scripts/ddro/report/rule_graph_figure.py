"""Draws what rulegraph.py has arranged."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import networkx as nx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon, Rectangle
from matplotlib.path import Path

from ddro.report.figures import STYLE, TEXT
from ddro.report.rule_graph import BOX_HEIGHT, BOX_WIDTH, CORNER, MARGIN, Point, arrange, essential

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#5B5F66")
"""The palette of Okabe and Ito without its yellow and black, and a grey."""

HEADER, HEADER_GAP, FOOTER, TIP = 0.3, 0.22, 0.4, 0.09
LANE, LANE_EDGE = "#f6f8fa", 0.05
TINT = 0.82
"""How much white is in the filling of a box."""


@plt.rc_context(STYLE)
def rulegraph_figure(graph: nx.DiGraph, chapters: Mapping[str, Sequence[str]], experiments: Sequence[str]) -> Figure:
    """Draw the rules of ``graph`` in the lanes of their chapters; rules of no chapter stand in the last lane, in white.

    A rule with an arrow to itself in ``graph`` has a small loop at its right side. The names of the experiments that
    the rules run for stand below the lanes.
    """
    present = {name: [rule for rule in rules if rule in graph] for name, rules in chapters.items()}
    present = {name: rules for name, rules in present.items() if rules} or {"": []}
    lane_of = dict.fromkeys(graph, len(present) - 1)
    lane_of |= {rule: lane for lane, rules in enumerate(present.values()) for rule in rules}
    layout = arrange(essential(graph), lane_of)
    colours = [COLOURS[lane % len(COLOURS)] for lane in range(len(present))]
    colour_of = dict.fromkeys(graph, TEXT) | {rule: colours[lane_of[rule]] for own in present.values() for rule in own}

    width, top = layout.lanes[-1][1] + 2 * MARGIN, -HEADER - HEADER_GAP
    bottom = layout.height + MARGIN
    figure = plt.figure(figsize=(width, bottom + FOOTER - top))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(bottom + FOOTER, top), aspect="equal")
    axes.axis("off")
    for (left, right), name, colour in zip(layout.lanes, present, colours, strict=True):
        left, right = left - LANE_EDGE, right + LANE_EDGE
        axes.add_patch(Rectangle((left, top), right - left, HEADER, facecolor=colour, linewidth=0))
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, facecolor=LANE, linewidth=0, zorder=0))
        style = {"ha": "center", "va": "center_baseline", "color": "white", "weight": "bold", "size": 11}
        axes.text((left + right) / 2, top + HEADER / 2, name.replace("_", " "), **style)
    line = "Experiments:  " + "   ·   ".join(experiments)
    axes.text(layout.lanes[0][0], bottom + FOOTER / 2, line, va="center_baseline", size=9, color=TEXT)
    for rule in sorted(graph, reverse=True):
        own = [corners for (source, _), corners in layout.arrows.items() if source == rule]
        _draw_arrows(axes, own, colour_of[rule])
    for rule, (x, y) in layout.boxes.items():
        if graph.has_edge(rule, rule):
            _draw_loop(axes, (x + BOX_WIDTH / 2, y), colour_of[rule])
        _draw_box(axes, (x, y), rule, colour_of[rule])
    return figure


def _draw_box(axes: Axes, middle: Point, rule: str, colour: str) -> None:
    x, y = middle[0] - BOX_WIDTH / 2, middle[1] - BOX_HEIGHT / 2
    red, green, blue = (round(TINT + (1 - TINT) * int(colour[i : i + 2], 16) / 255, 4) for i in (1, 3, 5))
    style = {"facecolor": (red, green, blue) if colour != TEXT else "white", "edgecolor": colour, "linewidth": 1.2}
    axes.add_patch(FancyBboxPatch((x, y), BOX_WIDTH, BOX_HEIGHT, "round,pad=0,rounding_size=0.07", zorder=3, **style))
    axes.text(*middle, rule, ha="center", va="center_baseline", size=9, color=TEXT, zorder=4)


def _draw_arrows(axes: Axes, arrows: Sequence[Sequence[Point]], colour: str) -> None:
    """Draw the arrows of one rule; where they cross another's, a white edge shows which of the lines goes on."""
    ways = [_round_bends([*corners[:-1], (corners[-1][0], corners[-1][1] - TIP / 2)]) for corners in arrows]
    for way in ways:
        axes.add_patch(PathPatch(way, fill=False, edgecolor="white", linewidth=4))
    for way in ways:
        axes.add_patch(PathPatch(way, fill=False, edgecolor=colour, linewidth=1.3))
    for *_, (x, y) in arrows:
        tip = [(x, y), (x - TIP / 2, y - TIP), (x + TIP / 2, y - TIP)]
        axes.add_patch(Polygon(tip, facecolor=colour, linewidth=0, zorder=2))


def _round_bends(corners: Sequence[Point]) -> Path:
    points, codes = [corners[0]], [Path.MOVETO]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        bend = min(CORNER, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
        points += [_towards(corner, before, bend), corner, _towards(corner, after, bend)]
        codes += [Path.LINETO, Path.CURVE3, Path.CURVE3]
    return Path([*points, corners[-1]], [*codes, Path.LINETO])


def _towards(start: Point, end: Point, length: float) -> Point:
    share = length / math.dist(start, end) if start != end else 0
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _draw_loop(axes: Axes, side: Point, colour: str) -> None:
    x, y = side
    loop = Path(
        [(x - 0.05, y - 0.1), (x + 0.2, y - 0.16), (x + 0.2, y + 0.16), (x - 0.05, y + 0.1)],
        [Path.MOVETO, Path.CURVE4, Path.CURVE4, Path.CURVE4],
    )
    axes.add_patch(PathPatch(loop, fill=False, edgecolor=colour, linewidth=1.3))
