"""The picture of the pipeline: what ``snakemake --rulegraph`` prints, as lanes of rules, one lane per chapter.

Rules stand in rows so that every arrow points down; arrows run in the gaps between rows and lanes, never behind a box.
All arrows from one rule share a line, coloured like the rule. Lengths are in inches of the figure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import networkx as nx

from ddro.core.command import UserError

Point = tuple[float, float]

BOX_WIDTH, BOX_HEIGHT = 1.86, 0.34
LINE_GAP, MARGIN, CORNER = 0.075, 0.13, 0.07
"""Distance of parallel lines, of lines and boxes, and the radius of a bend."""


class Layout(NamedTuple):
    """Where everything is; y grows downwards from 0 at the top of the first row."""

    boxes: dict[str, Point]
    """The centre of each rule."""
    lanes: list[tuple[float, float]]
    """The left and right end of each chapter's lane."""
    arrows: dict[tuple[str, str], list[Point]]
    """The corners of each arrow, from the lower side of a box to the upper side of another."""
    height: float


def parse_dot(text: str) -> nx.DiGraph:
    """Return the graph of rule names that ``snakemake --rulegraph`` prints; lines that are no node or edge are ignored.

    Raises:
        UserError: no node, an edge between unknown nodes, or a cycle of several rules.
    """
    names = dict(re.findall(r'^\s*(\d+)\[label = "([^"\\]*)', text, flags=re.MULTILINE))
    edges = re.findall(r"^\s*(\d+) -> (\d+)", text, flags=re.MULTILINE)
    if not names:
        raise UserError("the rule graph has no rule. Give what `snakemake --rulegraph` prints.")
    unknown = {node for edge in edges for node in edge} - set(names)
    if unknown:
        raise UserError(f"the rule graph is cut off: node {min(unknown)} has arrows and no name.")
    graph = nx.DiGraph()
    graph.add_nodes_from(sorted(names.values()))
    graph.add_edges_from(sorted((names[source], names[target]) for source, target in edges))
    cycles = [cycle for cycle in nx.simple_cycles(graph) if len(cycle) > 1]
    if cycles:
        raise UserError(f"the rules {', '.join(sorted(cycles[0]))} need each other, so they have no order.")
    return graph


def rules_of(snakefile: str) -> list[str]:
    """Return the names of the rules that the text of a Snakemake file defines."""
    return re.findall(r"^(?:rule|checkpoint|use rule .* as)\s+(\w+)\s*(?::|with)", snakefile, flags=re.MULTILINE)


def read_chapters(paths: Iterable[Path]) -> dict[str, list[str]]:
    """Return the rules of each file by its name without suffix, in the given order; a file without rules has none."""
    chapters = {path.stem: rules_of(path.read_text(encoding="utf-8")) for path in paths}
    return {chapter: rules for chapter, rules in chapters.items() if rules}


def essential(graph: nx.DiGraph) -> nx.DiGraph:
    """Return the graph without loops and without arrows that a longer way implies (the transitive reduction)."""
    simple = graph.copy()
    simple.remove_edges_from(list(nx.selfloop_edges(graph)))
    return nx.transitive_reduction(simple)


def place(graph: nx.DiGraph, lane_of: Mapping[str, int]) -> dict[str, int]:
    """Return the row of each rule, counted from 0: below all that it needs, and alone in its lane.

    Who has the longest way to the end (then: from the beginning) chooses first, so the main path stays straight. A rule
    that needs nothing stands as low as its first user lets it, but in the first lane, where the story begins.
    """
    to_end: dict[str, int] = {}
    for rule in reversed(list(nx.topological_sort(graph))):
        to_end[rule] = 1 + max((to_end[user] for user in graph.succ[rule]), default=0)
    depth = {rule: level for level, rules in enumerate(nx.topological_generations(graph)) for rule in rules}
    late = [rule for rule in graph if not graph.pred[rule] and graph.succ[rule] and lane_of[rule] > 0]
    rows: dict[str, int] = {}
    taken: set[tuple[int, int]] = set()

    def settle(rule: str, row: int, step: int) -> None:
        while (lane_of[rule], row) in taken:
            row += step
        rows[rule] = row
        taken.add((lane_of[rule], row))

    for rule in sorted(set(graph) - set(late), key=lambda rule: (-to_end[rule], -depth[rule], rule)):
        settle(rule, max((rows[need] + 1 for need in graph.pred[rule] if need in rows), default=0), 1)
    for rule in sorted(late):
        settle(rule, min(rows[user] for user in graph.succ[rule]) - 1, -1)
    first = min(rows.values())
    return {rule: row - first for rule, row in rows.items()}


class _Way(NamedTuple):
    """How an arrow runs: through the gap below the row ``row`` and, unless that leads to its end, down a gutter.

    Gutter g is left of lane g. ``side`` is where it enters its end: -1 left of the middle, 0 in the middle, 1 right.
    """

    source: str
    target: str
    row: int
    gutter: int | None
    last_row: int
    side: int


def arrange(graph: nx.DiGraph, lane_of: Mapping[str, int]) -> Layout:
    """Place the rules of an acyclic graph in rows and lanes and lead its arrows around the boxes."""
    rows = place(graph, lane_of)
    ways = [_way(source, target, rows, lane_of) for source, target in sorted(graph.edges)]
    lanes, depth = max(lane_of.values()) + 1, max(rows.values()) + 1

    # Which of the parallel lines of a gap each arrow takes. To tell who would overlap, positions along a gap in halves
    # of a lane are enough: lane l is at 2l + 1, gutter g at 2g.
    trunks: dict[int, dict] = {row: {} for row in range(depth)}
    shafts: dict[int, dict] = {gutter: {} for gutter in range(lanes + 1)}
    for way in ways:
        start, end = 2 * lane_of[way.source] + 1, 2 * lane_of[way.target] + 1 + 0.4 * way.side
        _extend(trunks[way.row], way.source, start, end if way.gutter is None else 2 * way.gutter)
        if way.gutter is not None:
            _extend(shafts[way.gutter], way.source, way.row, way.last_row)
            _extend(trunks[way.last_row], (way.source, way.target), 2 * way.gutter, end)
    trunk_lines = {row: _lines(spans) for row, spans in trunks.items()}
    shaft_lines = {gutter: _lines(spans) for gutter, spans in shafts.items()}

    def gap(lines: Mapping, least: float) -> float:
        return max(least, 2 * MARGIN + LINE_GAP * max(lines.values(), default=0))

    edges, middles, x = [], [], 0.0
    for lane in range(lanes):
        x += gap(shaft_lines[lane], 0.24)
        edges.append((x, x + BOX_WIDTH))
        x += BOX_WIDTH
    tops, y = [], 0.0
    for row in range(depth):
        tops.append(y)
        y += BOX_HEIGHT + gap(trunk_lines[row], 0.3)
    middles = [(left + right) / 2 for left, right in edges]
    boxes = {rule: (middles[lane_of[rule]], tops[rows[rule]] + BOX_HEIGHT / 2) for rule in graph}

    def trunk_y(row: int, key: object) -> float:
        return tops[row] + BOX_HEIGHT + MARGIN + LINE_GAP * trunk_lines[row][key]

    def shaft_x(gutter: int, key: object) -> float:
        right = edges[gutter][0] if gutter < lanes else edges[-1][1] + gap(shaft_lines[gutter], 0.24)
        return right - MARGIN - LINE_GAP * shaft_lines[gutter][key]

    ports = _ports(ways, boxes)
    arrows = {}
    for way in ways:
        (start_x, start_y), (_, end_y) = boxes[way.source], boxes[way.target]
        end_x, y = ports[way.source, way.target], trunk_y(way.row, way.source)
        corners = [(start_x, start_y + BOX_HEIGHT / 2), (start_x, y)]
        if way.gutter is not None:
            x, last_y = shaft_x(way.gutter, way.source), trunk_y(way.last_row, (way.source, way.target))
            corners += [(x, y), (x, last_y), (end_x, last_y)]
        else:
            corners.append((end_x, y))
        arrows[way.source, way.target] = [*corners, (end_x, end_y - BOX_HEIGHT / 2)]
    return Layout(boxes, edges, arrows, tops[-1] + BOX_HEIGHT)


def _way(source: str, target: str, rows: Mapping[str, int], lane_of: Mapping[str, int]) -> _Way:
    row, last_row, here, there = rows[source], rows[target] - 1, lane_of[source], lane_of[target]
    if row == last_row:
        return _Way(source, target, row, None, last_row, (here > there) - (here < there))
    side = 1 if here > there else -1
    return _Way(source, target, row, there + (side > 0), last_row, side)


def _extend(spans: dict, key: object, start: float, end: float) -> None:
    low, high = spans.get(key, (start, start))
    spans[key] = (min(low, start, end), max(high, start, end))


def _lines(spans: Mapping[object, tuple[float, float]]) -> dict[object, int]:
    """Give each span the first line on which it meets no other."""
    lines: dict[object, int] = {}
    for key, (low, high) in sorted(spans.items(), key=lambda item: (item[1], str(item[0]))):
        used = {lines[other] for other in lines if spans[other][0] <= high and low <= spans[other][1]}
        lines[key] = next(line for line in range(len(lines) + 1) if line not in used)
    return lines


def _ports(ways: Sequence[_Way], boxes: Mapping[str, Point]) -> dict[tuple[str, str], float]:
    """Return where along its box each arrow ends: beside each other, those from the left on the left."""
    ports = {}
    for target in {way.target for way in ways}:
        for side in (-1, 0, 1):
            # On either side the arrow from the nearest rule enters nearest to the middle.
            own = [way for way in ways if way.target == target and way.side == side]
            own.sort(key=lambda way: (abs(boxes[way.source][0] - boxes[target][0]), way.source))
            for place, way in enumerate(own, start=1):
                ports[way.source, target] = boxes[target][0] + side * place * 2 * LINE_GAP
    return ports
