"""Split the queries that have a relevant document in the corpus into train, validation and test."""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa

from ddro.core import tables
from ddro.core.command import UserError, call_main, log
from ddro.core.files import check_foreign_key, read_table, write_json, write_table
from ddro.core.text import has_no_blanks
from ddro.corpora.judgements import find_own_documents
from ddro.corpora.splits import Query, has_official_split, hold_out, keep_official


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="all queries (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="all relevance judgements (Parquet)")
    options.add_argument("--test-share", type=float, required=True, help="share of the queries that test")
    options.add_argument("--validation-share", type=float, required=True, help="share of the queries that validate")
    options.add_argument("--unseen-share", type=float, required=True, help="share of the documents kept from training")
    options.add_argument(
        "--validation-unseen-share", type=float, required=True, help="as --unseen-share, for the validation queries"
    )
    options.add_argument(
        "--max-overlap", type=float, required=True, help="a held-out query overlaps less with each training query"
    )
    options.add_argument(
        "--training", choices=("queries", "pseudo"), default="queries", help="pseudo: there need be no training query"
    )
    options.add_argument("--output-queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--output-qrels", type=Path, required=True, help="judgements within the corpus (Parquet)")
    options.add_argument("--report", type=Path, required=True, help="JSON file for the counts")
    return options


def main(arguments: argparse.Namespace) -> None:
    corpus = read_table(arguments.corpus, tables.columns(tables.CORPUS, "docno"), ["docno"])
    queries = read_table(arguments.queries, tables.RAW_QUERIES, ["qid"])
    qrels = read_table(arguments.qrels, tables.QRELS, ["qid", "docno"])
    check_foreign_key(qrels, arguments.qrels, "qid", queries["qid"], str(arguments.queries))
    for row, text in enumerate(queries["text"].to_pylist()):
        if not text.strip():
            raise UserError(f"{arguments.queries}: row {row}: the query has no text. Remove it or give it one.")

    in_corpus = set(corpus["docno"].to_pylist())
    grades: dict[str, dict[str, int]] = defaultdict(dict)
    for qid, docno, relevance in zip(*(qrels[name].to_pylist() for name in tables.QRELS.names), strict=True):
        if docno in in_corpus:
            grades[qid][docno] = relevance
    judged = [
        Query(row["qid"], row["text"], row["kind"], relevant)
        for row in queries.to_pylist()
        if (relevant := tuple(docno for docno, grade in grades[row["qid"]].items() if grade > 0))
    ]
    kinds = {query.kind for query in judged}
    if has_official_split(kinds):
        log.info("the collection has an official test set: it is kept")
        splits, left_out = keep_official(judged, validation_share=arguments.validation_share), Counter()
    else:
        splits, left_out = hold_out(
            judged,
            test_share=arguments.test_share,
            validation_share=arguments.validation_share,
            unseen_share=arguments.unseen_share,
            validation_unseen_share=arguments.validation_unseen_share,
            max_overlap=arguments.max_overlap,
            held_out_kinds={"heading"} & kinds or kinds,
        )
    sizes = Counter(splits.values())
    if not sizes["train"] and arguments.training == "pseudo":
        log.warning("no query trains: pseudo queries carry the training")
    elif not sizes["train"]:
        raise UserError(
            f"{arguments.qrels}: no query is left to train on. Write training: pseudo in the data set's entry in the "
            "configuration to train on pseudo queries."
        )
    for split in ("validation", "test"):
        if not sizes[split]:
            raise UserError(f"no query is left for the split {split!r}: raise its share or corpus.top_k in the recipe.")
    if sizes["test"] == 1:
        log.warning("a single query tests: there will be no intervals and no tests of significance")
    tested = {query.text for query in judged if splits.get(query.qid) == "test"}
    trained = Counter(query.text for query in judged if splits.get(query.qid) == "train")
    left_out["(kept) training queries with the text of a test query"] = sum(trained[text] for text in tested)

    kept = [query for query in judged if query.qid in splits]
    unparted = sum(has_no_blanks(query.text) for query in kept)
    if unparted:
        log.warning("%d queries are in a script without blanks between words, whose phrases count as words", unparted)
        left_out["(kept) queries in a script without blanks between words, whose phrases count as words"] = unparted
    rows = [{"qid": query.qid, "text": query.text, "split": splits[query.qid]} for query in kept]
    table = pa.Table.from_pylist(rows, tables.QUERIES)
    asking = [(query.qid, query.text) for query in kept if query.qid not in query.docnos]
    if own := find_own_documents(arguments.corpus, asking):
        table = table.replace_schema_metadata({tables.OWN_DOCUMENTS: json.dumps(own)})
        left_out["(kept) queries that are documents of the corpus, left out of their own rankings and negatives"] = len(
            own
        )
    write_table(table, arguments.output_queries, tables.QUERIES, ["qid"])
    rows = [
        {"qid": query.qid, "docno": docno, "relevance": grade}
        for query in kept
        for docno, grade in grades[query.qid].items()
    ]
    write_table(pa.Table.from_pylist(rows, tables.QRELS), arguments.output_qrels, tables.QRELS, ["qid", "docno"])

    left_out["queries without a relevant document in the corpus"] = len(queries) - len(judged)
    log.info("queries: %s", ", ".join(f"{sizes[split]} {split}" for split in tables.SPLITS))
    for reason, count in sorted(left_out.items()):
        log.info("%d %s", count, reason)
    write_json({"splits": dict(sizes), "counts": dict(left_out)}, arguments.report)


if __name__ == "__main__":
    call_main(parser(), main)
