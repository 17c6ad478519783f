"""What every reader of a data set ends in: three tables, and a report of what was found and what left out."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection as Container
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddro.core.command import UserError, log

if TYPE_CHECKING:  # so that --help is instant
    import pyarrow as pa

    from ddro.core.lines import SourceLines


def add_options(options: argparse.ArgumentParser) -> None:
    """Add the options that all readers have."""
    options.add_argument(
        "--max-invalid",
        type=float,
        default=0.001,
        help="stop above this share of invalid lines in a file, or of judgements of what isn't there (0.001)",
    )
    options.add_argument(
        "--expected", nargs="*", type=_count, default=[], metavar="NAME=COUNT", help="published counts, to compare with"
    )
    options.add_argument("--output", type=Path, required=True, help="folder for documents, queries and qrels (Parquet)")
    options.add_argument("--report", type=Path, required=True, help="JSON file for what was found and what left out")


def _count(text: str) -> tuple[str, int]:
    name, number = text.split("=")
    return name, int(number)


class Collection:
    """Queries and judgements as they are read; the documents, which are many, go to their file at once."""

    def __init__(self, tolerance: float) -> None:
        """``tolerance``: the share of invalid lines of a file, or of judgements of unknown documents or queries."""
        self.tolerance = tolerance
        self.sources: list[SourceLines] = []
        self.queries: dict[str, tuple[str, str]] = {}
        """qid -> text, kind."""
        self.judgements: dict[tuple[str, str], int] = {}
        """(qid, docno) -> relevance."""
        self.left_out: Counter = Counter()
        self.noted: Counter = Counter()
        """What is odd but kept."""

    def lines(self, path: Path) -> SourceLines:
        """The lines of a file, whose invalid ones the report will list."""
        from ddro.core.lines import SourceLines

        self.sources.append(SourceLines(path, self.tolerance, "max_invalid of the data set allows more."))
        return self.sources[-1]

    def write(
        self,
        output: Path,
        report: Path,
        variant: str,
        kept: Container[str],
        known: Container[str] | None = None,
        expected: Iterable[tuple[str, int]] = (),
    ) -> None:
        """Write queries, judgements and the report.

        Args:
            output: the folder of the tables; ``report``: the JSON file.
            variant: which of the published or possible forms of the data set this is, for the table of results.
            kept: the docnos that were written.
            known: the docnos that the source has, as far as they were looked for (default: those kept).
            expected: published counts by name.

        Raises:
            UserError: too many judgements of documents or queries that are not there.
        """
        from ddro.core.files import write_json
        from ddro.core.tables import QRELS, RAW_QUERIES

        known = kept if known is None else known
        columns: tuple[list[str], list[str], list[int]] = ([], [], [])  # a third of the memory that rows take
        unknown: Counter = Counter()
        example = ""
        for (qid, docno), relevance in self.judgements.items():
            if qid not in self.queries:
                unknown["judgements of a query that is not there"] += 1
            elif docno not in known:
                unknown["judgements of a document that is not there"] += 1
            elif docno not in kept:
                self.left_out[f"{self.queries[qid][1]} judgements of a document that is not kept"] += 1
            else:
                for column, value in zip(columns, (qid, docno, relevance), strict=True):
                    column.append(value)
            if unknown and not example:
                example = f"query {qid!r}, document {docno!r}"
        if unknown.total() > self.tolerance * len(self.judgements):
            described = ", ".join(f"{count} {reason}" for reason, count in unknown.most_common())
            raise UserError(
                f"{self._names()}: of {len(self.judgements)} judgements {described}, such as {example}: more than the "
                f"share {self.tolerance:g} that is tolerated. Do these files belong together? max_invalid of the data "
                "set allows more."
            )
        self.left_out += unknown
        _write_columns(output / "queries.parquet", RAW_QUERIES, ["qid"], self._query_columns())
        _write_columns(output / "qrels.parquet", QRELS, ["qid", "docno"], columns)
        kinds = Counter(kind for _, kind in self.queries.values())
        found = {"documents": len(kept), "queries": len(self.queries), "qrels": len(columns[0])}
        found |= {f"{kind}_queries": count for kind, count in sorted(kinds.items())}
        write_json(
            {
                "variant": variant,
                "found": found,
                "expected": compare(expected, found),
                "left_out": dict(+self.left_out),
                "noted": dict(+self.noted),
                "files": [source.report() for source in self.sources],
            },
            report,
        )
        log.info("%s: %s", variant, ", ".join(f"{count} {name}" for name, count in found.items()))
        for reason, count in sorted((+self.left_out).items()):
            log.info("left out: %d %s", count, reason)
        for remark, count in sorted((+self.noted).items()):
            log.info("kept: %d %s", count, remark)

    def _names(self) -> str:
        return ", ".join(str(source.path) for source in self.sources) or "those of the catalogue"

    def _query_columns(self) -> list[Iterable[Any]]:
        texts, kinds = zip(*self.queries.values(), strict=True) if self.queries else ((), ())
        return [list(self.queries), texts, kinds]


def judge(
    collection: Collection, texts: Mapping[str, str], judged: Mapping[str, Iterable[tuple[str, str, int]]]
) -> None:
    """Add the queries that are judged, with their kind, and their judgements.

    A query belongs to one kind: test before dev before train before others, so that none is trained on that tests.

    Args:
        texts: qid -> text, of all queries.
        judged: kind -> (qid, docno, relevance).
    """
    order = [kind for kind in ("test", "dev", "train") if kind in judged]
    for kind in [*order, *(kind for kind in judged if kind not in order)]:
        for qid, docno, relevance in judged[kind]:
            known = collection.queries.get(qid)
            if known and known[1] != kind:
                collection.left_out[f"{kind} judgements of a query that is in {known[1]}, too"] += 1
                continue
            collection.judgements[qid, docno] = relevance
            if texts.get(qid):
                collection.queries[qid] = (texts[qid], kind)
    collection.left_out["queries without a judgement"] = len(texts) - len(texts.keys() & collection.queries.keys())


def compare(expected: Iterable[tuple[str, int]], found: dict[str, int]) -> list[dict[str, Any]]:
    """Set published counts beside those found, each with its verdict: OK or differs."""
    rows = []
    for name, count in expected:
        verdict = "OK" if found.get(name) == count else "differs"
        rows.append({"name": name, "expected": count, "found": found.get(name, 0), "verdict": verdict})
        say = log.info if verdict == "OK" else log.warning
        say("%s: %d, published %d: %s", name, found.get(name, 0), count, verdict)
    return rows


def _write_columns(path: Path, schema: pa.Schema, unique: list[str], columns: Iterable[Iterable[Any]]) -> None:
    import pyarrow as pa

    from ddro.core.files import write_table

    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    write_table(pa.Table.from_arrays(arrays, schema=schema), path, schema, unique)
