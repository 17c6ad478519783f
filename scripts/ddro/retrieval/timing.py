"""What a retrieval took, from the seconds of its batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def summarise_timings(shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One account of several shards.

    A query's time is that of its batch over the batch's queries: what it costs where many wait, not how long one alone
    would take.

    Args:
        shards: of each its "batches" (each with "queries" and "seconds"), and "beams", "device", "model_bytes",
            "precision" and "trie_bytes", which are the first shard's in the result (devices: all that took part).

    Returns:
        these, and "queries", "seconds" (of all batches), "queries_per_s", "batch_size" (the largest) and "ms_per_query"
        with the "median" and the "p95" over the queries.
    """
    batches = [batch for shard in shards for batch in shard["batches"]]
    counts = np.array([batch["queries"] for batch in batches])
    seconds = np.array([batch["seconds"] for batch in batches])
    of_queries = np.repeat(seconds / counts, counts) * 1000
    same = {name: shards[0][name] for name in ("beams", "model_bytes", "precision", "trie_bytes")}
    return same | {
        "batch_size": int(counts.max()),
        "device": ", ".join(sorted({shard["device"] for shard in shards})),
        "ms_per_query": {"median": float(np.median(of_queries)), "p95": float(np.quantile(of_queries, 0.95))},
        "queries": int(counts.sum()),
        "queries_per_s": float(counts.sum() / seconds.sum()),
        "seconds": float(seconds.sum()),
    }
