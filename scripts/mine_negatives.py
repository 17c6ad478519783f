"""Draw negatives from strata of the BM25 ranking of each query, by chance or what a model ranks highest of them."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, log, progress
from ddro.core.tables import QUERY_SETS


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="The negatives of a query are drawn once and serve each of its relevant documents. A relevant document, "
        "or one that shares its docid, is never a negative, nor is the query itself where it is a document.",
    )
    options.add_argument("--run", type=Path, required=True, help="the BM25 run of the split (Parquet, sorted by qid)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their splits (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="relevance judgements (Parquet)")
    options.add_argument("--docids", type=Path, required=True, help="docids of the corpus (Parquet)")
    options.add_argument("--split", choices=QUERY_SETS, required=True, help="mine for the queries of this split")
    options.add_argument("--per-query", type=int, required=True, help="negatives a query, split evenly over the strata")
    options.add_argument(
        "--remainder",
        choices=("spread", "last", "first"),
        required=True,
        help="what the strata don't give in equal parts: one each from the first ones, what a stratum lacks from "
        "the nearest; the same, but all from the last one; all from the first one, repeats possible",
    )
    options.add_argument(
        "--collection",
        choices=("corpus", "whole"),
        required=True,
        help="what the run ranks; whole: also what isn't in the corpus, whose pairs are dropped once they are drawn",
    )
    options.add_argument(
        "--positives", choices=("all", "one"), required=True, help="relevant documents of a query: one, by chance"
    )
    options.add_argument(
        "--strata", type=int, nargs="+", required=True, help="last rank of each stratum, such as 100 500 1000"
    )
    options.add_argument(
        "--ranking",
        type=Path,
        help="a model's run of the split (Parquet): take what it ranks highest of a stratum, not what chance draws",
    )
    options.add_argument("--seed", type=int, required=True, help="seed; each query has its own chance from it")
    options.add_argument("--output", type=Path, required=True, help="the negatives (Parquet), sorted by qid and rank")
    return options


def main(arguments: argparse.Namespace) -> None:
    import numpy as np
    import pyarrow.compute as pc

    from ddro.core.files import read_table, write_table
    from ddro.core.tables import DOCIDS, NEGATIVES, QUERIES
    from ddro.corpora.judgements import own_documents, queries_of_split
    from ddro.training.negatives import (
        by_chance,
        by_model,
        docid_groups,
        mine,
        pairs_table,
        query_generator,
        read_rankings,
    )

    if arguments.per_query < 1:
        raise UserError(f"--per-query {arguments.per_query}: must be 1 or more.")
    if any(low >= high for low, high in zip([0, *arguments.strata], arguments.strata, strict=False)):
        raise UserError(f"--strata {arguments.strata}: must be positive and ascending, such as 100 500 1000.")
    docids = read_table(arguments.docids, DOCIDS, ["docno"])
    docnos = docids["docno"].combine_chunks()
    groups = docid_groups(docids["tokens"].combine_chunks())
    queries = read_table(arguments.queries, QUERIES, ["qid"])
    qids = set(queries_of_split(queries, arguments.queries, arguments.split)["qid"].to_pylist())
    own = own_documents(queries)
    relevant = read_relevant(arguments.qrels, qids, docnos)
    of_model = read_ranking(arguments.ranking, qids, docnos) if arguments.ranking else None

    few = f"queries with fewer than {arguments.per_query} candidates, of which all are taken"
    counts = dict.fromkeys(["queries without a ranking", "queries without a relevant document", few], 0)
    counts["queries without a ranking"] = len(qids)
    outside = 0
    mined, positives, negatives = [], [], []
    rankings = read_rankings(arguments.run, docnos, others=arguments.collection == "whole")
    for qid, documents, ranks in progress(
        rankings, description=f"mine {arguments.split}", unit="queries", total=len(qids)
    ):
        if qid not in qids:
            raise UserError(f"{arguments.run}: query {qid!r} is not in the split {arguments.split!r}.")
        counts["queries without a ranking"] -= 1
        if qid not in relevant:
            counts["queries without a relevant document"] += 1
            continue
        if qid in own:
            others = documents != pc.index(docnos, qid).as_py()
            documents, ranks = documents[others], ranks[others]
        chance = query_generator(arguments.seed, qid)
        of_query = relevant[qid] if arguments.positives == "all" else chance.choice(relevant[qid], size=1)
        draw = by_model(of_model[qid]) if of_model else by_chance(chance)
        drawn, at = mine(
            documents, ranks, relevant[qid], groups, arguments.strata, arguments.per_query, draw, arguments.remainder
        )
        counts[few] += len(drawn) < arguments.per_query
        inside = drawn < len(docnos)
        outside += int((~inside).sum())
        if inside.any():
            mined.append(qid)
            positives.append(of_query)
            negatives.append((drawn[inside], at[inside]))
    if not mined:
        raise UserError(
            f"{arguments.run}: no query of the split {arguments.split!r} has a negative: BM25 finds no document "
            "within the strata but relevant ones. Raise bm25.depth and negatives.strata, or keep more documents."
        )
    table = pairs_table(mined, positives, negatives, docnos)
    write_table(table, arguments.output, NEGATIVES)

    log.info("%d pairs of %d queries", len(table), len(mined))
    bounds = [0, *arguments.strata]
    found = np.histogram(np.concatenate([ranks for _, ranks in negatives]), np.array(bounds) + 1)[0]
    for above, last, count in zip(bounds, arguments.strata, found, strict=False):
        log.info("ranks %d to %d: %d negatives", above + 1, last, count)
    for reason, count in counts.items():
        log.info("%d %s", count, reason)
    if arguments.collection == "whole":
        kept = sum(len(documents) for documents, _ in negatives)
        log.info("%d negatives dropped, for they are outside the corpus; %d kept", outside, kept)
    if of_model:
        unranked = sum(
            len(np.setdiff1d(documents, of_model[qid])) for qid, (documents, _) in zip(mined, negatives, strict=True)
        )
        log.info("%d negatives that the model does not rank, taken in BM25's order", unranked)


def read_relevant(path: Path, qids: set[str], docnos) -> dict:
    """The positions in ``docnos`` of the documents with relevance > 0 of each query, in the order of their docnos."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from ddro.core.files import read_table
    from ddro.core.tables import QRELS

    qrels = read_table(path, QRELS, ["qid", "docno"])
    wanted = pc.and_(pc.greater(qrels["relevance"], 0), pc.is_in(qrels["qid"], value_set=pa.array(sorted(qids))))
    qrels = qrels.filter(wanted).sort_by([("qid", "ascending"), ("docno", "ascending")])
    rows = pc.index_in(qrels["docno"], value_set=docnos)
    if rows.null_count:
        docno = qrels["docno"][pc.index(pc.is_null(rows), True).as_py()].as_py()
        raise UserError(f"{path}: docno {docno!r} has no docid ({rows.null_count} such rows).")
    relevant: dict[str, list[int]] = {}
    for qid, row in zip(qrels["qid"].to_pylist(), rows.to_pylist(), strict=True):
        relevant.setdefault(qid, []).append(row)
    return {qid: np.array(found) for qid, found in relevant.items()}


def read_ranking(path: Path, qids: set[str], docnos) -> dict:
    """The positions in ``docnos`` of the documents that the model ranks for each query, best first."""
    from ddro.training.negatives import read_rankings

    ranked = {qid: documents for qid, documents, _ in read_rankings(path, docnos)}
    if missing := sorted(qids - set(ranked)):
        raise UserError(f"{path}: query {missing[0]!r} is not ranked ({len(missing)} such queries). Delete the file.")
    return ranked


if __name__ == "__main__":
    call_main(parser(), main)
