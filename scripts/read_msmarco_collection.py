"""Read all documents of MS MARCO, judged or not: BM25 ranks them where negatives come from the whole collection."""

import argparse
from pathlib import Path

from ddro.core.command import call_main, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=Path, required=True, help="msmarco-docs.tsv.gz: docno, url, title, body")
    options.add_argument(
        "--max-invalid", type=float, default=0.001, help="stop above this share of invalid lines (0.001)"
    )
    options.add_argument("--output", type=Path, required=True, help="the documents (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core.files import row_writer
    from ddro.core.lines import SourceLines
    from ddro.core.tables import DOCUMENTS
    from ddro.corpora.msmarco import read_documents

    seen: set[str] = set()
    lines = SourceLines(arguments.documents, arguments.max_invalid, "max_invalid of the data set allows more.")
    with row_writer(arguments.output, DOCUMENTS) as add:
        for docno, url, title, body in read_documents(lines):
            if docno in seen:
                lines.reject("a docno that was there before")
            else:
                seen.add(docno)
                add({"docno": docno, "url": url, "title": title, "body": body})
    log.info("%d documents", len(seen))


if __name__ == "__main__":
    call_main(parser(), main)
