"""Read the MS MARCO document ranking data: the documents judged for a training query, and all queries."""

import argparse
from collections.abc import Container
from pathlib import Path

from ddro.core.command import UserError, call_main
from ddro.core.lines import cant_be_kept, grade_of
from ddro.corpora.collection import Collection, add_options

KINDS = ("train", "dev")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="The judgements are read first. Then one pass over the documents writes those judged relevant to a "
        "training query, a tenth of the collection, and holds no document but the current one.",
    )
    options.add_argument("--documents", type=Path, required=True, help="msmarco-docs.tsv.gz: docno, url, title, body")
    for kind in KINDS:
        options.add_argument(f"--{kind}-queries", type=Path, required=True, help=f"msmarco-doc{kind}-queries.tsv.gz")
        options.add_argument(f"--{kind}-qrels", type=Path, required=True, help=f"msmarco-doc{kind}-qrels.tsv.gz")
    add_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    collection = Collection(arguments.max_invalid)
    options = vars(arguments)
    for kind in KINDS:
        read_queries(collection, options[f"{kind}_queries"], kind)
    wanted: set[str] = set()
    for kind in KINDS:
        judged = read_qrels(collection, options[f"{kind}_qrels"])
        wanted |= judged if kind == "train" else set()
    if not wanted:
        raise UserError(f"{arguments.train_qrels}: no document is relevant, so the collection would be empty.")
    judged = {docno for _, docno in collection.judgements}
    known = write_documents(collection, arguments.documents, wanted, judged, arguments.output)
    kept = wanted & known
    if not kept:
        raise UserError(f"{arguments.documents}: holds none of the {len(wanted)} judged documents.")
    collection.write(
        arguments.output,
        arguments.report,
        "documents with a judged training query",
        kept,
        known,
        expected=arguments.expected,
    )


def read_queries(collection: Collection, path: Path, kind: str) -> None:
    """Add the queries (qid, text) of a file."""
    lines = collection.lines(path)
    for line in lines:
        fields = line.split("\t")
        if len(fields) != 2 or not fields[0]:
            lines.reject("not the 2 columns qid, text")
        elif reason := cant_be_kept(fields[0]):
            lines.reject(reason)
        elif not fields[1].strip():
            lines.reject("a query without text")
        elif fields[0] in collection.queries:
            same_file = collection.queries[fields[0]][1] == kind
            lines.reject("a qid that was there before" if same_file else "a qid of the training queries, too")
        else:
            collection.queries[fields[0]] = (fields[1].strip(), kind)


def read_qrels(collection: Collection, path: Path) -> set[str]:
    """Add the judgements (qid, unused, docno, relevance) of a file; return the docnos judged relevant."""
    relevant = set()
    lines = collection.lines(path)
    for line in lines:
        fields = line.split()
        if len(fields) != 4 or (grade := grade_of(fields[3])) is None:
            lines.reject("not the 4 columns qid, 0, docno, relevance")
        elif (fields[0], fields[2]) in collection.judgements:
            lines.reject("a judgement that was there before")
        else:
            collection.judgements[fields[0], fields[2]] = grade
            if grade > 0:
                relevant.add(fields[2])
    return relevant


def write_documents(
    collection: Collection, path: Path, wanted: Container[str], judged: set[str], output: Path
) -> set[str]:
    """Write the wanted documents in the order of the file; return the docnos of all judged ones that are there."""
    from ddro.core.files import row_writer
    from ddro.core.tables import DOCUMENTS
    from ddro.corpora.msmarco import read_documents

    missing = set(judged)
    lines = collection.lines(path)
    # Not packed: it is read once or twice, and then done with (130 MB: zstd 1.7 s to write and read, unpacked 0.2 s).
    with row_writer(output / "documents.parquet", DOCUMENTS, compression="none", use_dictionary=False) as add:
        for docno, url, title, body in read_documents(lines):
            if docno in missing:
                missing.remove(docno)
                if docno in wanted:
                    if not body.strip():
                        collection.noted["documents with an empty body"] += 1
                    add({"docno": docno, "url": url, "title": title, "body": body})
            elif docno in judged:
                lines.reject("a docno that was there before")
    return judged - missing


if __name__ == "__main__":
    call_main(parser(), main)
