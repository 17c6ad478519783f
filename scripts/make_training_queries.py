"""Let pseudo queries train where a collection has no training queries: each is judged relevant to its document."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_table
from ddro.corpora.judgements import MadeQuery, add_tables_options, write_with_made_queries


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pseudo-queries", type=Path, required=True, help="docno, rank, text (Parquet)")
    add_tables_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    pseudo = read_table(arguments.pseudo_queries, tables.PSEUDO_QUERIES, ["docno", "rank"]).to_pylist()
    made = [
        MadeQuery(f"pseudo-{row['docno']}-{row['rank']}", row["text"], row["docno"])
        for row in pseudo
        if row["text"].strip()
    ]
    if not made:
        raise UserError(f"{arguments.pseudo_queries}: holds no query, so nothing would train.")
    write_with_made_queries(
        made,
        "train",
        queries=arguments.queries,
        qrels=arguments.qrels,
        output_queries=arguments.output_queries,
        output_qrels=arguments.output_qrels,
    )
    log.info("%d pseudo queries train", len(made))


if __name__ == "__main__":
    call_main(parser(), main)
