"""Keep the documents with most judged queries, most judged first (docs/method.md: the paper's top-300k rule)."""

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ddro.core import tables
from ddro.core.command import UserError, call_main, log, progress
from ddro.core.files import check_foreign_key, read_batches, read_table
from ddro.corpora.sampling import most_judged, rows_a_range, write_in_order

DOCNO = tables.columns(tables.DOCUMENTS, "docno")


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
    docnos = read_table(arguments.documents, DOCNO, ["docno"])["docno"]
    judged = count_queries(arguments, docnos)
    kept = most_judged(judged, arguments.top_k, docnos.to_pylist() if arguments.keep == "all" else ())
    if not kept:
        raise UserError(f"{arguments.qrels}: no document has a judged query, so the corpus would be empty.")
    if len(kept) == 1:
        raise UserError(
            f"{arguments.qrels}: the corpus would be one document, {kept[0]!r}: nothing to rank, no negative. "
            "Raise corpus.top_k, judge more documents, or keep all of them (keep: all, in the data set's entry)."
        )

    of_documents, of_corpus = tables.DOCUMENTS, tables.CORPUS
    if tables.CONTENT_START.name in pq.read_schema(arguments.documents).names:
        of_documents, of_corpus = (schema.append(tables.CONTENT_START) for schema in (of_documents, of_corpus))

    def with_counts():
        for part in progress(
            read_batches(arguments.documents, of_documents),
            description="order the documents",
            unit="k",
            total=-(-len(docnos) // 1024),
        ):
            counts = [judged.get(docno, 0) for docno in part["docno"].to_pylist()]
            yield part.append_column("judged_queries", pa.array(counts, pa.int32()))

    rank = {docno: number for number, docno in enumerate(kept)}
    write_in_order(with_counts(), "docno", rank, arguments.output, of_corpus, rows_a_range(arguments.documents))
    log.info(
        "kept %d of %d documents; %d to %d judged queries each",
        len(kept),
        len(docnos),
        judged.get(kept[-1], 0),
        judged.get(kept[0], 0),
    )
    if len(kept) < arguments.top_k:
        log.info("top_k is %d, but there are no more documents to choose from", arguments.top_k)


def count_queries(arguments: argparse.Namespace, docnos: pa.ChunkedArray) -> dict[str, int]:
    """For each document that is judged relevant, how many queries of the kinds that count it is relevant to."""
    queries = read_table(arguments.queries, tables.RAW_QUERIES, ["qid"])
    qrels = read_table(arguments.qrels, tables.QRELS, ["qid", "docno"])
    check_foreign_key(qrels, arguments.qrels, "docno", docnos, str(arguments.documents))
    check_foreign_key(qrels, arguments.qrels, "qid", queries["qid"], str(arguments.queries))
    if arguments.count_kinds:
        kinds = pc.unique(queries["kind"]).to_pylist()
        if unknown := [kind for kind in arguments.count_kinds if kind not in kinds]:
            raise UserError(
                f"corpus.count_kinds: no query is of the kind {unknown[0]!r}. Write one of {', '.join(sorted(kinds))}."
            )
        queries = queries.filter(pc.is_in(queries["kind"], pa.array(arguments.count_kinds)))
    counted = pc.and_(pc.greater(qrels["relevance"], 0), pc.is_in(qrels["qid"], queries["qid"].combine_chunks()))
    counts = qrels.filter(counted).group_by("docno").aggregate([([], "count_all")])
    return dict(zip(counts["docno"].to_pylist(), counts["count_all"].to_pylist(), strict=True))


if __name__ == "__main__":
    call_main(parser(), main)
