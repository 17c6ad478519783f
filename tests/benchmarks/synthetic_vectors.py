"""Vectors like those of a sentence encoder, as many as a benchmark wants."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import numpy as np

from ddro.docids.vectors import chunks


def make_vectors(path: Path, count: int, dim: int, seed: int) -> None:
    """Unit vectors like those of a sentence encoder: around 4,000 topics, with variances that fall as 1 / rank."""
    generator = np.random.default_rng(seed)
    scale = np.arange(1, dim + 1, dtype=np.float32) ** -0.5
    rotation = np.linalg.qr(generator.standard_normal((dim, dim)))[0].astype(np.float32)
    topics = generator.standard_normal((4000, dim), np.float32)
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, dim))
    for (chunk,) in chunks(vectors):
        topic = topics[generator.integers(0, len(topics), len(chunk))]
        drawn = (topic + generator.standard_normal(chunk.shape, np.float32)) * scale @ rotation
        chunk[:] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    vectors.flush()
