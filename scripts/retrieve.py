"""Rank documents for the queries of one split, or a shard of them, by generating docids: constrained beam search."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import run, shard_of
from ddro.core.files import write_json, write_table
from ddro.retrieval.ranking import add_retrieval_options, queries_of, rank_queries


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    add_retrieval_options(options)
    options.add_argument("--shard", default="1-of-1", help="every 8th query from the 3rd on: 3-of-8 (default: all)")
    options.add_argument("--output-run", type=Path, required=True, help="the shard's part of the run (Parquet)")
    options.add_argument("--output-timing", type=Path, required=True, help="seconds of each batch (JSON)")
    return options


def main(arguments: argparse.Namespace) -> None:
    shard, shards = shard_of(arguments.shard)
    run_table, timing = rank_queries(arguments, queries_of(arguments)[shard - 1 :: shards])
    write_table(run_table, arguments.output_run, tables.RUN, ["qid", "docno"])
    write_json(timing, arguments.output_timing)


if __name__ == "__main__":
    run(parser(), main)
