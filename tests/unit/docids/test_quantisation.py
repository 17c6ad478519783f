"""Product and residual quantisation, against their definitions in NumPy."""

import logging
import os

import faiss
import numpy as np
import pytest

from ddro.core.command import UserError
from ddro.docids import quantisation
from ddro.docids.quantisation import (
    encode,
    read_codebook,
    relative_distortion,
    train_pq,
    train_rq,
    use_threads,
    write_codebook,
)


def random_vectors(count=300, dimension=12, seed=0):
    return np.random.default_rng(seed).standard_normal((count, dimension), np.float32)


def train(vectors, subspaces=3, centroids=8, iterations=5, seed=42, **options):
    return train_pq(vectors, subspaces=subspaces, centroids=centroids, iterations=iterations, seed=seed, **options)


def train_residual(vectors, levels=3, centroids=8, beam=1, iterations=5, seed=42, **options):
    return train_rq(vectors, levels=levels, centroids=centroids, beam=beam, iterations=iterations, seed=seed, **options)


def distortion(codebook, vectors):
    return relative_distortion(codebook, vectors, encode(codebook, vectors))


def nearest_centroids(codebook, vectors):
    """The definition: in each sub-space the centroid with the smallest squared distance."""
    m, ks, width = codebook.pq.M, codebook.pq.ksub, codebook.pq.dsub
    centroids = faiss.vector_to_array(codebook.pq.centroids).reshape(m, ks, width)
    parts = vectors.reshape(len(vectors), m, 1, width)
    return np.square(parts - centroids).sum(axis=-1).argmin(axis=-1)


@pytest.mark.parametrize("centroids", [2, 4, 8, 16, 32, 64, 128, 256, 512])
@pytest.mark.parametrize("subspaces", [1, 3, 4])
def test_codes_are_the_nearest_centroids_for_any_number_of_bits(subspaces, centroids):
    vectors = random_vectors(600)
    codebook = train(vectors, subspaces, centroids, iterations=2)
    codes = encode(codebook, vectors)
    assert (codes.dtype, codes.shape) == (np.int32, (600, subspaces))
    assert np.array_equal(codes, nearest_centroids(codebook, vectors))


def test_components_are_quantised_after_a_rotation_that_keeps_distances(tmp_path):
    """Vectors of 12 dimensions that vary in 4 only lose nothing by 4 components, and codes are those of the 4."""
    basis, _ = np.linalg.qr(random_vectors(12, 4, seed=3))
    vectors = random_vectors(600, 4) @ basis.T + 5
    codebook = train(vectors, subspaces=2, centroids=16, components=4, seed=1)
    write_codebook(codebook, tmp_path / "codebook.faiss")
    codebook = read_codebook(tmp_path / "codebook.faiss")
    components = codebook.chain.at(0).apply(vectors)
    distances = np.linalg.norm(vectors[0] - vectors, axis=1)
    assert np.linalg.norm(components[0] - components, axis=1) == pytest.approx(distances, abs=1e-3)
    centroids = faiss.vector_to_array(quantisation.quantiser(codebook).centroids).reshape(2, 16, 2)
    expected = np.square(components.reshape(-1, 2, 1, 2) - centroids).sum(axis=-1).argmin(axis=-1)
    assert np.array_equal(encode(codebook, vectors), expected)
    variances = np.square(components - components.mean(axis=0)).mean(axis=0).reshape(2, 2).sum(axis=1)
    pq = quantisation.quantiser(codebook)
    lost = components - pq.decode(pq.compute_codes(components))
    scatter = np.square(vectors - vectors.mean(axis=0)).sum()
    assert distortion(codebook, vectors) == pytest.approx(np.square(lost).sum() / scatter, rel=1e-3)
    assert variances.min() > variances.sum() / 4  # the random rotation has spread them


def test_clusters_that_lie_apart_are_found():
    """Sub-space 0 has points near (0, 0) and (9, 9), sub-space 1 near (-5, 0) and (5, 0): 4 combinations."""
    left = np.repeat([[0, 0], [9, 9]], 40, axis=0)
    right = np.tile([[-5, 0], [5, 0]], (40, 1))
    vectors = np.hstack([left, right]).astype(np.float32) + 0.01 * random_vectors(80, 4)
    codebook = train(vectors, subspaces=2, centroids=2)
    codes = encode(codebook, vectors)
    assert len({tuple(row) for row in codes.tolist()}) == 4
    assert all(len(np.unique(codes[rows], axis=0)) == 1 for rows in (slice(0, 40, 2), slice(41, 80, 2)))
    assert distortion(codebook, vectors) < 1e-4


def test_components_that_are_left_out_are_lost():
    """Half of the variance lies in the one component that is kept, and 128 centroids lose next to nothing of it."""
    vectors = np.float32([[1, 0, 2], [-1, 0, 2], [0, 1, 2], [0, -1, 2]] * 100) + 1e-3 * random_vectors(400, 3)
    codebook = train(vectors, subspaces=1, centroids=128, components=1)
    assert distortion(codebook, vectors) == pytest.approx(0.5, abs=0.01)


def test_relative_distortion_is_one_for_the_mean_alone():
    codebook = faiss.IndexPQ(2, 1, 1)
    codebook.train(np.float32([[0, 0], [4, 0]]))
    assert distortion(codebook, np.float32([[0, 0], [4, 0]])) == 0
    # To the nearer centroid 1 and 1, to the mean (2, 0) 1 and 1.
    assert distortion(codebook, np.float32([[1, 0], [3, 0]])) == 1
    assert distortion(codebook, np.float32([[1, 0], [1, 0]])) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda vectors, seed: train(vectors, 4, 32, seed=seed),
        lambda vectors, seed: train(vectors, 4, 32, seed=seed, components=8),
        lambda vectors, seed: train(vectors, 4, 32, seed=seed, components=8, opq=True),
        lambda vectors, seed: train(vectors, 4, 32, seed=seed, training_points=1500),
        lambda vectors, seed: train_residual(vectors, 3, 32, beam=4, seed=seed, training_points=1500),
    ],
    ids=["pq", "components", "opq", "sample", "rq"],
)
def test_the_same_seed_gives_the_same_bytes_for_any_number_of_threads(make, tmp_path, monkeypatch):
    vectors = random_vectors(2000, 24)
    contents = []
    for seed, threads in ((7, 1), (7, 2), (7, 3), (8, 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        assert use_threads() == threads == faiss.omp_get_max_threads()
        codebook = make(vectors, seed)
        assert faiss.omp_get_max_threads() == threads
        write_codebook(codebook, tmp_path / "codebook.faiss")
        contents.append((tmp_path / "codebook.faiss").read_bytes() + encode(codebook, vectors).tobytes())
    assert contents[0] == contents[1] == contents[2] != contents[3]


def reconstruct(codebook, codes):
    """The definition: the sum of the centroids of each level."""
    levels = faiss.vector_to_array(codebook.rq.codebooks).reshape(codes.shape[1], -1, codebook.d)
    return sum(levels[level][codes[:, level]] for level in range(codes.shape[1]))


def test_residual_codes_without_a_beam_are_the_nearest_centroids_of_what_is_left():
    vectors = random_vectors(600)
    codebook = train_residual(vectors, levels=3, centroids=16)
    codes = encode(codebook, vectors)
    assert (codes.dtype, codes.shape) == (np.int32, (600, 3))
    levels = faiss.vector_to_array(codebook.rq.codebooks).reshape(3, 16, 12)
    left = vectors.copy()
    for level in range(3):
        nearest = np.square(left[:, None] - levels[level]).sum(axis=-1).argmin(axis=-1)
        assert np.array_equal(codes[:, level], nearest)
        left -= levels[level][nearest]
    assert quantisation.centroids_of(codebook) == 16
    expected = np.square(left).sum() / np.square(vectors - vectors.mean(axis=0)).sum()
    assert relative_distortion(codebook, vectors, codes) == pytest.approx(expected, rel=1e-4)


def test_a_beam_finds_sums_that_come_nearer_and_one_of_all_codes_the_nearest(tmp_path):
    vectors = random_vectors(400)
    left = []
    for beam in (1, 4, 64):
        write_codebook(train_residual(vectors, levels=2, centroids=8, beam=beam), tmp_path / "codebook.faiss")
        codebook = read_codebook(tmp_path / "codebook.faiss")
        codes = encode(codebook, vectors)
        left.append(np.square(vectors - reconstruct(codebook, codes)).sum(axis=1))
    assert left[0].sum() > left[1].sum() >= left[2].sum()
    every = np.stack(np.meshgrid(np.arange(8), np.arange(8)), axis=-1).reshape(-1, 2)
    best = np.square(vectors[:, None] - reconstruct(codebook, every)).sum(axis=-1).min(axis=1)
    assert left[2] == pytest.approx(best, rel=1e-4)


def test_fewer_vectors_than_dimensions_have_residual_codes():
    vectors = random_vectors(10, 12)
    codebook = train_residual(vectors, levels=2, centroids=4)
    assert distortion(codebook, vectors) < distortion(train_residual(vectors, levels=1, centroids=4), vectors)


def test_opq_rotates_so_that_less_is_lost():
    """Two sub-spaces, and all the variance in the first: only a rotation lets both take part."""
    vectors = random_vectors(2000, 8) * np.float32([9, 8, 7, 6, 0.1, 0.1, 0.1, 0.1])
    plain, rotated = train(vectors, 2, 16), train(vectors, 2, 16, opq=True)
    assert distortion(rotated, vectors) < 0.8 * distortion(plain, vectors)
    rotation = faiss.vector_to_array(faiss.downcast_VectorTransform(rotated.chain.at(0)).A).reshape(8, 8)
    assert rotation @ rotation.T == pytest.approx(np.eye(8), abs=1e-4)


def test_training_points_are_drawn_and_nothing_else_is_learned_from():
    vectors = random_vectors(600)
    rows = np.sort(np.random.default_rng(3).choice(600, 100, replace=False))
    drawn, alone = train(vectors, seed=3, training_points=100), train(vectors[rows], seed=3)
    assert np.array_equal(encode(drawn, vectors), encode(alone, vectors))
    everything = train(vectors, seed=3, training_points=600)
    assert np.array_equal(encode(everything, vectors), encode(train(vectors, seed=3), vectors))


def test_residual_quantisation_learns_from_all_points():
    """FAISS alone would draw 256 a centroid: the one level's centroids are the means of all points nearest to them."""
    vectors = random_vectors(5000)
    codebook = train_residual(vectors, levels=1, centroids=2, iterations=50)
    nearest = encode(codebook, vectors)[:, 0]
    means = np.stack([vectors[nearest == centroid].mean(0) for centroid in range(2)])
    decoded = np.stack([codebook.sa_decode(np.array([[centroid]], np.uint8))[0] for centroid in range(2)])
    assert np.allclose(decoded, means, atol=1e-3)


def test_restarts_keep_the_best_run():
    vectors = random_vectors(500)
    losses = [distortion(train(vectors, 1, 32, restarts=restarts), vectors) for restarts in (1, 8)]
    assert losses[1] < losses[0]


def test_faiss_reads_the_codebook(tmp_path):
    vectors = random_vectors()
    codebook = train(vectors, centroids=32)
    write_codebook(codebook, tmp_path / "codebook.faiss")
    index = faiss.read_index(str(tmp_path / "codebook.faiss"))
    assert (index.d, index.ntotal, index.is_trained, index.pq.M, index.pq.nbits) == (12, 0, True, 3, 5)
    assert np.array_equal(encode(read_codebook(tmp_path / "codebook.faiss"), vectors), encode(codebook, vectors))


def test_a_file_that_is_no_codebook_is_named(tmp_path):
    path = tmp_path / "codebook.faiss"
    with pytest.raises(UserError, match=r"codebook\.faiss: no such file"):
        read_codebook(path)
    write_codebook(train(random_vectors()), path)
    for content in (b"", b"not an index", path.read_bytes()[:-100]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"codebook\.faiss: FAISS can't read it"):
            read_codebook(path)
    faiss.write_index(faiss.IndexFlatL2(4), str(path))
    with pytest.raises(UserError, match="expected a codebook, found IndexFlat"):
        read_codebook(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subspaces": 5}, "pq.subspaces is 5; it must divide the vectors' dimension, 12"),
        ({"subspaces": 0}, "pq.subspaces is 0"),
        ({"components": 8}, "pq.subspaces is 3; it must divide pq.components, 8"),
        ({"components": 13}, "pq.components is 13; it must be from 1 to 12"),
        ({"components": 0}, "pq.components is 0"),
        ({"centroids": 12}, "pq.centroids is 12; it must be a power of two"),
        ({"centroids": 1}, "pq.centroids is 1"),
        ({"centroids": 2**17}, "a power of two from 2 to 65536"),
        ({"centroids": 512}, "300 documents can't make 512 centroids. Lower pq.centroids to at most 256"),
        ({"iterations": 0}, "pq.iterations is 0"),
        ({"restarts": 0}, "pq.restarts is 0"),
        ({"training_points": 7}, "pq.training_points is 7, fewer than the 8 of pq.centroids"),
        (
            {"training_points": 10, "components": 12},
            "from 1 to 10: there are 10 vectors of 12 dimensions to learn from",
        ),
    ],
)
def test_numbers_that_dont_fit_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        train(random_vectors(), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"levels": 0}, "rq.levels is 0"),
        ({"beam": 0}, "rq.beam is 0"),
        ({"centroids": 12}, "rq.centroids is 12; it must be a power of two"),
        ({"centroids": 512}, "300 documents can't make 512 centroids. Lower rq.centroids to at most 256"),
        ({"training_points": 7}, "rq.training_points is 7, fewer than the 8 of rq.centroids"),
    ],
)
def test_numbers_of_levels_that_dont_fit_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        train_residual(random_vectors(), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_vector_that_is_not_finite_is_named(value):
    vectors = random_vectors()
    codebook = train(vectors)
    vectors[[17, 23], 5] = value
    for use in (train, train_residual, lambda wrong: encode(codebook, wrong)):
        with pytest.raises(UserError, match=r"row 17 .*\(2 such rows\)"):
            use(vectors)


def test_vectors_of_another_dimension_are_refused():
    with pytest.raises(UserError, match="the vectors have 10 dimensions, the codebook 12"):
        encode(train(random_vectors()), random_vectors(dimension=10))


def test_few_documents_a_centroid_are_said_once_and_not_by_faiss(caplog, capfd):
    with caplog.at_level(logging.WARNING, "ddro"):
        train(random_vectors(8 * 39))
        assert caplog.messages == []
        train(random_vectors(8 * 39 - 1))
        assert [message[:34] for message in caplog.messages] == ["38.9 documents a centroid are few:"]
        train(random_vectors(8))
    assert capfd.readouterr() == ("", "")


def test_as_many_documents_as_centroids_are_enough():
    vectors = random_vectors(8)
    codebook = train(vectors)
    assert distortion(codebook, vectors) < 1e-12
    same = np.ones((20, 12), np.float32)
    assert len(np.unique(encode(train(same), same), axis=0)) == 1


def test_without_omp_num_threads_all_cores_are_used(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(quantisation.os, "cpu_count", lambda: 2)
    assert use_threads() == 2


@pytest.mark.parametrize(
    ("text", "threads"), [("3", 3), (" 2,1", 2), ("0", 1), ("abc", None), ("-1", None), ("", None), ("9" * 30, 1024)]
)
def test_threads_of_an_odd_environment(monkeypatch, text, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    monkeypatch.setattr(quantisation.faiss, "omp_set_num_threads", lambda number: None)
    assert quantisation.use_threads() == (threads or os.cpu_count())
