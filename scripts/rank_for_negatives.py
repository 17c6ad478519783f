"""Rank documents with the model that DDRO will train, so that negatives can be what it takes for relevant."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import call_main
from ddro.core.files import write_table
from ddro.corpora.judgements import read_own_documents, read_queries
from ddro.retrieval.ranking import add_retrieval_options, load_with_docids, rank_queries


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    add_retrieval_options(options)
    options.add_argument("--output", type=Path, required=True, help="the run (Parquet), sorted by qid, then rank")
    return options


def main(arguments: argparse.Namespace) -> None:
    queries = sorted(read_queries(arguments.queries, arguments.split))  # as BM25's run is
    run_table, _ = rank_queries(
        queries,
        load_with_docids(arguments.model, arguments.trie, arguments.docids),
        own=read_own_documents(arguments.queries),
        beams=arguments.beams,
        length_penalty=arguments.length_penalty,
        max_query_tokens=arguments.max_query_tokens,
        precision=arguments.precision,
        memory_mib=arguments.memory_mib,
    )
    write_table(run_table, arguments.output, tables.RUN, ["qid", "docno"])


if __name__ == "__main__":
    call_main(parser(), main)
