"""What the data sets of a run are, as tables for people: variant, counts, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ddro.report.html import Table

Report = Mapping[str, Any]


def data_set_tables(reports: Mapping[str, tuple[Report, Report]]) -> list[Table]:
    """Return a table of counts and, where anything was left out or is odd, one of that.

    Args:
        reports: data set -> its data_report.json (`Collection.write`) and its split_report.json.
    """
    counts = [_counts(name, data, split) for name, (data, split) in reports.items()]
    shown = [
        Table(
            "Data",
            "documents: of the collection as read, before corpus.top_k. published: counts of this variant that were "
            "published, and whether the collection has them.",
            ("dataset", "variant", "documents", "train", "validation", "test", "published"),
            counts,
        )
    ]
    remarks = [[name, *cells] for name, (data, split) in reports.items() for cells in _remarks(data, split)]
    if remarks:
        note = "Lines, documents, queries and judgements that were left out or are odd, with the first line numbers."
        shown.append(Table("Left out", note, ("dataset", "what", "count", "lines"), remarks))
    return shown


def _counts(name: str, data: Report, split: Report) -> list[str]:
    published = "; ".join(
        f"{row['name']} {row['expected']}: {row['verdict']}"
        + (f" ({row['found']})" if row["verdict"] == "differs" else "")
        for row in data["expected"]
    )
    splits = [str(split["splits"].get(part, 0)) for part in ("train", "validation", "test")]
    return [name, data["variant"], str(data["found"]["documents"]), *splits, published or "-"]


def _remarks(data: Report, split: Report) -> list[list[str]]:
    rows = [
        [f"{file['file']}: {reason}", str(found["count"]), ", ".join(map(str, found["first_lines"]))]
        for file in data["files"]
        for reason, found in file["invalid"].items()
    ]
    rows += [[f"{file['file']}: blank lines", str(file["blank"]), "-"] for file in data["files"] if file.get("blank")]
    kept = {f"(kept) {what}": count for what, count in data["noted"].items()}
    for counts in (data["left_out"], kept, split["counts"]):
        rows += [[what, str(count), "-"] for what, count in counts.items() if count]
    return rows
