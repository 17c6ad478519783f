"""Keep the documents with most judged queries, most judged first (METHOD: the paper's top-300k rule)."""

import argparse
from collections import Counter
from pathlib import Path

import pyarrow as pa

from ddro import tables
from ddro.command import UserError, log, run
from ddro.files import check_foreign_key, read_table, write_table
from ddro.splits import most_judged


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=Path, required=True, help="all documents (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="all queries (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="all relevance judgements (Parquet)")
    options.add_argument("--top-k", type=int, required=True, help="number of documents to keep")
    options.add_argument(
        "--count-kinds", nargs="*", default=[], help="count queries of these kinds only (default: all)"
    )
    options.add_argument("--output", type=Path, required=True, help="the corpus (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    documents = read_table(arguments.documents, tables.DOCUMENTS, ["docno"])
    queries = read_table(arguments.queries, tables.RAW_QUERIES, ["qid"])
    qrels = read_table(arguments.qrels, tables.QRELS, ["qid", "docno"])
    check_foreign_key(qrels, arguments.qrels, "docno", documents["docno"], str(arguments.documents))
    check_foreign_key(qrels, arguments.qrels, "qid", queries["qid"], str(arguments.queries))

    kind = dict(zip(queries["qid"].to_pylist(), queries["kind"].to_pylist(), strict=True))
    judged = Counter(
        row["docno"]
        for row in qrels.to_pylist()
        if row["relevance"] > 0 and (not arguments.count_kinds or kind[row["qid"]] in arguments.count_kinds)
    )
    kept = most_judged(judged, arguments.top_k)
    if not kept:
        raise UserError(f"{arguments.qrels}: no document has a judged query, so the corpus would be empty.")
    position = {docno: row for row, docno in enumerate(documents["docno"].to_pylist())}
    corpus = documents.take([position[docno] for docno in kept])
    corpus = corpus.append_column("judged_queries", pa.array([judged[docno] for docno in kept], pa.int32()))
    write_table(corpus, arguments.output, tables.CORPUS, ["docno"])
    log.info(
        "kept %d of %d documents; %d to %d judged queries each",
        len(kept),
        len(documents),
        judged[kept[-1]],
        judged[kept[0]],
    )
    if len(kept) < arguments.top_k:
        log.info("top_k is %d, but only %d documents have a judged query", arguments.top_k, len(kept))


if __name__ == "__main__":
    run(parser(), main)
