"""Tables for people: as Markdown that lines up on a terminal, and as an HTML page."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from typing import NamedTuple

TEXT_COLUMNS = (
    *("experiment", "system", "protocol", "where", "stage", "measure", "verdict", "device", "of", "slice"),
    *("dataset", "variant", "published", "what", "lines"),
)
"""To the left; all others are numbers, to the right."""


class Table(NamedTuple):
    """``rows`` are the cells of ``header``, formatted; - is unknown."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: list[list[str]]


def to_markdown(heading: str, tables: Iterable[Table]) -> str:
    """Return the tables as Markdown whose columns line up on a terminal: text to the left, numbers to the right."""
    lines = [f"# {heading}", ""]
    for table in tables:
        widths = [max(map(len, column)) for column in zip(table.header, *table.rows, strict=True)]
        rules = [
            "-" * width if name in TEXT_COLUMNS else "-" * (width - 1) + ":"
            for name, width in zip(table.header, widths, strict=True)
        ]
        lines += [f"## {table.title}", "", textwrap.fill(table.note, 110), ""]
        for cells in (table.header, rules, *table.rows):
            aligned = (
                cell.ljust(width) if name in TEXT_COLUMNS else cell.rjust(width)
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
        row += f"<{tag} class={'text' if name in TEXT_COLUMNS else 'number'}>{html.escape(cell)}</{tag}>"
    return f"<tr>{row}</tr>"
