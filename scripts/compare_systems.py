"""Compare systems on the same queries: each against the baselines, on every measure, with two paired tests."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_table, write_json
from ddro.core.tables import PER_QUERY


def named_path(text: str) -> tuple[str, Path]:
    """Read ``NAME=PATH``."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"expected NAME=PATH, found {text!r}")
    return name, Path(path)


def parser() -> argparse.ArgumentParser:
    """The options of this script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--per-query",
        type=named_path,
        nargs="+",
        required=True,
        metavar="SYSTEM=PATH",
        help="the per-query measures of each system, as evaluate.py writes them (Parquet)",
    )
    options.add_argument(
        "--baselines",
        nargs="+",
        default=["bm25", "sft"],
        metavar="SYSTEM",
        help="the systems that each other one is tested against (default: bm25 sft)",
    )
    options.add_argument("--resamples", type=int, default=10000, help="of bootstrap and randomisation (default: 10000)")
    options.add_argument("--seed", type=int, default=42, help="of bootstrap and randomisation (default: 42)")
    options.add_argument("--output", type=Path, required=True, help="differences, confidence intervals, p (JSON)")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Read the measures, test, and log what is found on MRR@10."""
    from ddro.evaluation.significance import compare

    paths = dict(arguments.per_query)
    if len(paths) < max(2, len(arguments.per_query)):
        raise UserError("--per-query: give at least two systems, each once.")
    per_query = {
        system: read_table(path, PER_QUERY, unique=["qid", "docno"]).to_pandas().set_index(["qid", "docno"])
        for system, path in paths.items()
    }
    comparisons = compare(per_query, arguments.baselines, arguments.resamples, arguments.seed)
    for row in comparisons:
        if row["measure"] == "MRR@10":
            log.info(
                "{system} - {baseline}: MRR@10 {difference:+.4f} [{low:+.4f}, {high:+.4f}], p = {p:.4g} (t-test), "
                "{p_randomisation:.4g} (randomisation)".format(**row)
            )
    n_queries = len(next(iter(per_query.values())))
    if n_queries < 2:
        log.warning("a single query tests, so there is no test of significance")
    write_json({"n_queries": n_queries, "systems": list(paths), "comparisons": comparisons}, arguments.output)


if __name__ == "__main__":
    call_main(parser(), main)
