"""Let pseudo queries train where a collection has no training queries: each is judged relevant to its document."""

import argparse
from pathlib import Path

import pyarrow as pa

from ddro import tables
from ddro.command import UserError, log, run
from ddro.files import read_table, write_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--queries", type=Path, required=True, help="queries that validate and test (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="their judgements (Parquet)")
    options.add_argument("--pseudo-queries", type=Path, required=True, help="docno, rank, text (Parquet)")
    options.add_argument("--output-queries", type=Path, required=True, help="both kinds of queries (Parquet)")
    options.add_argument("--output-qrels", type=Path, required=True, help="judgements of both (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    queries = read_table(arguments.queries, tables.QUERIES, ["qid"])
    qrels = read_table(arguments.qrels, tables.QRELS, ["qid", "docno"])
    pseudo = read_table(arguments.pseudo_queries, tables.PSEUDO_QUERIES, ["docno", "rank"])
    rows = [row | {"qid": f"pseudo-{row['docno']}-{row['rank']}"} for row in pseudo.to_pylist() if row["text"].strip()]
    if not rows:
        raise UserError(f"{arguments.pseudo_queries}: holds no query, so nothing would train.")
    training = [{"qid": row["qid"], "text": row["text"], "split": "train"} for row in rows]
    judged = [{"qid": row["qid"], "docno": row["docno"], "relevance": 1} for row in rows]
    for table, more, path, schema, key in (
        (queries, training, arguments.output_queries, tables.QUERIES, ["qid"]),
        (qrels, judged, arguments.output_qrels, tables.QRELS, ["qid", "docno"]),
    ):
        write_table(pa.concat_tables([table, pa.Table.from_pylist(more, schema)]), path, schema, key)
    log.info("%d pseudo queries train", len(rows))


if __name__ == "__main__":
    run(parser(), main)
