"""Gather measures, significance, published numbers and cost of all experiments in one table, as CSV and to read."""

import argparse
from pathlib import Path

from ddro.command import UserError, log, run
from ddro.files import read_json, whole
from ddro.tables import SYSTEMS

HEADING = "Results on the test queries"


def experiment(text: str) -> str:
    """Check ``DATASET/DOCID/RECIPE``."""
    if len(text.split("/")) != 3 or not all(text.split("/")):
        raise argparse.ArgumentTypeError(f"expected DATASET/DOCID/RECIPE, found {text!r}")
    return text


def parser() -> argparse.ArgumentParser:
    """The options of this script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--results",
        type=Path,
        required=True,
        help="folder of the results; read are its DATASET/DOCID/RECIPE/metrics/{SYSTEM,comparison}.test.json, "
        "and the .tsv files of its benchmarks/ as far as they are there",
    )
    options.add_argument(
        "--experiments", type=experiment, nargs="+", required=True, metavar="DATASET/DOCID/RECIPE", help="in this order"
    )
    options.add_argument("--expected", type=Path, required=True, help="published results (YAML)")
    options.add_argument("--output-csv", type=Path, required=True, help="one row per experiment and system")
    options.add_argument("--output-markdown", type=Path, required=True, help="the same and the stages, for a terminal")
    options.add_argument("--output-html", type=Path, required=True, help="the same and the stages, for a browser")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Read the small files of each experiment and write the three summaries."""
    from ddro.stage_times import stage_times
    from ddro.summary import summary_row, tables, to_csv, to_html, to_markdown

    expected = read_expected(arguments.expected)
    rows, all_times = [], []
    for name in arguments.experiments:
        folder = arguments.results / name / "metrics"
        times = stage_times(arguments.results / "benchmarks", name)
        all_times += times
        comparison = read_result(folder / "comparison.test.json")
        for system in SYSTEMS:
            path = folder / f"{system}.test.json"
            try:
                rows.append(summary_row(name, system, read_result(path), comparison, expected, times))
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"{path}, or the comparison beside it, lacks {error}. Delete both and rerun."
                ) from error
    missing = sum(time.seconds is None for time in dict.fromkeys(all_times))
    log.info("%d experiments, %d rows; %d stages without a time", len(arguments.experiments), len(rows), missing)

    shown = tables(rows, all_times)
    for path, text in (
        (arguments.output_csv, to_csv(rows)),
        (arguments.output_markdown, to_markdown(HEADING, shown)),
        (arguments.output_html, to_html(HEADING, shown)),
    ):
        with whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def read_result(path: Path) -> dict:
    """Read a JSON file that another rule has made."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run snakemake to make it.")
    return read_json(path)


def read_expected(path: Path) -> dict:
    """Read the published percentages: data set -> docid scheme or ``any`` -> system -> measure -> percent."""
    import yaml

    try:
        expected = yaml.safe_load(path.read_text(encoding="utf-8"))
        for dataset, schemes in expected.items():
            for scheme, systems in schemes.items():
                for system, percent in systems.items():
                    for measure in percent.keys() - {"significant"}:
                        if not 0 <= percent[measure] <= 100:
                            raise UserError(f"{path}: {dataset}, {scheme}, {system}, {measure}: not a percentage.")
    except (OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: expected data set, docid, system, measure: percent ({error}).") from error
    return expected


if __name__ == "__main__":
    run(parser(), main)
