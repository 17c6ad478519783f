"""Draw MRR@10 with its 95 % interval against each changed setting, in a panel per kind of change."""

import argparse
from pathlib import Path

from ddro.core.command import call_main, log
from ddro.core.files import read_json


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--metrics",
        type=Path,
        nargs="+",
        required=True,
        help="DATASET/DOCID/RECIPE/metrics/SYSTEM.test.json as evaluate.py writes them; the first experiment's is what "
        "the others are compared with, and a recipe is called PANEL-VALUE",
    )
    options.add_argument("--output", type=Path, required=True, help="the figure (SVG)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.report.ablation import ablation_figure, panels_of
    from ddro.report.figures import save_svg

    measured = {}
    for path in arguments.metrics:
        overall = read_json(path)["groups"]["all"]
        ends = overall["intervals"]["MRR@10"] or [overall["MRR@10"]] * 2  # one query has no interval
        measured[(*path.parts[-5:-2], path.name.split(".")[0])] = (overall["MRR@10"], *ends)
    base, panels = panels_of(measured)
    for panel, points in panels.items():
        log.info("%s: %s", panel, ", ".join(f"{name} {value:.4f}" for name, (value, _, _) in points.items()))
    save_svg(ablation_figure(base, panels), arguments.output)


if __name__ == "__main__":
    call_main(parser(), main)
