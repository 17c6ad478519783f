"""Read Natural Questions: each question with its Wikipedia page; pages of the same title or id are one document."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from ddro.core.command import UserError, call_main
from ddro.core.lines import cant_be_kept, record_of
from ddro.corpora.collection import Collection, add_options
from ddro.corpora.natural_questions import Example, page_docno, page_text, parse_example


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="Titles are compared without case, accents and blanks at punctuation; the id is the URL, which names a "
        "revision. The first page is kept, training pages first. Every question counts, whether annotators found an "
        "answer or not.",
    )
    options.add_argument("--train", type=Path, required=True, help="simplified-nq-train.jsonl.gz")
    options.add_argument("--dev", type=Path, required=True, help="nq-dev-all.jsonl.gz")
    options.add_argument("--by", choices=("title", "id"), required=True, help="what makes two pages one document")
    options.add_argument(
        "--dev-queries",
        choices=("all", "in_corpus"),
        required=True,
        help="all: the pages of dev queries are in the corpus, too; in_corpus: dev queries of other pages are left out",
    )
    add_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core.files import row_writer
    from ddro.core.tables import CONTENT_START, DOCUMENTS

    collection = Collection(arguments.max_invalid)
    kept: set[str] = set()
    with row_writer(arguments.output / "documents.parquet", DOCUMENTS.append(CONTENT_START)) as add:
        for kind, path in (("train", arguments.train), ("dev", arguments.dev)):
            for example in read_examples(collection, path):
                docno = page_docno(example, arguments.by)
                if docno not in kept:
                    if kind == "dev" and arguments.dev_queries == "in_corpus":
                        collection.left_out["dev queries whose page is no training query's"] += 1
                        continue
                    kept.add(docno)
                    text, start = page_text(example.page)
                    collection.noted["documents with an empty body"] += not text
                    document = {"docno": docno, "url": example.url, "title": example.title, "body": text}
                    add({**document, "content_start": start})
                else:
                    collection.left_out[f"pages whose {arguments.by} was there before"] += 1
                collection.queries[example.qid] = (example.question, kind)
                collection.judgements[example.qid, docno] = 1
        if not collection.queries:
            raise UserError(f"{arguments.train}: no question was found. Is it the right file?")
    collection.write(
        arguments.output,
        arguments.report,
        f"by {arguments.by}, dev {arguments.dev_queries}",
        kept,
        expected=arguments.expected,
    )


def read_examples(collection: Collection, path: Path) -> Iterator[Example]:
    """Yield the examples of a file whose question was not there before."""
    lines = collection.lines(path)
    for line in lines:
        try:
            example = parse_example(record_of(line))
        except ValueError as error:
            lines.reject(str(error))
        else:
            if reason := cant_be_kept(example.qid, example.question, example.url, example.title, example.page):
                lines.reject(reason)
            elif example.qid in collection.queries:
                lines.reject("an example_id that was there before")
            else:
                yield example


if __name__ == "__main__":
    call_main(parser(), main)
