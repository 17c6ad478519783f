"""Draw the rules of the workflow and what needs what, from the text that `snakemake --rulegraph` prints."""

import argparse
import sys
from pathlib import Path

from ddro.core.command import UserError, call_main, log


def parser() -> argparse.ArgumentParser:
    """The options of this script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rulegraph", default="-", help="the graph as dot text; - is standard input (default)")
    options.add_argument(
        "--chapters",
        type=Path,
        nargs="+",
        required=True,
        metavar="SMK",
        help="Snakemake files, each of which is a chapter that gets a lane, from left to right",
    )
    options.add_argument(
        "--experiments", nargs="+", required=True, metavar="D/I/R", help="what the rules run for: named in the picture"
    )
    options.add_argument("--output", type=Path, required=True, help="the picture (SVG)")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Read the graph and the chapters, and draw."""
    from ddro.report.figures import save_svg
    from ddro.report.rule_graph import parse_dot, read_chapters
    from ddro.report.rule_graph_figure import rulegraph_figure

    try:
        text = sys.stdin.read() if arguments.rulegraph == "-" else Path(arguments.rulegraph).read_text(encoding="utf-8")
        chapters = read_chapters(arguments.chapters)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"can't read the rule graph or a chapter: {error}") from error
    graph = parse_dot(text)
    save_svg(rulegraph_figure(graph, chapters, arguments.experiments), arguments.output)
    log.info("%d rules in %d chapters, %d arrows read", len(graph), len(chapters), graph.number_of_edges())


if __name__ == "__main__":
    call_main(parser(), main)
