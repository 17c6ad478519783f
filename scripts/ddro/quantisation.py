"""Product quantisation of document vectors, by FAISS (Jegou et al. 2011, doi 10.1109/TPAMI.2010.57)."""

from __future__ import annotations

import os
from pathlib import Path

import faiss
import numpy as np

from ddro.command import UserError, log
from ddro.files import whole

MAX_CENTROIDS = 2**16
POINTS_A_CENTROID = 39
"""With fewer training points a centroid FAISS doubts the codebook, and so do we: one line in the log."""


def use_threads() -> int:
    """Give FAISS as many threads as OMP_NUM_THREADS says (Snakemake sets it), else all cores; return their number.

    Codebooks and codes were found to be the same bytes for any number of threads.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    faiss.omp_set_num_threads(threads)
    return threads


def train_codebook(
    vectors: np.ndarray, *, subspaces: int, centroids: int, components: int | None = None, iterations: int, seed: int
) -> faiss.Index:
    """Learn ``centroids`` centroids in each of ``subspaces`` consecutive parts of the dimensions, by k-means.

    FAISS learns from at most 256 points a centroid, which it draws with ``seed``.

    Args:
        vectors: float32 [N, dim].
        subspaces: M, which divides dim (or ``components``).
        centroids: Ks, a power of two from 2 to 65,536, at most N.
        components: quantise the first so many principal components of the vectors, rotated at random (by FAISS's fixed
            seed) so that each sub-space has a like part of each; None quantises the vectors.
        iterations: of k-means.
        seed: of the first centroids and of the drawn points.

    Returns:
        a trained index without vectors: an IndexPQ, or with ``components`` an IndexPreTransform of one.

    Raises:
        UserError: the numbers don't fit each other or the vectors, or a vector is not finite.
    """
    count, dimension = vectors.shape
    width, name = (dimension, "the vectors' dimension") if components is None else (components, "pq.components")
    if components is not None and not 1 <= components <= min(dimension, count):
        raise UserError(
            f"pq.components is {components}; it must be from 1 to {min(dimension, count)}: there are {count} vectors "
            f"of {dimension} dimensions."
        )
    if centroids not in [2**bits for bits in range(1, MAX_CENTROIDS.bit_length())]:
        raise UserError(f"pq.centroids is {centroids}; it must be a power of two from 2 to {MAX_CENTROIDS}.")
    if subspaces < 1 or width % subspaces:
        raise UserError(f"pq.subspaces is {subspaces}; it must divide {name}, {width}.")
    if iterations < 1:
        raise UserError(f"pq.iterations is {iterations}; it must be at least 1.")
    if count < centroids:
        raise UserError(
            f"{count} documents can't make {centroids} centroids. Lower pq.centroids to at most "
            f"{2 ** max(1, count.bit_length() - 1)}, or raise corpus.top_k."
        )
    check_finite(vectors)
    if count < POINTS_A_CENTROID * centroids:
        log.warning(
            "%.1f documents a centroid are few: FAISS advises %d. The codebook fits these documents more than others",
            count / centroids,
            POINTS_A_CENTROID,
        )
    codebook = faiss.IndexPQ(width, subspaces, centroids.bit_length() - 1)
    codebook.pq.cp.seed = seed
    codebook.pq.cp.niter = iterations
    codebook.pq.cp.min_points_per_centroid = 1  # the warning above is in the log, FAISS's is not
    if components is not None:
        codebook = faiss.IndexPreTransform(faiss.PCAMatrix(dimension, components, 0, True), codebook)
    codebook.train(np.ascontiguousarray(vectors, np.float32))
    return codebook


def quantiser(codebook: faiss.Index) -> faiss.ProductQuantizer:
    """The product quantiser of a codebook, behind its principal components where it has them."""
    return _innermost(codebook).pq


def _innermost(codebook: faiss.Index) -> faiss.Index:
    """The index behind a codebook's principal components, or the codebook itself."""
    return faiss.downcast_index(codebook.index) if isinstance(codebook, faiss.IndexPreTransform) else codebook


def _quantised(codebook: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """What the quantiser sees of the vectors [N, dim]: their components float32 [N, components], or themselves."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    return codebook.chain.at(0).apply(vectors) if isinstance(codebook, faiss.IndexPreTransform) else vectors


def encode(codebook: faiss.Index, vectors: np.ndarray) -> np.ndarray:
    """The number of the nearest centroid in each sub-space: int32 [N, M], from vectors float32 [N, dim].

    Raises:
        UserError: the vectors have another dimension than the codebook, or one is not finite.
    """
    if vectors.shape[1] != codebook.d:
        raise UserError(f"the vectors have {vectors.shape[1]} dimensions, the codebook {codebook.d}. Train it anew.")
    check_finite(vectors)
    pq = quantiser(codebook)
    return faiss.unpack_bitstrings(pq.compute_codes(_quantised(codebook, vectors)), pq.M, pq.nbits)


def relative_distortion(codebook: faiss.Index, vectors: np.ndarray) -> float:
    """The squared distance of the vectors [N, dim] to their decoded codes, over that to their mean; 0 is exact."""
    # The rotation to the components keeps lengths, so what they leave out adds to what the codes lose (FAISS's own way
    # back from components forgets what of the mean lies outside of them).
    quantised = _quantised(codebook, vectors)
    pq = quantiser(codebook)
    lost = np.square(quantised - pq.decode(pq.compute_codes(quantised))).sum(dtype=np.float64)
    total = _scatter(vectors)
    return float((total - _scatter(quantised) + lost) / total) if total else 0.0


def _scatter(vectors: np.ndarray) -> float:
    """The sum of the squared distances to the mean."""
    return np.square(vectors - vectors.mean(axis=0)).sum(dtype=np.float64)


def check_finite(vectors: np.ndarray) -> None:
    """Raise a `UserError` that names the first row of ``vectors`` [N, dim] with a NaN or an infinity."""
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise UserError(
            f"the vector of row {wrong[0]} (document {wrong[0]} of the corpus, from 0) has a NaN or an infinity "
            f"({len(wrong)} such rows). Does its document, or the embedding model, overflow? Embed the documents again."
        )


def read_vectors(folder: Path) -> np.ndarray:
    """The document vectors of an embeddings folder: float32 [N, dim], row i for document i of the corpus.

    Raises:
        UserError: there is no such file, or it is no float32 matrix with at least one row.
    """
    path = folder / "embeddings.npy"
    try:
        vectors = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Run snakemake to make it.") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a NumPy array ({error}). Delete the folder and rerun.") from error
    if vectors.dtype != np.float32 or vectors.ndim != 2 or not vectors.size:
        raise UserError(f"{path}: expected float32 [documents, dimension], found {vectors.dtype} {vectors.shape}.")
    return vectors


def write_codebook(codebook: faiss.Index, path: Path) -> None:
    """Write the codebook as FAISS writes an index; `faiss.read_index` reads it."""
    with whole(path) as temporary:
        faiss.write_index(codebook, str(temporary))


def read_codebook(path: Path) -> faiss.Index:
    """Read a codebook.

    Raises:
        UserError: there is no such file, or it is not a FAISS IndexPQ, nor an IndexPreTransform of one.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run snakemake to make it.")
    try:
        codebook = faiss.read_index(str(path))
    except RuntimeError as error:
        raise UserError(f"{path}: FAISS can't read it. Delete it and rerun. ({error})") from error
    if not isinstance(index := _innermost(codebook), faiss.IndexPQ):
        raise UserError(f"{path}: expected an IndexPQ, found {type(index).__name__}. Delete it and rerun.")
    return codebook
