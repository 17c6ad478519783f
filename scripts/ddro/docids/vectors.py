"""Document vectors: how they are kept, read and checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ddro.core.command import UserError, log
from ddro.core.files import write_whole

ROWS_AT_A_TIME = 2**14
SHARD_ROWS = 2**13


def shard_path(folder: Path, first_row: int) -> Path:
    """The file of the vectors from row ``first_row`` on; names sort as rows do."""
    return folder / f"{first_row:09d}.npy"


def write_shard(path: Path, vectors: np.ndarray) -> None:
    """Write some rows of vectors as float32, whole or not at all."""
    with write_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, np.ascontiguousarray(vectors, np.float32), allow_pickle=False)


def gather(folder: Path, path: Path) -> None:
    """Put the shards of ``folder`` together as one array in the file ``path``, a shard in memory at a time."""
    shards = [np.load(shard, mmap_mode="r", allow_pickle=False) for shard in sorted(folder.glob("[0-9]*.npy"))]
    rows = sum(map(len, shards))
    gathered = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(rows, shards[0].shape[1]))
    start = 0
    for shard in shards:
        gathered[start : start + len(shard)] = shard
        start += len(shard)
    gathered.flush()


def read_vectors(folder: Path) -> np.ndarray:
    """The document vectors of an embeddings folder, mapped into memory: float32 [N, dim], row i for document i.

    Raises:
        UserError: there is no such file, or it is no float32 matrix with at least one row.
    """
    path = folder / "embeddings.npy"
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Run snakemake to make it.") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: not a NumPy array ({error}). Delete the folder and rerun.") from error
    if vectors.dtype != np.float32 or vectors.ndim != 2 or not vectors.size:
        raise UserError(f"{path}: expected float32 [documents, dimension], found {vectors.dtype} {vectors.shape}.")
    return vectors


def chunks(vectors: np.ndarray, *others: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Some rows at a time of each array, so that what is made of them fits the memory."""
    for start in range(0, len(vectors), ROWS_AT_A_TIME):
        yield tuple(array[start : start + ROWS_AT_A_TIME] for array in (vectors, *others))


def check_vectors(vectors: np.ndarray) -> None:
    """Warn of vectors [N, dim] of nothing but zeros; a `UserError` names the first row with a NaN or an infinity."""
    # A row's sum of squares tells both, but for huge values, which overflow it.
    norms = np.concatenate([np.einsum("ij,ij->i", chunk, chunk) for (chunk,) in chunks(vectors)])
    wrong = [row for row in np.flatnonzero(~np.isfinite(norms)) if not np.isfinite(vectors[row]).all()]
    if wrong:
        raise UserError(
            f"the vector of row {wrong[0]} (document {wrong[0]} of the corpus, from 0) has a NaN or an infinity "
            f"({len(wrong)} such rows). Does its document, or the embedding model, overflow? Embed the documents again."
        )
    if len(zero := [row for row in np.flatnonzero(norms == 0) if not vectors[row].any()]):
        log.warning(
            "%d documents have a vector of zeros, the first in row %d of the corpus (from 0): they share one docid",
            len(zero),
            zero[0],
        )
