"""Measures of a run on each query; the computing is ir-measures'."""

from __future__ import annotations

import ir_measures
import pandas as pd
import pyarrow as pa

from ddro.core.tables import MEASURES, PER_QUERY

PROTOCOLS = ("query", "judgement")
CUTOFF = 10
"""No measure looks below this rank."""

_IR_MEASURES = {ir_measures.parse_measure(name.replace("MRR@", "RR@")): name for name in MEASURES}


def evaluate_run(run: pa.Table, qrels: pa.Table, protocol: str = "query") -> pd.DataFrame:
    """Return the measures of each instance: index qid and docno (sorted), one float column per name of `MEASURES`.

    With the protocol ``query`` each query of ``qrels`` is one instance, with all its relevant documents; docno is
    empty. With ``judgement``, that of the paper, each (query, relevant document) is one, and only this document counts
    as relevant: a query with three relevant documents is measured three times, and at least two times is imperfect.

    A query that the run has no documents for counts as zero in every measure. A document is relevant from relevance
    1 on; nDCG has the relevance as gain, the discount log2(rank + 1), and divides by the value of the ideal ranking
    (trec_eval's ndcg_cut). R@k divides by the number of relevant documents, also where it exceeds k.

    The tools below ir-measures sort a run by its score, which trec_eval holds in single precision, and break ties by
    docno, one of them upwards, another downwards. Our order is the rank, so each document gets the score ``-rank``:
    then nothing ties.

    Args:
        run: columns of `tables.RUN`, as `runs.read_run` returns them; its queries are among those of ``qrels``.
        qrels: columns of `tables.QRELS`.
        protocol: one of `PROTOCOLS`.
    """
    top = run.select(["qid", "docno", "rank"]).filter(pa.compute.less_equal(run["rank"], CUTOFF)).to_pandas()
    judged = qrels.to_pandas()
    if protocol == "judgement":
        judged = judged[judged["relevance"] >= 1]
        instances = judged[["qid", "docno"]].rename(columns={"docno": "of"})
        top = top.merge(instances, on="qid")
        judged = judged.assign(of=judged["docno"])
    else:
        instances = judged[["qid"]].drop_duplicates().assign(of="")
        top, judged = top.assign(of=""), judged.assign(of="")
    instances = instances.sort_values(["qid", "of"], ignore_index=True)
    number = pd.Series(instances.index.astype(str), pd.MultiIndex.from_frame(instances))
    top["query_id"], judged["query_id"] = (
        number.loc[pd.MultiIndex.from_frame(frame[["qid", "of"]])].to_numpy() for frame in (top, judged)
    )
    top = top.assign(score=-top["rank"].astype(float)).rename(columns={"docno": "doc_id"})
    judged = judged.rename(columns={"docno": "doc_id"})
    values = [
        (int(metric.query_id), _IR_MEASURES[metric.measure], metric.value)
        for metric in ir_measures.iter_calc(
            list(_IR_MEASURES),
            judged[["query_id", "doc_id", "relevance"]],
            top[["query_id", "doc_id", "score"]],
        )
    ]
    table = pd.DataFrame(values, columns=["instance", "measure", "value"])
    table = table.pivot(index="instance", columns="measure", values="value").loc[instances.index, list(MEASURES)]
    index = pd.MultiIndex.from_frame(instances.rename(columns={"of": "docno"}))
    return table.astype(float).rename_axis(columns=None).set_axis(index)


def query_properties(queries: pa.Table, qrels: pa.Table, split: str) -> pd.DataFrame:
    """Return what each query of ``split`` is like: index qid (sorted), and these columns.

    * ``group``: "seen" if one of its relevant documents is relevant to a query of the split ``train`` too, that is, the
      model has been trained on another query for it; else "unseen": its documents are known by content and pseudo
      queries alone.
    * ``relevant_documents``, ``query_words``: how many it has; words are what white space parts.

    Args:
        queries: columns of `tables.QUERIES`.
        qrels: columns of `tables.QRELS`.
    """
    table = queries.to_pandas().set_index("qid").sort_index()
    relevant = qrels.to_pandas().query("relevance >= 1")
    trained = set(relevant.loc[relevant["qid"].map(table["split"]) == "train", "docno"])
    asked = relevant[relevant["docno"].isin(trained)]["qid"]
    table = table[table["split"] == split]
    return pd.DataFrame(
        {
            "group": pd.Series(table.index.isin(asked), table.index).map({True: "seen", False: "unseen"}),
            "relevant_documents": relevant.groupby("qid").size().reindex(table.index, fill_value=0),
            "query_words": table["text"].str.split().str.len(),
        }
    )


def per_query_table(per_query: pd.DataFrame, properties: pd.DataFrame) -> pa.Table:
    """Return the columns of `tables.PER_QUERY`, sorted by qid and docno."""
    frame = per_query.join(properties, on="qid").reset_index()
    return pa.Table.from_pandas(frame[PER_QUERY.names], schema=PER_QUERY, preserve_index=False)
