"""Measures of a run, per query and as means over groups of queries; the computing is ir-measures'."""

from __future__ import annotations

import ir_measures
import pandas as pd
import pyarrow as pa

from ddro.tables import MEASURES, PER_QUERY

GROUPS = ("all", "seen", "unseen")
CUTOFF = 10
"""No measure looks below this rank."""

_IR_MEASURES = {ir_measures.parse_measure(name.replace("MRR@", "RR@")): name for name in MEASURES}


def evaluate_run(run: pa.Table, qrels: pa.Table) -> pd.DataFrame:
    """Return the measures of each query of ``qrels``: index qid (sorted), one float column per name of `MEASURES`.

    A query that the run has no documents for counts as zero in every measure. A document is relevant from relevance
    1 on; nDCG has the relevance as gain, the discount log2(rank + 1), and divides by the value of the ideal ranking
    (trec_eval's ndcg_cut). R@k divides by the number of relevant documents, also where it exceeds k.

    The tools below ir-measures sort a run by its score, which trec_eval holds in single precision, and break ties by
    docno, one of them upwards, another downwards. Our order is the rank, so each document gets the score ``-rank``:
    then nothing ties.

    Args:
        run: columns of `tables.RUN`, checked by `runs.check_run`; its queries are among those of ``qrels``.
        qrels: columns of `tables.QRELS`.
    """
    top = run.select(["qid", "docno", "rank"]).to_pandas().query("rank <= @CUTOFF")
    top = top.assign(score=-top["rank"].astype(float)).rename(columns={"qid": "query_id", "docno": "doc_id"})
    judged = qrels.to_pandas().rename(columns={"qid": "query_id", "docno": "doc_id"})
    values = [
        (metric.query_id, _IR_MEASURES[metric.measure], metric.value)
        for metric in ir_measures.iter_calc(list(_IR_MEASURES), judged, top[["query_id", "doc_id", "score"]])
    ]
    table = pd.DataFrame(values, columns=["qid", "measure", "value"])
    return table.pivot(index="qid", columns="measure", values="value").loc[:, list(MEASURES)].astype(float)


def query_groups(queries: pa.Table, qrels: pa.Table, split: str) -> pd.Series:
    """Return, for each query of ``split``, "seen" or "unseen" (index qid, sorted).

    Seen means that one of its relevant documents is relevant to a query of the split ``train`` too, that is, the model
    has been trained on another query for it. An unseen query's documents are known by content and pseudo queries alone.

    Args:
        queries: columns of `tables.QUERIES`.
        qrels: columns of `tables.QRELS`.
    """
    split_of = queries.to_pandas().set_index("qid")["split"]
    relevant = qrels.to_pandas().query("relevance >= 1")
    trained = set(relevant.loc[relevant["qid"].map(split_of) == "train", "docno"])
    asked = relevant[relevant["docno"].isin(trained)]["qid"]
    qids = split_of.index[split_of == split].sort_values()
    return pd.Series(qids.isin(asked), index=qids, name="group").map({True: "seen", False: "unseen"})


def group_means(per_query: pd.DataFrame, groups: pd.Series) -> dict[str, dict[str, float | int | None]]:
    """Return, for each of `GROUPS`, ``n_queries`` and the mean of each measure (None for a group without queries).

    Args:
        per_query: the result of `evaluate_run`.
        groups: the result of `query_groups`, for the same queries.
    """

    def means(rows: pd.DataFrame) -> dict[str, float | int | None]:
        values = {name: float(rows[name].mean()) if len(rows) else None for name in MEASURES}
        return {"n_queries": len(rows), **values}

    groups = groups.loc[per_query.index]
    return {group: means(per_query if group == "all" else per_query[groups == group]) for group in GROUPS}


def per_query_table(per_query: pd.DataFrame, groups: pd.Series) -> pa.Table:
    """Return the columns of `tables.PER_QUERY`, sorted by qid."""
    frame = per_query.assign(group=groups).reset_index().sort_values("qid")
    return pa.Table.from_pandas(frame[PER_QUERY.names], schema=PER_QUERY, preserve_index=False)
