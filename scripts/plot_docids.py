"""Draw how many documents share a docid and, for docids of codes, how evenly each position's codes are used."""

import argparse
from pathlib import Path

from ddro.core.command import call_main


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--report", type=Path, required=True, help="docid_report.json")
    options.add_argument("--output", type=Path, required=True, help="the figure (SVG)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core.files import read_json
    from ddro.report.figures import docid_figure, save_svg

    save_svg(docid_figure(read_json(arguments.report)), arguments.output)


if __name__ == "__main__":
    call_main(parser(), main)
