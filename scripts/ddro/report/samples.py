"""Sample queries with what each system ranks first, side by side, as a page that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ddro.report.html import page


class Sample(NamedTuple):
    """A query, its relevant documents, and the first documents of each system."""

    text: str
    group: str
    relevant: frozenset[str]
    rankings: Mapping[str, Sequence[str]]
    ranks: Mapping[str, int | None]
    """The rank of the first relevant document, None if it isn't ranked."""


def first_relevant(ranking: Sequence[str], relevant: frozenset[str]) -> int | None:
    """The rank of the first relevant document, counted from 1."""
    return next((rank for rank, docno in enumerate(ranking, 1) if docno in relevant), None)


def samples_page(samples: Sequence[Sample], titles: Mapping[str, str], depth: int) -> str:
    """The page: a section for each sample, a column for each system, a row for each rank up to ``depth``."""
    parts = [
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
        parts.append(f"<table class='samples'>\n<thead><tr><th></th>{''.join(heads)}</tr></thead>\n<tbody>")
        for place in range(depth):
            cells = (_cell(ranking, place, sample.relevant, titles) for ranking in sample.rankings.values())
            parts.append(f"<tr><td>{place + 1}</td>{''.join(cells)}</tr>")
        parts.append("</tbody>\n</table>")
    return page("Sample queries", "\n".join(parts))


def _cell(ranking: Sequence[str], place: int, relevant: frozenset[str], titles: Mapping[str, str]) -> str:
    if place >= len(ranking):
        return "<td></td>"
    docno = ranking[place]
    mark = ' class="relevant"' if docno in relevant else ""
    return f"<td{mark}><b>{html.escape(docno)}</b><small>{html.escape(titles[docno])}</small></td>"
