"""Read NQ320K as the authors of DDRO have published it: with their docnos, so that their docid tables fit."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main
from ddro.core.lines import record_of
from ddro.corpora.collection import Collection, add_options
from ddro.corpora.nq_ddro import Pages, parse_document, read_questions


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="A question's page is the document of its id; where there is none, of its title, else of its URL. Its "
        "qid is the number of its row, counted from 0, training rows first, as in the authors' own conversion.",
    )
    options.add_argument("--documents", type=Path, required=True, help="nq_merged.json: a JSON object a line")
    options.add_argument(
        "--train", type=Path, required=True, help="nq_train.gz: query, id, ..., title, ... between tabs"
    )
    options.add_argument("--dev", type=Path, required=True, help="nq_val.gz: the same")
    add_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core.files import row_writer
    from ddro.core.tables import CONTENT_START, DOCUMENTS

    collection, pages = Collection(arguments.max_invalid), Pages()
    lines = collection.lines(arguments.documents)
    with row_writer(arguments.output / "documents.parquet", DOCUMENTS.append(CONTENT_START)) as add:
        for line in lines:
            if lines.number == 1 and line.lstrip().startswith("["):
                raise UserError(
                    f"{arguments.documents}:1: one JSON array, where each line must be an object. Convert it: jq -c .[]"
                )
            try:
                document = parse_document(record_of(line))
            except ValueError as error:
                lines.reject(str(error))
                continue
            if document["docno"] in pages.docnos:
                lines.reject("an id that was there before")
                continue
            pages.add(document)
            collection.noted["documents with an empty body"] += not document["body"]
            add(document)
        first = 0
        for kind, path in (("train", arguments.train), ("dev", arguments.dev)):
            first = read_kind(collection, pages, path, kind, first)
        if not collection.queries:
            raise UserError(
                f"{arguments.train}, {arguments.dev}: no question is about a document of {arguments.documents}. "
                "Do these files belong together?"
            )
    collection.write(
        arguments.output,
        arguments.report,
        "as the authors of DDRO published it",
        pages.docnos,
        expected=arguments.expected,
    )


def read_kind(collection: Collection, pages: Pages, path: Path, kind: str, first: int) -> int:
    """Add the questions of a file, numbered from ``first`` on; return the number after its last row."""
    number = first - 1
    for number, question in enumerate(read_questions(collection.lines(path)), first):
        if question is None:
            continue
        found = pages.find(question)
        if found is None:
            collection.left_out[f"{kind} queries whose page is none of the documents"] += 1
            continue
        docno, by = found
        collection.noted[f"{kind} queries whose page was found by its {by}"] += 1
        collection.queries[str(number)] = (question.text, kind)
        collection.judgements[str(number), docno] = 1
    return number + 1


if __name__ == "__main__":
    call_main(parser(), main)
