"""Preference pairs as DDRO trains on them: the negatives of a query and its relevant document together."""

from __future__ import annotations

import math
from collections.abc import Collection

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from transformers import PreTrainedTokenizerBase

from ddro.models.tokenizer import encode_as_array

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

    ``queries`` and ``docids`` have all that the pairs name; ``only`` these queries count, where it is given. Groups
    stand in the order of their first pairs, and the pairs of a group in their own.

    Returns:
        columns prompt_ids (the query's tokens), chosen (a row of ``docids``), rejected (a list of rows), and length,
        the query's.
    """
    if only is not None:
        pairs = pairs.filter(pc.is_in(pairs["qid"], value_set=pa.array(sorted(only), pa.string())))
    docnos = docids["docno"].combine_chunks()
    query = _rows(pairs["qid"], queries["qid"].combine_chunks())
    positive, negative = (_rows(pairs[name], docnos) for name in ("positive", "negative"))
    first, group = np.unique(query.astype(np.int64) * len(docids) + positive, return_index=True, return_inverse=True)[
        1:
    ]
    order = np.argsort(first[group], kind="stable")
    query, positive, negative, first = query[order], positive[order], negative[order], first[group[order]]

    begins = np.flatnonzero(np.diff(first, prepend=-1))
    place = np.arange(len(first)) - np.repeat(begins, np.diff(begins, append=len(first)))
    starts = np.flatnonzero(place % size == 0)
    asked, prompt = np.unique(query[starts], return_inverse=True)
    texts = queries["text"].take(pa.array(asked)).to_pylist()
    prompts = encode_as_array(tokenizer, texts, max_query_tokens).take(pa.array(prompt))
    table = pa.table(
        {
            "prompt_ids": prompts,
            "chosen": positive[starts],
            "rejected": pa.ListArray.from_arrays(np.append(starts, len(negative)).astype(np.int32), negative),
            "length": pc.list_value_length(prompts),
        }
    )
    return datasets.Dataset(datasets.table.InMemoryTable(table))


def _rows(names: pa.ChunkedArray, known: pa.Array) -> np.ndarray:
    """The place of each name among those ``known``: int32 [names]."""
    return pc.index_in(names, value_set=known).to_numpy()
