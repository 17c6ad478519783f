"""Index the text of every document with Lucene (positions, document vectors and raw text).

With pseudo queries, a document's own stand behind its text: document expansion, as docT5query does it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from ddro.core.command import UserError, call_main, log, progress


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument(
        "--text",
        choices=("title_body", "body", "content"),
        default="title_body",
        help="what is indexed; content: the body without its abstract, of Natural Questions (default: title_body)",
    )
    options.add_argument("--pseudo-queries", type=Path, help="expand each document with these (Parquet)")
    options.add_argument("--threads", type=int, default=1, help="threads that index (default: 1)")
    options.add_argument("--output", type=Path, required=True, help="folder for the index; an older one is replaced")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core import tables
    from ddro.core.files import read_table, write_whole
    from ddro.doc2query.shards import corpus_documents, corpus_file, with_queries
    from ddro.retrieval.bm25 import build_index, contents

    if arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads}: must be 1 or more.")
    corpus = corpus_file(arguments.corpus)
    if arguments.text == "content" and tables.CONTENT_START.name not in corpus.schema_arrow.names:
        raise UserError(
            f"{arguments.corpus}: no column {tables.CONTENT_START.name}, so nothing tells abstract and content apart. "
            "Write body or title_body as bm25.text (--text)."
        )
    total = corpus.metadata.num_rows
    read_table(arguments.corpus, tables.columns(tables.CORPUS, "docno"), ["docno"])  # unique, or an error

    def documents() -> Iterator[tuple[str, str]]:
        if arguments.pseudo_queries is None:
            for document in corpus_documents(arguments.corpus):
                yield document["docno"], contents(document, arguments.text)
            return
        for document, queries in with_queries(arguments.pseudo_queries, arguments.corpus):
            yield document["docno"], "\n".join([contents(document, arguments.text), *queries])

    with write_whole(arguments.output) as folder:
        folder.mkdir()
        shown = progress(documents(), description="index", unit="documents", total=total)
        indexed = build_index(shown, folder, arguments.threads)
        if not indexed:
            raise UserError(f"{arguments.corpus}: no document has any text, so there is nothing to index.")
        size = sum(file.stat().st_size for file in folder.iterdir())
    log.info("indexed %d documents, %.1f MiB", indexed, size / 2**20)
    if indexed < total:
        log.info("left out: %d documents without any text; no query can find them", total - indexed)


if __name__ == "__main__":
    call_main(parser(), main)
