"""Docids of the schemes that number documents, and the documents that share a docid.

Collision policy: documents may share a docid. Each keeps its row in the table of docids; whoever generates the docid
retrieves them all, in the order of that table, which is that of the corpus. Nothing is drawn, so no seed is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np


def pq_tokens(codes: np.ndarray, centroids: int, vocabulary_size: int) -> np.ndarray:
    """Token of sub-space i and code c: ``vocabulary_size + centroids * i + c`` (METHOD 1): int32 [N, M]."""
    return (vocabulary_size + centroids * np.arange(codes.shape[1]) + codes).astype(np.int32)


def atomic_tokens(documents: int, vocabulary_size: int) -> np.ndarray:
    """One token a document, ``vocabulary_size + row``: int32 [documents, 1]."""
    return np.arange(vocabulary_size, vocabulary_size + documents, dtype=np.int32)[:, None]


def collision_sizes(docids: Iterable[Sequence[int]]) -> list[int]:
    """How many documents share each docid that more than one has, largest first."""
    return sorted((size for size in Counter(map(tuple, docids)).values() if size > 1), reverse=True)


def docid_token(code: int) -> str:
    """The tokenizer's string for the docid token with this number, counted from the end of the base vocabulary."""
    return f"<docid_{code}>"
