"""The documents of MS MARCO's document ranking, as their file has them."""

from __future__ import annotations

from collections.abc import Iterator

from ddro.core.lines import SourceLines


def read_documents(lines: SourceLines) -> Iterator[tuple[str, str, str, str]]:
    """The docno, url, title and body of each line of msmarco-docs.tsv.gz; one that hasn't these is rejected."""
    for line in lines:
        fields = line.split("\t", 4)
        if len(fields) == 4:
            yield tuple(fields)
        else:
            lines.reject("not the 4 columns docno, url, title, body")
