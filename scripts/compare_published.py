"""Show the measures of published checkpoints beside the published results: ours, theirs, the difference, a verdict."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_json, write_whole

if TYPE_CHECKING:
    from ddro.report.html import Table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--metrics", type=Path, nargs="+", required=True, help="what evaluate.py wrote of each checkpoint (JSON)"
    )
    options.add_argument(
        "--reports", type=Path, nargs="+", required=True, help="what retrieve_published.py counted of each (JSON)"
    )
    options.add_argument(
        "--of", nargs="+", required=True, metavar="DATASET/DOCID/SYSTEM", help="the published result of each"
    )
    options.add_argument("--expected", type=Path, required=True, help="published results (YAML)")
    options.add_argument("--output", type=Path, required=True, help="the table (Markdown)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.evaluation.published import differences, published_result, read_expected
    from ddro.report.html import Table, to_markdown

    if not len(arguments.metrics) == len(arguments.of) == len(arguments.reports):
        raise UserError("--of and --reports: give as many as --metrics.")
    expected, rows = read_expected(arguments.expected), []
    for path, of in zip(arguments.metrics, arguments.of, strict=True):
        metrics = read_json(path)
        theirs = published_result(expected, *of.split("/"))
        for line in differences(metrics["groups"]["all"], theirs, expected["bounds"]):
            numbers = f"{100 * line.ours:.2f}", f"{100 * line.theirs:.2f}", f"{line.points:+.2f}"
            rows.append([metrics["system"], of, line.measure, *numbers, line.verdict])
            log.info("%s %s: %s, published %s, difference %s: %s", of, line.measure, *numbers, line.verdict)
    header = ("system", "experiment", "measure", "ours", "paper", "difference", "verdict")
    note = "In percent; one instance per query and relevant document. The bounds stand in config/expected.yaml."
    shown = [Table("Measures", note, header, rows), count_lines(arguments.reports)]
    with write_whole(arguments.output) as temporary:
        temporary.write_text(to_markdown("Published checkpoints", shown), "utf-8")


def count_lines(reports: Sequence[Path]) -> "Table":
    """The table of what the test files hold."""
    from ddro.report.html import Table

    names = ("documents", "queries", "queries_without_docid", "probed")
    rows = [
        [path.parent.name, *(str(report[name]) for name in names)] for path in reports if (report := read_json(path))
    ]
    note = (
        "A query without docid can only miss: its document isn't in the published docid table. Probed: the queries "
        "whose docids were scored first, to see how the checkpoint is meant."
    )
    return Table("Documents and queries", note, ("what", *names), rows)


if __name__ == "__main__":
    call_main(parser(), main)
