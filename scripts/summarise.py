"""Gather measures, significance, published numbers and cost of all experiments in one table, as CSV and to read."""

import argparse
import json
from pathlib import Path

from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_json, write_whole

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
        help="folder of the results; read are its DATASET/{data,split}_report.json, DATASET/bm25/index, and "
        "DATASET/DOCID/RECIPE/metrics/{SYSTEM,comparison}.test.json with the runs/SYSTEM.test.timing.json beside it",
    )
    options.add_argument(
        "--experiments", type=experiment, nargs="+", required=True, metavar="DATASET/DOCID/RECIPE", help="in this order"
    )
    options.add_argument(
        "--costs", type=Path, nargs="+", required=True, metavar="JSON", help="cost files of the jobs, below its costs/"
    )
    options.add_argument(
        "--costs-by-system",
        type=json.loads,
        required=True,
        help='which of them made a ranking, from 0 on (JSON: {"DATASET/DOCID/RECIPE": {"SYSTEM": [0, 1]}})',
    )
    options.add_argument("--expected", type=Path, required=True, help="published results (YAML)")
    options.add_argument("--output-csv", type=Path, required=True, help="one row per experiment and system")
    options.add_argument("--output-markdown", type=Path, required=True, help="the same and the stages, for a terminal")
    options.add_argument("--output-picture", type=Path, required=True, help="MRR@10 of all systems (SVG)")
    options.add_argument("--output-html", type=Path, required=True, help="the same and the stages, for a browser")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Read the small files of each experiment and write the three summaries."""
    from ddro.evaluation.published import differences, published_result, read_expected
    from ddro.report.costs import read_cost
    from ddro.report.data_sets import data_set_tables
    from ddro.report.figures import save_svg
    from ddro.report.html import to_html, to_markdown
    from ddro.report.summary import correct, summary_row, summary_tables, to_csv
    from ddro.report.systems import list_systems, papers_table, systems_figure

    expected = read_expected(arguments.expected)
    costs = [read_cost(path, arguments.results / "costs") for path in arguments.costs]
    rows, published, slices, reports = [], {}, {}, {}
    for name in arguments.experiments:
        dataset, docid, _ = name.split("/")
        paths = (arguments.results / dataset / f"{part}_report.json" for part in ("data", "split"))
        reports[dataset] = tuple(read_result(path) for path in paths)
        folder = arguments.results / name / "metrics"
        variant = reports[dataset][0]["variant"]
        comparison = read_result(folder / "comparison.test.json")
        for system in comparison["systems"]:
            path = folder / f"{system}.test.json"
            metrics = read_result(path)
            theirs = published_result(expected, dataset, docid, system)
            try:
                beside = differences(metrics["groups"]["all"], theirs, expected["bounds"])
                speed = efficiency(arguments.results, name, system)
                own = [costs[number] for number in arguments.costs_by_system[name][system]]
                rows.append(summary_row(name, variant, system, metrics, comparison, beside, speed, own))
                slices[name, system] = metrics["slices"]
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"{path}, or the comparison beside it, lacks {error}. Delete both and rerun."
                ) from error
            if beside:
                published[name, system] = beside
                log.info("%s %s: %s", name, system, ", ".join(f"{line.measure} {line.verdict}" for line in beside))
    log.info("%d experiments, %d rows, %d jobs", len(arguments.experiments), len(rows), len(costs))

    rows = correct(rows)
    systems = list_systems(rows)
    save_svg(systems_figure(systems), arguments.output_picture)
    picture = arguments.output_picture.read_text(encoding="utf-8")
    shown = [papers_table(systems), *summary_tables(rows, published, slices, costs), *data_set_tables(reports)]
    for path, text in (
        (arguments.output_csv, to_csv(rows)),
        (arguments.output_markdown, to_markdown(HEADING, shown)),
        (arguments.output_html, to_html(HEADING, shown, picture)),
    ):
        with write_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def efficiency(results: Path, experiment: str, system: str) -> dict[str, int | float | str]:
    """Read the speed and size of a retrieval, or the size of Lucene's index."""
    of_dataset = results / experiment.split("/")[0] / system
    of_model = results / experiment / f"runs/{system}.test.timing.json"
    timing = of_dataset / "test.timing.json" if system == "dense" else of_model
    if system in ("bm25", "doct5query"):
        files = (of_dataset / "index").glob("**/*")
        size = sum(file.stat().st_size for file in files if file.is_file())
        return {"index_mib": size / 2**20}
    found = read_result(timing)
    sizes = {f"{name}_mib": found[f"{key}_bytes"] / 2**20 for name, key in (("index", "trie"), ("model", "model"))}
    percentiles = {f"ms_{name}": found["ms_per_query"][name] for name in ("median", "p95")}
    return {name: found[name] for name in ("beams", "queries_per_s", "device")} | sizes | percentiles


def read_result(path: Path) -> dict:
    """Read a JSON file that another rule has made."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run snakemake to make it.")
    return read_json(path)


if __name__ == "__main__":
    call_main(parser(), main)
