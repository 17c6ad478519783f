"""Sample queries with what each system ranks first, side by side, as a page that needs nothing else."""

from __future__ import annotations

import hashlib
import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 2rem auto; max-width: 78rem }
body { padding: 0 1rem } h2 { margin: 2.2rem 0 .1rem; font-size: 1.1rem } p { margin: .1rem 0 .6rem; color: #57606a }
table { border-collapse: collapse; table-layout: fixed; width: 100% } th { text-align: left }
th, td { padding: .35rem .6rem; vertical-align: top; border-bottom: 1px solid #d8dee4; overflow-wrap: anywhere }
th { border-bottom: 2px solid #57606a } td:first-child, th:first-child { width: 1.5rem; color: #57606a }
small { color: #57606a; display: block } .relevant { background: #dff3e4 } .relevant b::before { content: "✓ " }
"""


class Sample(NamedTuple):
    """A query, its relevant documents, and the first documents of each system."""

    text: str
    group: str
    relevant: frozenset[str]
    rankings: Mapping[str, Sequence[str]]
    ranks: Mapping[str, int | None]
    """The rank of the first relevant document, None if it isn't ranked."""


def choose(qids: Sequence[str], count: int) -> list[str]:
    """The ``count`` qids with the smallest hashes: the same each time, and nobody's choice."""
    return sorted(qids, key=lambda qid: hashlib.sha256(qid.encode()).digest())[:count]


def first_relevant(ranking: Sequence[str], relevant: frozenset[str]) -> int | None:
    """The rank of the first relevant document, counted from 1."""
    return next((rank for rank, docno in enumerate(ranking, 1) if docno in relevant), None)


def samples_page(samples: Sequence[Sample], titles: Mapping[str, str], depth: int) -> str:
    """The page: a section for each sample, a column for each system, a row for each rank up to ``depth``."""
    parts = [
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Sample queries</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>Sample queries</h1>\n"
        f"<p>{len(samples)} test queries, drawn by a hash, with the first {depth} documents of each system; "
        "a relevant one is green. Seen: a relevant document has a training query, too.</p>"
    ]
    for sample in samples:
        wanted = ", ".join(f"{docno} ({titles[docno]})" for docno in sorted(sample.relevant))
        parts.append(f"<h2>{html.escape(sample.text)}</h2>\n<p>{sample.group}; relevant: {html.escape(wanted)}</p>")
        heads = []
        for system, rank in sample.ranks.items():
            where = "not found" if rank is None else f"first relevant at rank {rank}"
            heads.append(f"<th>{html.escape(system)}<small>{where}</small></th>")
        parts.append(f"<table>\n<thead><tr><th></th>{''.join(heads)}</tr></thead>\n<tbody>")
        for place in range(depth):
            cells = (_cell(ranking, place, sample.relevant, titles) for ranking in sample.rankings.values())
            parts.append(f"<tr><td>{place + 1}</td>{''.join(cells)}</tr>")
        parts.append("</tbody>\n</table>")
    return "\n".join([*parts, "</body>\n</html>\n"])


def _cell(ranking: Sequence[str], place: int, relevant: frozenset[str], titles: Mapping[str, str]) -> str:
    if place >= len(ranking):
        return "<td></td>"
    docno = ranking[place]
    mark = ' class="relevant"' if docno in relevant else ""
    return f"<td{mark}><b>{html.escape(docno)}</b><small>{html.escape(titles[docno])}</small></td>"
