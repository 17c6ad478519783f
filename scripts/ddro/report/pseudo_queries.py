"""The page on pseudo queries: numbers of all of them, and the queries of some documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from ddro.report.html import page


def quality_page(numbers: Mapping[str, Any], samples: Iterable[tuple[str, str, list[str]]]) -> str:
    """The page; arguments as `doc2query.quality.quality` returns them."""
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td>"
        f'<td class="number">{value:{"d" if isinstance(value, int) else ".3f"}}</td></tr>'
        for name, value in numbers.items()
        if isinstance(value, int | float)
    )
    documents = "".join(
        f"<h2>{escape(docno)}</h2><p>{escape(title)}</p><ul>"
        + "".join(f"<li>{escape(text)}</li>" for text in texts)
        + "</ul>"
        for docno, title, texts in samples
    )
    return page("Pseudo queries", f"<table>{rows}</table>{documents}")
