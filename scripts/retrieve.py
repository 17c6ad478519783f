"""Rank documents for the queries of one split, or a shard of them, by generating docids: constrained beam search."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import call_main, log, shard_of
from ddro.core.files import write_json, write_table
from ddro.corpora.judgements import read_own_documents, read_queries
from ddro.retrieval.ranking import add_retrieval_options, agreement, load_with_docids, rank_queries


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    add_retrieval_options(options)
    options.add_argument("--shard", default="1-of-1", help="every 8th query from the 3rd on: 3-of-8 (default: all)")
    options.add_argument(
        "--compare-float32", type=int, metavar="N", default=0, help="rank N queries in float32, too, and say how alike"
    )
    options.add_argument("--qrels", type=Path, help="judgements, to compare MRR@10 as well (Parquet)")
    options.add_argument("--output-run", type=Path, required=True, help="the shard's part of the run (Parquet)")
    options.add_argument("--output-timing", type=Path, required=True, help="seconds of each batch (JSON)")
    return options


def main(arguments: argparse.Namespace) -> None:
    shard, shards = shard_of(arguments.shard)
    queries = read_queries(arguments.queries, arguments.split)[shard - 1 :: shards]
    loaded = load_with_docids(arguments.model, arguments.trie, arguments.docids)
    how = {
        "own": read_own_documents(arguments.queries),
        "beams": arguments.beams,
        "length_penalty": arguments.length_penalty,
        "max_query_tokens": arguments.max_query_tokens,
        "memory_mib": arguments.memory_mib,
    }
    some, in_float32 = queries[: arguments.compare_float32], None
    if some:  # now: another precision rounds the model's numbers
        in_float32, _ = rank_queries(some, loaded, precision="float32", **how)
    run_table, timing = rank_queries(queries, loaded, precision=arguments.precision, **how)
    if in_float32:
        timing["against_float32"] = found = agreement(run_table, in_float32, arguments.qrels)
        log.info("against float32: %s", ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    write_table(run_table, arguments.output_run, tables.RUN, ["qid", "docno"])
    write_json(timing, arguments.output_timing)


if __name__ == "__main__":
    call_main(parser(), main)
