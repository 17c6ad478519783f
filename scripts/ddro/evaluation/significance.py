"""Is one system better than another, or was it luck of the queries?

The paired two-sided t-test of the paper; a paired randomisation test, which assumes no distribution; bootstrap
intervals; and Holm's correction where several tests stand side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ddro.core.command import UserError
from ddro.core.tables import MEASURES

CONFIDENCE = 0.95
ROUNDING = 1e-9
"""Sums that differ by no more are the same."""


def paired_t_test(ours: ArrayLike, theirs: ArrayLike) -> dict[str, float]:
    """Student's paired two-sided t-test (scipy's ``ttest_rel``) of two equally long arrays of at least two values.

    Returns:
        ``difference``, the mean of ours - theirs; its 95 % confidence interval ``low`` to ``high``; and ``p``.
        Where all differences are zero the statistic is 0/0; nothing then speaks against equality, so p is 1. Where all
        are the same other number, p is 0. Values of p are not corrected for the number of comparisons.

    Raises:
        ValueError: arrays of different lengths, or fewer than two values.
    """
    from scipy.stats import ttest_rel

    ours, theirs = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if ours.shape != theirs.shape or ours.ndim != 1 or len(ours) < 2:
        raise ValueError(f"expected two equally long lists of at least two values, found {ours.shape}, {theirs.shape}")
    differences = ours - theirs
    difference = float(differences.mean())
    if np.ptp(differences) == 0:
        return {"difference": difference, "low": difference, "high": difference, "p": float(difference == 0)}
    result = ttest_rel(ours, theirs)
    low, high = result.confidence_interval(CONFIDENCE)
    return {"difference": difference, "low": float(low), "high": float(high), "p": float(result.pvalue)}


def bootstrap_interval(values: ArrayLike, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The percentile bootstrap's 95 % intervals of the means (Efron and Tibshirani 1993, ch. 13).

    Queries are drawn with replacement, as many as there are; the interval is between the 2.5th and the 97.5th
    percentile of the means of all draws.

    Args:
        values: [queries, measures], at least one query.
        resamples: how often queries are drawn.
        seed: of the draws.

    Returns:
        lower and upper ends, [measures] each.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    # Queries with the same values are many, and drawing from them is drawing how many of each kind there are.
    kinds, counts = np.unique(values, axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    means = [generator.multinomial(n, counts / n, size=rows) @ kinds / n for rows in _batches(resamples, len(kinds))]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    return low, high


def randomisation_test(differences: ArrayLike, resamples: int, seed: int) -> np.ndarray:
    """Two-sided p of Fisher's paired randomisation test on the mean difference: float64 [measures].

    If the two systems were the same, which of them has which value of a query would be a coin's choice: the signs of
    the differences are drawn ``resamples`` times, and p is the share of draws, the one observed among them, whose mean
    is at least as far from zero (Smucker, Allan and Carterette, CIKM 2007).

    Args:
        differences: [queries, measures], ours - theirs.
        resamples: how often signs are drawn.
        seed: of the draws.
    """
    kinds, counts = np.unique(np.asarray(differences, dtype=np.float64), axis=0, return_counts=True)
    observed = np.abs(counts @ kinds)
    generator = np.random.default_rng(seed)
    as_far = np.zeros(kinds.shape[1])
    for rows in _batches(resamples, len(kinds)):
        kept = generator.binomial(counts, 0.5, size=(rows, len(kinds)))  # those of each kind that keep their sign
        as_far += (np.abs((2 * kept - counts) @ kinds) >= observed - ROUNDING).sum(axis=0)
    return (as_far + 1) / (resamples + 1)


def _batches(resamples: int, kinds: int) -> list[int]:
    """Parts of ``resamples`` that need some 100 MB each."""
    size = max(1, 10_000_000 // kinds)
    return [min(size, resamples - done) for done in range(0, resamples, size)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number (Holm 1979): rejecting those <= 0.05 errs once in 20 whole tables."""
    order = np.argsort(p_values, kind="stable")
    steps = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(order), 0, -1)
    corrected = np.empty(len(order))
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected.tolist()


def compare(
    per_query: Mapping[str, pd.DataFrame], baselines: Sequence[str], resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Test every system against every baseline but itself, on every name of `MEASURES`, over the same queries.

    Args:
        per_query: for each system a frame with the index qid and docno, and a column per measure.
        baselines: systems to compare with, keys of ``per_query``.
        resamples: of bootstrap and randomisation.
        seed: of bootstrap and randomisation.

    Returns:
        For each (system, baseline, measure), in the given order, these three, what `paired_t_test` returns,
        ``p_randomisation``, and ``bootstrap``: the ends of the interval of the mean difference. Nothing where there
        is but one query, of which no test can be made.

    Raises:
        UserError: a baseline that is no system, or systems measured on different queries.
    """
    for baseline in baselines:
        if baseline not in per_query:
            raise UserError(f"baseline {baseline!r} is not among the systems given ({', '.join(per_query)}).")
    first = next(iter(per_query))
    keys = per_query[first].index
    for system, frame in per_query.items():
        if strange := sorted(set(keys) ^ set(frame.index)):
            raise UserError(
                f"{first} and {system} were measured on different queries: {strange[0][0]!r} is in one of them only "
                f"({len(strange)} such). Evaluate both on the same split with the same protocol."
            )
    rows: list[dict[str, Any]] = []
    for system in per_query if len(keys) > 1 else ():
        for baseline in baselines:
            if system != baseline:
                ours, theirs = (per_query[name].loc[keys, list(MEASURES)].to_numpy() for name in (system, baseline))
                p = randomisation_test(ours - theirs, resamples, seed)
                low, high = bootstrap_interval(ours - theirs, resamples, seed)
                rows += [
                    {"system": system, "baseline": baseline, "measure": measure}
                    | paired_t_test(ours[:, column], theirs[:, column])
                    | {"p_randomisation": float(p[column]), "bootstrap": [float(low[column]), float(high[column])]}
                    for column, measure in enumerate(MEASURES)
                ]
    return rows
