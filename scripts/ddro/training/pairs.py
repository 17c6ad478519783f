"""Preference pairs as DDRO trains on them: the negatives of a query and its relevant document together."""

from __future__ import annotations

import math
from collections.abc import Collection

import datasets
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from ddro.models.t5 import encode

FULL_GROUPS = 0.95
"""The share of pairs that stand in full groups, at least."""


def group_size(batch_size: int, pairs: pa.Table) -> int:
    """How many negatives of a query stand in one group, of which a batch is made.

    The largest number that divides both ``batch_size`` and the most negatives that a (query, relevant document) has in
    ``pairs`` (`tables.NEGATIVES`), and with which `FULL_GROUPS` of all pairs are in full groups. So an optimizer step
    has ``batch_size`` pairs, or hardly fewer.
    """
    counts = pairs.group_by(["qid", "positive"]).aggregate([([], "count_all")])["count_all"].to_numpy()
    common = math.gcd(batch_size, int(counts.max()))
    sizes = [size for size in range(common, 0, -1) if common % size == 0]
    return next(size for size in sizes if (counts // size * size).sum() >= FULL_GROUPS * counts.sum())


def group_pairs(
    pairs: pa.Table,
    queries: pa.Table,
    docids: pa.Table,
    tokenizer: PreTrainedTokenizerBase,
    max_query_tokens: int,
    size: int,
    only: Collection[str] | None = None,
) -> datasets.Dataset:
    """The pairs (`tables.NEGATIVES`) in groups of one query, one relevant docid and at most ``size`` negatives.

    ``queries`` and ``docids`` have all that the pairs name; ``only`` these queries count, where it is given.

    Returns:
        columns prompt_ids, chosen_ids (token ids), rejected_ids (a list of them), and length, the query's.
    """
    grouped: dict[tuple[str, str], list[str]] = {}
    wanted = None if only is None else set(only)
    for qid, positive, negative in zip(*(pairs[name].to_pylist() for name in pairs.column_names[:3]), strict=True):
        if wanted is None or qid in wanted:
            grouped.setdefault((qid, positive), []).append(negative)
    parts = [
        (qid, positive, negatives[first : first + size])
        for (qid, positive), negatives in grouped.items()
        for first in range(0, len(negatives), size)
    ]
    asked = {qid for qid, _, _ in parts}
    texts = {row["qid"]: row["text"] for row in queries.to_pylist() if row["qid"] in asked}
    prompts = dict(zip(texts, encode(tokenizer, list(texts.values()), max_query_tokens), strict=True))
    docid = dict(zip(docids["docno"].to_pylist(), docids["tokens"].to_pylist(), strict=True))
    return datasets.Dataset.from_dict(
        {
            "prompt_ids": [prompts[qid] for qid, _, _ in parts],
            "chosen_ids": [docid[positive] for _, positive, _ in parts],
            "rejected_ids": [[docid[negative] for negative in negatives] for _, _, negatives in parts],
            "length": [len(prompts[qid]) for qid, _, _ in parts],
        }
    )
