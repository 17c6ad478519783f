"""Put the shards of a retrieval together: one TREC run with every query of the split, and what it took."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import call_main, log
from ddro.core.files import read_json, read_table, write_json


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=Path, nargs="+", required=True, help="the shards' runs (Parquet)")
    options.add_argument("--timings", type=Path, nargs="+", required=True, help="the shards' timings (JSON)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--split", choices=tables.SPLITS, required=True, help="the queries that were ranked for")
    options.add_argument("--tag", required=True, help="the name of the system, which stands in each line")
    options.add_argument("--output-run", type=Path, required=True, help="the ranking (TREC run, gzip'd)")
    options.add_argument("--output-timing", type=Path, required=True, help="milliseconds a query and sizes (JSON)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.corpora.judgements import own_documents, queries_of_split
    from ddro.retrieval.runs import gather, summarise_timings, without_own_documents, write_trec

    queries = read_table(arguments.queries, tables.QUERIES, ["qid"])
    qids = queries_of_split(queries, arguments.queries, arguments.split)["qid"].to_pylist()
    run_table = gather([read_table(path, tables.RUN) for path in arguments.runs], qids)
    write_trec(without_own_documents(run_table, own_documents(queries)), arguments.output_run, arguments.tag)
    timing = summarise_timings([read_json(path) for path in arguments.timings])
    write_json(timing, arguments.output_timing)
    log.info("%d queries, %.1f ms each (median)", timing["queries"], timing["ms_per_query"]["median"])


if __name__ == "__main__":
    call_main(parser(), main)
