"""Docids by number, and the documents that share one."""

import numpy as np

from ddro.docids import atomic_tokens, collision_sizes, pq_tokens


def test_pq_tokens_of_the_paper():
    """24 sub-spaces of 256 centroids behind T5's 32,128 embeddings: 6,144 new tokens, 38,272 in all (METHOD 1)."""
    codes = np.zeros((2, 24), np.int32)
    codes[1] = 255
    tokens = pq_tokens(codes, 256, 32128)
    assert tokens.dtype == np.int32
    assert tokens[0].tolist() == list(range(32128, 38272, 256))
    assert tokens[1].tolist() == list(range(32128 + 255, 38272, 256))
    assert tokens.max() + 1 == 38272


def test_pq_tokens_of_different_subspaces_are_different():
    codes = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)
    tokens = pq_tokens(codes, 4, 10)
    assert [set(column) for column in tokens.T.tolist()] == [{10, 11, 12, 13}, {14, 15, 16, 17}, {18, 19, 20, 21}]


def test_atomic_tokens():
    assert atomic_tokens(3, 100).tolist() == [[100], [101], [102]]
    assert atomic_tokens(3, 100).dtype == np.int32


def test_collision_sizes():
    assert collision_sizes([[1, 2], [3], [1, 2], [3], [1, 2], [4], [2, 1]]) == [3, 2]
    assert collision_sizes([[1, 2], [1]]) == []
    assert collision_sizes([]) == []
