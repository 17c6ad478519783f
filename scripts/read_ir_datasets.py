"""Read a data set of the catalogue of ir_datasets by its id; the library downloads and verifies what it needs."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ddro.core.command import UserError, call_main, in_one_line, progress
from ddro.core.lines import cant_be_kept, grade_of, identifier_of
from ddro.corpora.collection import Collection, add_options, judge

PARTS = {"train": ("train",), "dev": ("dev", "validation", "valid"), "test": ("test",)}
"""The last words of the ids that hold the queries of each kind."""

NO_ID = "without an id that is a text or a whole number"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="Queries and judgements are those of ID/train, ID/dev and ID/test, as far as there are such; else those "
        "of the id itself, which are then split. The library keeps its files in IR_DATASETS_HOME (~/.ir_datasets).",
    )
    options.add_argument("--ir-datasets", dest="id", metavar="ID", required=True, help="such as beir/scifact")
    add_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    collection = Collection(arguments.max_invalid)
    parts = find_parts(arguments.id)
    texts, judged = {}, {}
    for kind, part in parts.items():
        for qid, text in told(arguments.id, part.queries_iter, lambda query: (query.query_id, query.default_text())):
            qid, text = identifier_of(qid), text.strip() if isinstance(text, str) else ""
            if reason := reason_against(qid, text) or (None if text else "with no text"):
                collection.left_out[f"queries {reason}"] += 1
            else:
                texts[qid] = text
        judged[kind] = []
        for row in told(arguments.id, part.qrels_iter):
            if None in (identifier_of(row.query_id), identifier_of(row.doc_id)):
                collection.left_out[f"{kind} judgements {NO_ID}"] += 1
            elif (grade := grade_of(str(row.relevance))) is None:
                collection.left_out[f"{kind} judgements whose grade is no whole number of at most 6 digits"] += 1
            else:
                judged[kind].append((identifier_of(row.query_id), identifier_of(row.doc_id), grade))
    judge(collection, texts, judged)
    documents = next(iter(parts.values()))
    kept = write_documents(collection, rows(arguments.id, documents), arguments.output)
    collection.write(
        arguments.output,
        arguments.report,
        f"ir_datasets {arguments.id}, judged: {', '.join(judged)}",
        kept,
        expected=arguments.expected,
    )


def told(name: str, items: Callable[[], Iterable], of_item: Callable[[Any], Any] = lambda item: item) -> Iterator:
    """Yield what the library gives; whatever it stumbles over, at any item, is told in a `UserError`."""
    found = None
    while True:
        try:
            found = iter(items()) if found is None else found
            item = of_item(next(found))
        except StopIteration:
            return
        except Exception as error:  # the library's own, of its readers' and of requests'
            raise UserError(explain(name, error)) from error
        yield item


def explain(name: str, error: Exception) -> str:
    """What went wrong inside the library, in one line, and what to do."""
    found = f"{name}: ir_datasets fails ({in_one_line(error)})"
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError):
        return f"{found}. Set IR_DATASETS_HOME, for its files, and TMPDIR to folders that you may write."
    return (
        f"{found}. Its data sets need the network (a proxy: https_proxy), some also files to be asked for: see "
        "ir-datasets.com. What was downloaded elsewhere serves here, too: copy IR_DATASETS_HOME (~/.ir_datasets)."
    )


def find_parts(name: str) -> dict[str, Any]:
    """The data sets that hold documents, queries and judgements under an id, by kind."""
    parts = {kind: part for kind, words in PARTS.items() for word in words if (part := load(f"{name}/{word}"))}
    if parts:
        return parts
    complete = load(name)
    if not complete:
        raise UserError(
            f"{name}: ir_datasets knows no such id with documents, queries and judgements. Its catalogue is at "
            "ir-datasets.com."
        )
    word = name.split("/")[-1]
    return {next((kind for kind, words in PARTS.items() if word in words), "query"): complete}


def load(name: str) -> Any:
    """The data set of this id, or None where there is none that has all three."""
    try:
        import ir_datasets  # which already makes folders

        dataset = ir_datasets.load(name)
        return dataset if dataset.has_docs() and dataset.has_queries() and dataset.has_qrels() else None
    except KeyError:
        return None
    except Exception as error:  # as in `told`
        raise UserError(explain(name, error)) from error


def write_documents(collection: Collection, documents: Iterable[dict[str, str]], output: Path) -> set[str]:
    """Write all ``documents`` in their order; return their docnos."""
    from ddro.core.files import row_writer
    from ddro.core.tables import DOCUMENTS

    kept: set[str] = set()
    with row_writer(output / "documents.parquet", DOCUMENTS) as add:
        for row in documents:
            if reason := reason_against(*row.values()):
                collection.left_out[f"documents {reason}"] += 1
                continue
            if row["docno"] in kept:
                collection.left_out["documents whose docno was there before"] += 1
                continue
            collection.noted["documents with an empty body"] += not row["body"].strip()
            kept.add(row["docno"])
            add(row)
    return kept


def rows(name: str, dataset: Any) -> Iterator[dict[str, str]]:
    """Each document as docno, url, title, body."""
    (total,) = told(name, lambda: [dataset.docs_count()])
    documents = told(name, dataset.docs_iter, row_of)
    return progress(documents, description="read the documents", unit="documents", total=total)


def row_of(document: Any) -> dict[str, str]:
    """A document's row; where it has no field text or body, the body is all its text."""
    fields = document._asdict()
    body = fields.get("text", fields.get("body"))
    return {
        "docno": identifier_of(document.doc_id),
        "url": str(fields.get("url") or ""),
        "title": str(fields.get("title") or ""),
        "body": body if isinstance(body, str) else text_of(document),
    }


def text_of(document: Any) -> str:
    """All text of a document."""
    return text if isinstance(text := document.default_text(), str) else ""


def reason_against(identifier: str | None, *texts: str) -> str | None:
    """Why a query or document can't be kept, if it can't."""
    if identifier is None:
        return NO_ID
    reason = cant_be_kept(identifier, *texts)
    return f"with {reason}" if reason else None


if __name__ == "__main__":
    call_main(parser(), main)
