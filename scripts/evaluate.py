"""Evaluate a run on the queries of one split: the measures of each query, and means of groups with 95 % intervals."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, log
from ddro.core.files import check_foreign_key, read_table, write_json, write_table
from ddro.core.tables import CORPUS, MEASURES, PER_QUERY, QRELS, QUERIES, SPLITS, columns


def parser() -> argparse.ArgumentParser:
    """The options of this script."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--run", type=Path, required=True, help="the run: TREC text (.trec.gz) or Parquet (.parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their splits (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="relevant documents of the queries (Parquet)")
    options.add_argument("--corpus", type=Path, required=True, help="the documents that a run may name (Parquet)")
    options.add_argument("--split", choices=SPLITS, default="test", help="evaluate on these queries (default: test)")
    options.add_argument(
        "--protocol",
        choices=["query", "judgement"],
        default="query",
        help="query: one instance per query (default); judgement: one per query and relevant document, as in the paper",
    )
    options.add_argument("--resamples", type=int, default=10000, help="of the bootstrap (default: 10000)")
    options.add_argument("--seed", type=int, default=42, help="of the bootstrap (default: 42)")
    options.add_argument("--system", required=True, help="name of what made the run, such as bm25, sft or ddro")
    options.add_argument("--output-metrics", type=Path, required=True, help="means per group of queries (JSON)")
    options.add_argument("--output-per-query", type=Path, required=True, help="measures of each query (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    """Check that run, queries, qrels and corpus fit each other, then evaluate."""
    import pyarrow.compute as pc

    from ddro.corpora.judgements import queries_of_split
    from ddro.evaluation.averages import GROUPS, group_means, slice_means
    from ddro.evaluation.measures import evaluate_run, per_query_table, query_properties
    from ddro.retrieval.runs import read_run

    queries = read_table(arguments.queries, QUERIES, unique=["qid"])
    qrels = read_table(arguments.qrels, QRELS, unique=["qid", "docno"])
    docnos = read_table(arguments.corpus, columns(CORPUS, "docno"))["docno"]
    ranking = read_run(arguments.run)

    qids = queries_of_split(queries, arguments.queries, arguments.split)["qid"]
    check_foreign_key(ranking, arguments.run, "qid", qids, f"the {arguments.split} queries of {arguments.queries}")
    check_foreign_key(ranking, arguments.run, "docno", docnos, str(arguments.corpus))
    check_foreign_key(qrels, arguments.qrels, "qid", queries["qid"], str(arguments.queries))
    judged = qrels.filter(pc.is_in(qrels["qid"], value_set=qids.combine_chunks()))
    check_foreign_key(judged, arguments.qrels, "docno", docnos, str(arguments.corpus))
    relevant = judged.filter(pc.greater_equal(judged["relevance"], 1))
    unjudged = sorted(set(qids.to_pylist()) - set(relevant["qid"].to_pylist()))
    if unjudged:
        raise UserError(
            f"{arguments.qrels}: query {unjudged[0]!r} of the split {arguments.split!r} has no relevant document "
            f"({len(unjudged)} such queries). Remove it from {arguments.queries} or judge a document of the corpus."
        )

    without_hits = len(qids) - pc.count_distinct(ranking["qid"]).as_py()
    log.info("%d %s queries, of which %d have no ranking and count as zero", len(qids), arguments.split, without_hits)
    measures = evaluate_run(ranking, judged, arguments.protocol)
    per_query = per_query_table(measures, query_properties(queries, qrels, arguments.split))
    frame = per_query.to_pandas()
    means = group_means(frame, arguments.resamples, arguments.seed)
    for group in GROUPS:
        values = ", ".join(f"{name} {means[group][name]:.4f}" for name in MEASURES if means[group]["n_queries"])
        log.info("%s, %s, %d instances: %s", arguments.system, group, means[group]["n_queries"], values or "-")
    write_table(per_query, arguments.output_per_query, PER_QUERY, unique=["qid", "docno"])
    write_json(
        {
            "system": arguments.system,
            "split": arguments.split,
            "protocol": arguments.protocol,
            "resamples": arguments.resamples,
            "seed": arguments.seed,
            "queries_without_hits": without_hits,
            "groups": means,
            "slices": slice_means(frame, arguments.resamples, arguments.seed),
        },
        arguments.output_metrics,
    )


if __name__ == "__main__":
    call_main(parser(), main)
