"""Means of measures over groups of queries, with bootstrap intervals."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ddro.core.tables import MEASURES
from ddro.evaluation.significance import bootstrap_interval

GROUPS = ("all", "seen", "unseen")
SLICES = {
    "relevant_documents": ((1, 1), (2, 2), (3, None)),
    "query_words": ((1, 4), (5, 6), (7, 9), (10, None)),
}
"""Column of the table of queries -> from and up to (None: any), both included."""


def group_means(per_query: pd.DataFrame, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Return what `mean` says of each of `GROUPS`.

    Args:
        per_query: the columns of `tables.PER_QUERY`.
        resamples: as of `mean`.
        seed: as of `mean`.
    """
    return {
        group: mean(per_query if group == "all" else per_query[per_query["group"] == group], resamples, seed)
        for group in GROUPS
    }


def slice_means(per_query: pd.DataFrame, resamples: int, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Return, for each key of `SLICES`, what `mean` says of each of its parts, and the part's name as ``slice``."""
    return {
        column: [
            {"slice": slice_name(low, high)}
            | mean(per_query[per_query[column].between(low, high or float("inf"))], resamples, seed)
            for low, high in parts
        ]
        for column, parts in SLICES.items()
    }


def slice_name(low: int, high: int | None) -> str:
    """Return "3", "4-6" or "10+"."""
    if high is None:
        return f"{low}+"
    return str(low) if low == high else f"{low}-{high}"


def mean(rows: pd.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """Return ``n_queries``, the mean of each measure, and its 95 % interval in ``intervals``.

    The means are None without rows, the intervals where there are fewer than two.

    Args:
        rows: a row per query, with a column per name of `MEASURES`.
        resamples: of the bootstrap, see `significance.bootstrap_interval`.
        seed: of the bootstrap.
    """
    if not len(rows):
        return {"n_queries": 0, **dict.fromkeys(MEASURES), "intervals": dict.fromkeys(MEASURES)}
    values = rows[list(MEASURES)]
    intervals: dict[str, list[float] | None] = dict.fromkeys(MEASURES)
    if len(rows) > 1:
        ends = zip(*bootstrap_interval(values.to_numpy(), resamples, seed), strict=True)
        intervals = {name: [float(low), float(high)] for name, (low, high) in zip(MEASURES, ends, strict=True)}
    means = {name: float(value) for name, value in values.mean().items()}
    return {"n_queries": len(rows), **means, "intervals": intervals}
