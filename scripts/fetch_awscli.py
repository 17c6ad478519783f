"""Read the embedded data set from the installed packages awscli and botocore."""

import argparse
from pathlib import Path

import pyarrow as pa

from ddro import tables
from ddro.awscli import read_packages
from ddro.command import UserError, log, run
from ddro.files import write_json, write_table
from ddro.packages import package_folder


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--awscli", type=Path, help="folder of the package awscli (default: the installed one)")
    options.add_argument("--botocore", type=Path, help="folder of the package botocore (default: the installed one)")
    options.add_argument("--output", type=Path, required=True, help="folder for documents, queries and qrels (Parquet)")
    options.add_argument("--report", type=Path, required=True, help="JSON file for what was found and what left out")
    return options


def main(arguments: argparse.Namespace) -> None:
    documents, needs, left_out = read_packages(
        arguments.awscli or package_folder("awscli"), arguments.botocore or package_folder("botocore")
    )
    if not needs:
        raise UserError("the example files hold no heading that makes a query. Reinstall awscli (envs/lock.txt).")
    rows = [vars(document) for document in documents]
    write_table(
        pa.Table.from_pylist(rows, tables.DOCUMENTS),
        arguments.output / "documents.parquet",
        tables.DOCUMENTS,
        ["docno"],
    )
    rows = [{"qid": need.qid, "text": need.text, "kind": need.kind} for need in needs]
    write_table(
        pa.Table.from_pylist(rows, tables.RAW_QUERIES),
        arguments.output / "queries.parquet",
        tables.RAW_QUERIES,
        ["qid"],
    )
    rows = [{"qid": need.qid, "docno": docno, "relevance": 1} for need in needs for docno in need.docnos]
    write_table(
        pa.Table.from_pylist(rows, tables.QRELS), arguments.output / "qrels.parquet", tables.QRELS, ["qid", "docno"]
    )

    report = {"documents": len(documents), "queries": len(needs), "qrels": len(rows), "left_out": dict(left_out)}
    log.info("%d documents, %d queries, %d judgements", len(documents), len(needs), len(rows))
    for reason, count in sorted(left_out.items()):
        log.info("left out: %d %s", count, reason)
    write_json(report, arguments.report)


if __name__ == "__main__":
    run(parser(), main)
