"""Index the title and body of every document with Lucene (positions, document vectors and raw text)."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from ddro.core.command import UserError, log, progress, run


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--threads", type=int, default=1, help="threads that index (default: 1)")
    options.add_argument("--output", type=Path, required=True, help="folder for the index; an older one is replaced")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core import tables
    from ddro.core.files import read_table, whole
    from ddro.retrieval.bm25 import build_index, contents

    if arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads}: must be 1 or more.")
    corpus = read_table(arguments.corpus, tables.CORPUS, ["docno"])
    if not len(corpus):
        raise UserError(f"{arguments.corpus}: the corpus is empty, so there is nothing to index.")

    def documents() -> Iterator[tuple[str, str]]:
        for batch in corpus.select(["docno", "title", "body"]).to_batches(max_chunksize=1000):
            for row in batch.to_pylist():
                yield row["docno"], contents(row["title"], row["body"])

    with whole(arguments.output) as folder:
        folder.mkdir()
        shown = progress(documents(), description="index", unit="documents", total=len(corpus))
        indexed = build_index(shown, folder, arguments.threads)
        if not indexed:
            raise UserError(f"{arguments.corpus}: no document has any text, so there is nothing to index.")
        size = sum(file.stat().st_size for file in folder.iterdir())
    log.info("indexed %d documents, %.1f MiB", indexed, size / 2**20)
    if indexed < len(corpus):
        log.info("left out: %d documents without any text; no query can find them", len(corpus) - indexed)


if __name__ == "__main__":
    run(parser(), main)
