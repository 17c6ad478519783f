"""Learn the codebook of the product quantisation from the document vectors; FAISS can read it."""

import argparse
from pathlib import Path

from ddro.core.command import call_main, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--embeddings", type=Path, required=True, help="folder of the document vectors")
    options.add_argument("--subspaces", type=int, required=True, help="parts of a vector, and tokens of a docid (M)")
    options.add_argument("--centroids", type=int, required=True, help="centroids of a sub-space, a power of two (Ks)")
    options.add_argument("--components", type=int, help="quantise so many principal components (default: the vectors)")
    options.add_argument(
        "--opq", action=argparse.BooleanOptionalAction, default=False, help="learn a rotation of the vectors (OPQ)"
    )
    options.add_argument("--training-points", type=int, help="vectors to learn from, drawn at random (default: all)")
    options.add_argument("--iterations", type=int, default=25, help="iterations of k-means (default: 25)")
    options.add_argument("--restarts", type=int, default=1, help="runs of k-means; the best counts (default: 1)")
    options.add_argument("--seed", type=int, required=True, help="seed of the drawn vectors and of k-means")
    options.add_argument("--output", type=Path, required=True, help="the codebook (a FAISS index without vectors)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.docids import quantisation
    from ddro.docids.vectors import read_vectors

    threads = quantisation.use_threads()
    vectors = read_vectors(arguments.embeddings)
    log.info("%d vectors of %d dimensions, %d threads", *vectors.shape, threads)
    codebook = quantisation.train_pq(
        vectors,
        subspaces=arguments.subspaces,
        centroids=arguments.centroids,
        components=arguments.components,
        opq=arguments.opq,
        training_points=arguments.training_points,
        iterations=arguments.iterations,
        restarts=arguments.restarts,
        seed=arguments.seed,
    )
    quantisation.write_codebook(codebook, arguments.output)
    log.info("%d sub-spaces of %d centroids", arguments.subspaces, arguments.centroids)


if __name__ == "__main__":
    call_main(parser(), main)
