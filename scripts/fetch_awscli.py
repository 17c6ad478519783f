"""Read the embedded data set from the installed packages awscli and botocore."""

import argparse
from pathlib import Path

import pyarrow as pa

from ddro.core import tables
from ddro.core.command import UserError, run
from ddro.core.files import write_table
from ddro.core.packages import package_folder
from ddro.corpora.awscli import read_packages
from ddro.corpora.collection import Collection, add_options


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--awscli", type=Path, help="folder of the package awscli (default: the installed one)")
    options.add_argument("--botocore", type=Path, help="folder of the package botocore (default: the installed one)")
    add_options(options)
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
    collection = Collection(tolerance=0)
    collection.left_out = left_out
    collection.queries = {need.qid: (need.text, need.kind) for need in needs}
    collection.judgements = {(need.qid, docno): 1 for need in needs for docno in need.docnos}
    collection.write(
        arguments.output,
        arguments.report,
        "built in",
        {document.docno for document in documents},
        expected=arguments.expected,
    )


if __name__ == "__main__":
    run(parser(), main)
