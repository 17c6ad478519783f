"""Keep the documents with most judged queries, most judged first (METHOD: the paper's top-300k rule)."""

import argparse
from collections import Counter
from pathlib import Path

import pyarrow as pa

from ddro import tables
from ddro.command import UserError, log, progress, run
from ddro.files import check_foreign_key, read_batches, read_table
from ddro.ordering import write_in_order
from ddro.splits import most_judged

DOCNO = pa.schema([tables.DOCUMENTS.field("docno")])


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=Path, required=True, help="all documents (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="all queries (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="all relevance judgements (Parquet)")
    options.add_argument("--top-k", type=int, required=True, help="number of documents to keep")
    options.add_argument(
        "--count-kinds", nargs="*", default=[], help="count queries of these kinds only (default: all)"
    )
    options.add_argument(
        "--keep",
        choices=("judged", "all"),
        default="judged",
        help="choose from the documents with a judged query, or all",
    )
    options.add_argument("--output", type=Path, required=True, help="the corpus (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    docnos = read_table(arguments.documents, DOCNO, ["docno"])
    queries = read_table(arguments.queries, tables.RAW_QUERIES, ["qid"])
    qrels = read_table(arguments.qrels, tables.QRELS, ["qid", "docno"])
    check_foreign_key(qrels, arguments.qrels, "docno", docnos["docno"], str(arguments.documents))
    check_foreign_key(qrels, arguments.qrels, "qid", queries["qid"], str(arguments.queries))

    kind = dict(zip(queries["qid"].to_pylist(), queries["kind"].to_pylist(), strict=True))
    judged = Counter(
        docno
        for qid, docno, relevance in zip(*(qrels[name].to_pylist() for name in tables.QRELS.names), strict=True)
        if relevance > 0 and (not arguments.count_kinds or kind[qid] in arguments.count_kinds)
    )
    every = docnos["docno"].to_pylist() if arguments.keep == "all" else ()
    kept = most_judged(judged, arguments.top_k, every)
    if not kept:
        raise UserError(f"{arguments.qrels}: no document has a judged query, so the corpus would be empty.")

    def with_counts():
        for part in progress(
            read_batches(arguments.documents, tables.DOCUMENTS),
            description="order the documents",
            unit="k",
            total=-(-len(docnos) // 1024),
        ):
            counts = [judged[docno] for docno in part["docno"].to_pylist()]
            yield part.append_column("judged_queries", pa.array(counts, pa.int32()))

    rank = {docno: number for number, docno in enumerate(kept)}
    write_in_order(with_counts(), "docno", rank, arguments.output, tables.CORPUS)
    log.info(
        "kept %d of %d documents; %d to %d judged queries each",
        len(kept),
        len(docnos),
        judged[kept[-1]],
        judged[kept[0]],
    )
    if len(kept) < arguments.top_k:
        log.info("top_k is %d, but there are no more documents to choose from", arguments.top_k)


if __name__ == "__main__":
    run(parser(), main)
