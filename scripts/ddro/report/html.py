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


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff; margin: 2rem auto; padding: 0 1rem }
body { max-width: 84rem } h2 { margin: 2.2rem 0 .1rem; font-size: 1.1rem } p { margin: .1rem 0 .6rem; color: #57606a }
small, .empty, summary { color: #57606a } a { color: #0a58a0 } .error { color: #b3261e }
table { border-collapse: collapse } th, td { padding: .3rem .8rem; border-bottom: 1px solid #d8dee4; text-align: left }
th { border-bottom: 2px solid #57606a; font-weight: 600 } tbody tr:hover { background: #f3f6f9 }
.text, .number { white-space: nowrap }
.number { text-align: right; font-variant-numeric: tabular-nums }
.samples { table-layout: fixed; width: 100% } .samples td, .samples th { vertical-align: top; overflow-wrap: anywhere }
.samples small { display: block } .samples td:first-child, .samples th:first-child { width: 1.5rem; color: #57606a }
.relevant { background: #dff3e4 } .relevant b::before { content: "\u2713 " }
form { display: flex; gap: .5rem; margin: 1rem 0 } summary { cursor: pointer; font-size: 13px }
input[type=search] { flex: 1; font: inherit; padding: .5rem .7rem; border: 1px solid #8c959f; border-radius: 6px }
button { font: inherit; padding: .5rem 1.2rem; border: 0; border-radius: 6px; background: #0072b2; color: #fff }
main { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem }
main h2 { border-bottom: 2px solid #57606a; margin: .5rem 0 } main h2 small { font-weight: 400; float: right }
main ol { padding-left: 1.4rem; margin: 0 } main li { margin: 0 0 .9rem; overflow-wrap: anywhere }
.tokens { display: flex; flex-wrap: wrap; gap: .2rem; margin: .25rem 0; font: 12px/1.4 ui-monospace, monospace }
.tokens span { border-radius: 4px; padding: 0 .3rem; background: rgb(0 114 178 / var(--p)); border: 1px solid #d8dee4 }
"""
"""Of all pages: the summary, samples, pseudo queries, versions, and search."""


def page(title: str, body: str) -> str:
    """An HTML page that needs nothing else; ``body`` is HTML, ``title`` is text."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def to_html(heading: str, tables: Iterable[Table], picture: str = "") -> str:
    """Return the tables as one HTML page; the ``picture``, an SVG file's text, stands below the first of them."""
    parts = []
    for number, table in enumerate(tables):
        if number == 1 and picture:
            parts.append(picture[picture.index("<svg") :])  # without the declaration of an XML file
        parts.append(f"<h2>{html.escape(table.title)}</h2>\n<p>{html.escape(table.note)}</p>\n<table>")
        parts.append(f"<thead>{_html_row('th', table.header, table.header)}</thead>\n<tbody>")
        parts += [_html_row("td", table.header, row) for row in table.rows]
        parts.append("</tbody>\n</table>")
    return page(heading, "\n".join(parts))


def _html_row(tag: str, header: Sequence[str], cells: Sequence[str]) -> str:
    row = ""
    for name, cell in zip(header, cells, strict=True):
        row += f"<{tag} class={'text' if name in TEXT_COLUMNS else 'number'}>{html.escape(cell)}</{tag}>"
    return f"<tr>{row}</tr>"
