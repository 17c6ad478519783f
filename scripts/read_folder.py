"""Read a corpus of your own: a folder in the layout of BEIR."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main
from ddro.corpora.collection import Collection, add_options, judge


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="Queries of the test set test; where there is none, those of dev do. A query of two sets stays in the "
        "one that is nearer to the test.",
    )
    options.add_argument("--corpus", type=Path, required=True, help="corpus.jsonl: _id, title, text, maybe url")
    options.add_argument("--queries", type=Path, required=True, help="queries.jsonl: _id, text")
    options.add_argument(
        "--qrels", type=Path, nargs="+", required=True, help="train.tsv, dev.tsv, test.tsv: query-id, corpus-id, score"
    )
    add_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.corpora.beir import read_qrels, read_queries

    collection = Collection(arguments.max_invalid)
    texts = dict(read_queries(collection.lines(arguments.queries)))
    kept = write_documents(collection, arguments.corpus, arguments.output)
    if not kept:
        raise UserError(f"{arguments.corpus}: holds no document.")
    judged = {path.stem: list(read_qrels(collection.lines(path), texts, kept)) for path in arguments.qrels}
    judge(collection, texts, judged)
    collection.write(
        arguments.output,
        arguments.report,
        f"own folder, judged: {', '.join(judged)}",
        kept,
        expected=arguments.expected,
    )


def write_documents(collection: Collection, path: Path, output: Path) -> set[str]:
    """Write all documents in the order of the file; return their docnos."""
    from ddro.core.files import row_writer
    from ddro.core.tables import DOCUMENTS
    from ddro.corpora.beir import read_documents

    kept = set()
    with row_writer(output / "documents.parquet", DOCUMENTS) as add:
        for document in read_documents(collection.lines(path)):
            collection.noted["documents with an empty body"] += not document["body"].strip()
            add(document)
            kept.add(document["docno"])
    return kept


if __name__ == "__main__":
    call_main(parser(), main)
