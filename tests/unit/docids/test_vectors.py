"""Document vectors on disk, and what is wrong with them."""

import logging

import numpy as np
import pytest

from ddro.core.command import UserError
from ddro.docids import vectors as module
from ddro.docids.vectors import check_vectors, chunks, read_vectors


def random_vectors(count=300, dimension=12, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dimension), np.float32)


def test_embeddings_are_read(tmp_path):
    with pytest.raises(UserError, match=r"embeddings\.npy: no such file"):
        read_vectors(tmp_path)
    np.save(tmp_path / "embeddings.npy", random_vectors(3, 4))
    assert np.array_equal(read_vectors(tmp_path), random_vectors(3, 4))


@pytest.mark.parametrize(
    "array", [np.zeros((2, 3)), np.zeros(3, np.float32), np.zeros((0, 3), np.float32), np.array([{}], dtype=object)]
)
def test_what_is_no_matrix_of_vectors_is_refused(tmp_path, array):
    np.save(tmp_path / "embeddings.npy", array, allow_pickle=True)
    with pytest.raises(UserError, match=r"embeddings\.npy: (expected float32|not a NumPy array)"):
        read_vectors(tmp_path)


@pytest.mark.parametrize("size", [0, 5, 130, 170])
def test_a_cut_file_of_vectors_is_refused(tmp_path, size):
    path = tmp_path / "embeddings.npy"
    np.save(path, random_vectors(3, 4))
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"embeddings\.npy: not a NumPy array"):
        read_vectors(tmp_path)


def test_chunks_are_all_rows_of_all_arrays(monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 2)
    parts = list(chunks(np.arange(5), np.arange(10, 15)))
    assert [(left.tolist(), right.tolist()) for left, right in parts] == [
        ([0, 1], [10, 11]),
        ([2, 3], [12, 13]),
        ([4], [14]),
    ]


def test_zeros_are_counted(caplog, monkeypatch):
    monkeypatch.setattr(module, "ROWS_AT_A_TIME", 4)
    vectors = random_vectors(10, 3)
    with caplog.at_level(logging.WARNING, "ddro"):
        check_vectors(vectors)
        assert caplog.messages == []
        vectors[[3, 7]] = 0
        vectors[5] = 1e-30  # its square is 0, and it isn't
        check_vectors(vectors)
    assert caplog.messages == [
        "2 documents have a vector of zeros, the first in row 3 of the corpus (from 0): they share one docid"
    ]


def test_huge_numbers_are_numbers():
    vectors = random_vectors(3, 4)
    vectors[1] = 3e38
    check_vectors(vectors)
    vectors[1, 2] = np.inf
    with pytest.raises(UserError, match=r"row 1 .*\(1 such rows\)"):
        check_vectors(vectors)
