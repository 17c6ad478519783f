"""Is one system better than another, or was it luck of the queries? The paired two-sided t-test of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ddro.command import UserError
from ddro.tables import MEASURES

CONFIDENCE = 0.95


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


def compare(per_query: Mapping[str, pd.DataFrame], baselines: Sequence[str]) -> list[dict[str, str | float]]:
    """Test every system against every baseline but itself, on every name of `MEASURES`, over the same queries.

    Args:
        per_query: for each system a frame with the index qid and a column per measure.
        baselines: systems to compare with, keys of ``per_query``.

    Returns:
        For each (system, baseline, measure), in the given order, these three and what `paired_t_test` returns.

    Raises:
        UserError: a baseline that is no system, systems measured on different queries, or fewer than two queries.
    """
    for baseline in baselines:
        if baseline not in per_query:
            raise UserError(f"baseline {baseline!r} is not among the systems given ({', '.join(per_query)}).")
    first = next(iter(per_query))
    qids = per_query[first].index
    if len(qids) < 2:
        raise UserError(f"{first}: {len(qids)} query; a paired t-test needs at least two.")
    for system, frame in per_query.items():
        if strange := sorted(set(qids) ^ set(frame.index)):
            raise UserError(
                f"{first} and {system} were measured on different queries: {strange[0]!r} is in one of them only "
                f"({len(strange)} such queries). Evaluate both on the same split."
            )
    return [
        {"system": system, "baseline": baseline, "measure": measure}
        | paired_t_test(per_query[system].loc[qids, measure], per_query[baseline].loc[qids, measure])
        for system in per_query
        for baseline in baselines
        if system != baseline
        for measure in MEASURES
    ]
