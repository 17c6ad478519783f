"""Rank documents with the model that DDRO will train, so that negatives can be what it takes for relevant."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import run
from ddro.core.files import write_table
from ddro.retrieval.ranking import add_retrieval_options, queries_of, rank_queries


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    add_retrieval_options(options)
    options.add_argument("--output", type=Path, required=True, help="the run (Parquet), sorted by qid, then rank")
    return options


def main(arguments: argparse.Namespace) -> None:
    queries = sorted(queries_of(arguments), key=lambda query: query["qid"])  # as BM25's run is
    run_table, _ = rank_queries(arguments, queries)
    write_table(run_table, arguments.output, tables.RUN, ["qid", "docno"])


if __name__ == "__main__":
    run(parser(), main)
