"""Product and residual quantisation of document vectors, by FAISS.

Product: Jegou et al. 2011, doi 10.1109/TPAMI.2010.57. Residual: Chen et al. 2010, doi 10.3390/s101211259.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import faiss
import numpy as np

from ddro.core.command import UserError, log
from ddro.core.files import write_whole
from ddro.docids.vectors import check_vectors, chunks

MAX_CENTROIDS = 2**16
MOST_THREADS = 1024
POINTS_A_CENTROID = 39
"""With fewer training points a centroid FAISS doubts the codebook, and so do we: one line in the log."""


def use_threads() -> int:
    """Give FAISS as many threads as OMP_NUM_THREADS says (Snakemake sets it), else all cores; return their number.

    Codebooks and codes are the same bytes for any number of threads.
    """
    wanted = re.match(r"\s*(\d+)", os.environ.get("OMP_NUM_THREADS", ""))  # 4,2 says more of what runs in what runs
    threads = max(1, min(int(wanted[1]), MOST_THREADS)) if wanted else os.cpu_count() or 1
    faiss.omp_set_num_threads(threads)
    return threads


def train_pq(
    vectors: np.ndarray,
    *,
    subspaces: int,
    centroids: int,
    components: int | None = None,
    opq: bool = False,
    training_points: int | None = None,
    iterations: int,
    restarts: int = 1,
    seed: int,
) -> faiss.Index:
    """Learn ``centroids`` centroids in each of ``subspaces`` consecutive parts of the dimensions, by k-means.

    Args:
        vectors: float32 [N, dim], which may be mapped into memory.
        subspaces: M, which divides dim (or ``components``).
        centroids: Ks, a power of two from 2 to 65,536, at most as many as there are points to learn from.
        components: quantise the first so many principal components of the vectors, rotated at random (by FAISS's fixed
            seed) so that each sub-space has a like part of each; None quantises the vectors.
        opq: learn the rotation instead (Ge et al. 2013, doi 10.1109/CVPR.2013.379), to ``components`` or all.
        training_points: learn from so many vectors, drawn without replacement; None learns from all.
        iterations: of k-means.
        restarts: k-means is run so many times in each sub-space; the best run counts.
        seed: of the drawn points and of the first centroids.

    Returns:
        a trained index without vectors: an IndexPQ, or an IndexPreTransform of one (with ``components`` or ``opq``).

    Raises:
        UserError: the numbers don't fit each other or the vectors, or a vector is not finite.
    """
    dimension = vectors.shape[1]
    width, name = (dimension, "the vectors' dimension") if components is None else (components, "pq.components")
    _check_at_least_1("pq", subspaces=subspaces, iterations=iterations, restarts=restarts)
    points = _training_points(vectors, training_points, centroids, seed, "pq")
    if components is not None and not 1 <= components <= min(points.shape):
        raise UserError(
            f"pq.components is {components}; it must be from 1 to {min(points.shape)}: there are {len(points)} vectors "
            f"of {dimension} dimensions to learn from."
        )
    if width % subspaces:
        raise UserError(f"pq.subspaces is {subspaces}; it must divide {name}, {width}.")
    index = faiss.IndexPQ(width, subspaces, _bits(centroids))
    _set_clustering(index.pq.cp, iterations, restarts, seed)
    index.pq.cp.max_points_per_centroid = len(points)  # all: what is drawn has been drawn
    if components is None and not opq:
        index.train(points)
        return index
    rotation = faiss.OPQMatrix(dimension, subspaces, width) if opq else faiss.PCAMatrix(dimension, width, 0, True)
    if opq:
        rotation.pq = inner = faiss.ProductQuantizer(width, subspaces, _bits(centroids))
        _set_clustering(inner.cp, iterations, 1, seed)
    with _one_thread():
        rotation.train(points)
    index.train(np.concatenate([_rotated(rotation, chunk) for (chunk,) in chunks(points)]))
    return faiss.IndexPreTransform(rotation, index)


def train_rq(
    vectors: np.ndarray,
    *,
    levels: int,
    centroids: int,
    beam: int,
    training_points: int | None = None,
    iterations: int,
    restarts: int = 1,
    seed: int,
) -> faiss.IndexResidualQuantizer:
    """Learn ``centroids`` centroids for the vectors, then as many for what each level leaves (Chen et al. 2010).

    Args:
        vectors: float32 [N, dim], which may be mapped into memory.
        levels: M, the codes of a vector.
        centroids: Ks of a level, a power of two from 2 to 65,536, at most as many as there are points to learn from.
        beam: partial codes that encoding keeps from level to level; 1 takes the nearest centroid of each. Training
            takes the nearest: with the 5 that FAISS has there, 2,000 vectors took 12 times as long and lost more.
        training_points: learn from so many vectors, drawn without replacement; None learns from all.
        iterations: of k-means.
        restarts: k-means is run so many times at each level; the best run counts.
        seed: of the drawn points and of the first centroids.

    Raises:
        UserError: the numbers don't fit each other or the vectors, or a vector is not finite.
    """
    _check_at_least_1("rq", levels=levels, beam=beam, iterations=iterations, restarts=restarts)
    points = _training_points(vectors, training_points, centroids, seed, "rq")
    codebook = faiss.IndexResidualQuantizer(vectors.shape[1], levels, _bits(centroids))
    _set_clustering(codebook.rq.cp, iterations, restarts, seed)
    codebook.rq.cp.max_points_per_centroid = len(points)  # all: what is drawn has been drawn
    codebook.rq.max_beam_size = 1
    if len(points) < vectors.shape[1]:  # FAISS's own way begins with all principal components, which these don't have
        codebook.rq.train_type = faiss.ResidualQuantizer.Train_default
    with _one_thread():
        codebook.train(points)
    codebook.rq.max_beam_size = beam
    return codebook


def _check_at_least_1(section: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{section}.{name} is {value}; it must be at least 1.")


def _bits(centroids: int) -> int:
    return centroids.bit_length() - 1


def _training_points(vectors: np.ndarray, wanted: int | None, centroids: int, seed: int, section: str) -> np.ndarray:
    """The vectors to learn from, checked: all, or ``wanted`` of them, drawn with ``seed`` and in their order."""
    if centroids not in [2**bits for bits in range(1, MAX_CENTROIDS.bit_length())]:
        raise UserError(f"{section}.centroids is {centroids}; it must be a power of two from 2 to {MAX_CENTROIDS}.")
    if wanted is not None and wanted < centroids:
        raise UserError(
            f"{section}.training_points is {wanted}, fewer than the {centroids} of {section}.centroids. "
            "Write a larger one, or null to learn from all documents."
        )
    if len(vectors) < 2:
        raise UserError(
            f"{len(vectors)} documents can't make a codebook of {section}. Raise corpus.top_k, or choose "
            "the docids tu or atomic."
        )
    if len(vectors) < centroids:
        raise UserError(
            f"{len(vectors)} documents can't make {centroids} centroids. Lower {section}.centroids to at most "
            f"{2 ** max(1, len(vectors).bit_length() - 1)}, or raise corpus.top_k."
        )
    check_vectors(vectors)
    if wanted is not None and wanted < len(vectors):
        vectors = vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), wanted, replace=False))]
    if len(vectors) < POINTS_A_CENTROID * centroids:
        log.warning(
            "%.1f documents a centroid are few: FAISS advises %d. The codebook fits these documents more than others",
            len(vectors) / centroids,
            POINTS_A_CENTROID,
        )
    return np.ascontiguousarray(vectors, np.float32)


def _set_clustering(parameters: faiss.ClusteringParameters, iterations: int, restarts: int, seed: int) -> None:
    parameters.niter, parameters.nredo, parameters.seed = iterations, restarts, seed
    parameters.min_points_per_centroid = 1  # our warning is in the log, FAISS's is not


def quantiser(codebook: faiss.Index) -> faiss.ProductQuantizer | faiss.ResidualQuantizer:
    """The quantiser of a codebook, behind its rotation where it has one."""
    index = _innermost(codebook)
    return index.pq if isinstance(index, faiss.IndexPQ) else index.rq


def centroids_of(codebook: faiss.Index) -> int:
    """Centroids of a sub-space or level."""
    return 2 ** _width(quantiser(codebook))


def _width(quantiser: faiss.ProductQuantizer | faiss.ResidualQuantizer) -> int:
    """Bits of a code."""
    return quantiser.nbits if isinstance(quantiser, faiss.ProductQuantizer) else quantiser.nbits.at(0)


def _innermost(codebook: faiss.Index) -> faiss.Index:
    """The index behind a codebook's rotation, or the codebook itself."""
    return faiss.downcast_index(codebook.index) if isinstance(codebook, faiss.IndexPreTransform) else codebook


def _quantised(codebook: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """What the quantiser sees of the vectors [N, dim]: rotated, float32 [N, components], or themselves."""
    if isinstance(codebook, faiss.IndexPreTransform):
        return _rotated(codebook.chain.at(0), vectors)
    return np.ascontiguousarray(vectors, np.float32)


def _rotated(rotation: faiss.LinearTransform, vectors: np.ndarray) -> np.ndarray:
    with _one_thread():
        return rotation.apply(np.ascontiguousarray(vectors, np.float32))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let FAISS multiply matrices in one thread: how principal components are rounded depends on the threads."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def encode(codebook: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """The codes of vectors float32 [N, dim]: int32 [N, M].

    With a product quantiser, the number of the nearest centroid in each sub-space; with a residual one, the numbers of
    the centroids whose sum comes nearest, as far as its beam finds them.

    Raises:
        UserError: the vectors have another dimension than the codebook, or one is not finite.
    """
    if vectors.shape[1] != codebook.d:
        raise UserError(f"the vectors have {vectors.shape[1]} dimensions, the codebook {codebook.d}. Train it anew.")
    check_vectors(vectors)
    inner = quantiser(codebook)
    codes = np.empty((len(vectors), inner.M), np.int32)
    for chunk, out in chunks(vectors, codes):
        quantised = _quantised(codebook, chunk)
        if isinstance(inner, faiss.ProductQuantizer):
            _nearest_centroids(inner, quantised, out)
        else:
            out[:] = faiss.unpack_bitstrings(inner.compute_codes(quantised), inner.M, _width(inner))
    return codes


def _nearest_centroids(pq: faiss.ProductQuantizer, vectors: np.ndarray, out: np.ndarray) -> None:
    """`pq.compute_codes` as a search in each sub-space, which takes a seventh of its time (24 sub-spaces of 32)."""
    centroids = faiss.vector_to_array(pq.centroids).reshape(pq.M, pq.ksub, pq.dsub)
    parts = vectors.reshape(len(vectors), pq.M, pq.dsub)
    for position in range(pq.M):
        out[:, position] = faiss.knn(np.ascontiguousarray(parts[:, position]), centroids[position], 1)[1][:, 0]


def relative_distortion(codebook: faiss.Index, vectors: np.ndarray, codes: np.ndarray) -> float:
    """The squared distance of the vectors [N, dim] to their decoded codes [N, M], over that to their mean; 0 is exact.

    The rotation keeps lengths, so what it leaves out adds to what the codes lose. (FAISS's own way back from principal
    components forgets what of the mean lies outside of them.)
    """
    inner = quantiser(codebook)
    mean = sum(chunk.sum(axis=0, dtype=np.float64) for (chunk,) in chunks(vectors)) / len(vectors)
    centre = _quantised(codebook, mean[None])
    total = lost = 0.0
    for chunk, chunk_codes in chunks(vectors, codes):
        quantised = _quantised(codebook, chunk)
        scatter = _square_sum(chunk - mean.astype(np.float32))
        total += scatter
        lost += scatter - _square_sum(quantised - centre) if quantised.shape != chunk.shape else 0.0
        lost += _square_sum(quantised - inner.decode(faiss.pack_bitstrings(chunk_codes, _width(inner))))
    return lost / total if total else 0.0


def _square_sum(differences: np.ndarray) -> float:
    return float(np.square(differences).sum(dtype=np.float64))


def write_codebook(codebook: faiss.Index, path: Path) -> None:
    """Write the codebook as FAISS writes an index; `faiss.read_index` reads it."""
    with write_whole(path) as temporary:
        faiss.write_index(codebook, str(temporary))


def read_codebook(path: Path) -> faiss.Index:
    """Read a codebook.

    Raises:
        UserError: there is no such file, or it is not a FAISS IndexPQ, an IndexPreTransform of one, or an
            IndexResidualQuantizer.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run snakemake to make it.")
    try:
        codebook = faiss.read_index(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: FAISS can't read it. Delete it and rerun. ({error})") from error
    if not isinstance(index := _innermost(codebook), faiss.IndexPQ | faiss.IndexResidualQuantizer):
        raise UserError(f"{path}: expected a codebook, found {type(index).__name__}. Delete it and rerun.")
    return codebook
