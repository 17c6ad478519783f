"""Dense retrieval: documents ranked by the similarity of their vectors to the query's, exactly, by FAISS."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import numpy as np

ROWS_AT_A_TIME = 2**16
ROUNDING = 1e-6
"""By which the length of a unit vector in float32 may differ from 1."""


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """The rows of ``vectors`` [n, dim] divided by their Euclidean lengths, float32; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    if (np.abs(lengths - 1) < ROUNDING).all():  # as most models' vectors are; to divide a million takes seconds
        return np.ascontiguousarray(vectors, np.float32)
    return np.divide(vectors, lengths, out=np.zeros(vectors.shape, np.float32), where=lengths > 0)


def nearest(documents: np.ndarray, queries: np.ndarray, depth: int, *, cosine: bool) -> tuple[np.ndarray, np.ndarray]:
    """The ``depth`` documents of each query with the highest inner product, or cosine, best first.

    Every document is compared with every query; of ``documents``, which may be mapped from a file, 65,536 rows are in
    memory at a time.

    Args:
        documents: float32 [N, dim].
        queries: float32 [q, dim].
        depth: at least 1; all documents where there are fewer.
        cosine: compare directions, not lengths.

    Returns:
        int64 [q, min(depth, N)]: rows of ``documents``; equal scores in the order of the rows.
        float32 [q, min(depth, N)]: their scores.
    """
    rows = np.empty((len(queries), 0), np.int64)
    scores = np.empty((len(queries), 0), np.float32)
    queries = unit_length(queries) if cosine else np.ascontiguousarray(queries, np.float32)
    for first, part in _parts(documents):
        part = unit_length(part) if cosine else part
        found, places = faiss.knn(queries, part, min(depth, len(part)), metric=faiss.METRIC_INNER_PRODUCT)
        rows, scores = np.hstack([rows, places + first]), np.hstack([scores, found])
        best = np.lexsort((rows, -scores))[:, :depth]
        rows, scores = np.take_along_axis(rows, best, 1), np.take_along_axis(scores, best, 1)
    return rows, scores


def _parts(documents: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for first in range(0, len(documents), ROWS_AT_A_TIME):
        yield first, np.ascontiguousarray(documents[first : first + ROWS_AT_A_TIME])
