"""Learn the codebook of the product quantisation from the document vectors; FAISS can read it."""

import argparse
from pathlib import Path

from ddro.command import log, run


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--embeddings", type=Path, required=True, help="folder of the document vectors")
    options.add_argument("--subspaces", type=int, required=True, help="parts of a vector, and tokens of a docid (M)")
    options.add_argument("--centroids", type=int, required=True, help="centroids of a sub-space, a power of two (Ks)")
    options.add_argument("--components", type=int, help="quantise so many principal components (default: the vectors)")
    options.add_argument("--iterations", type=int, default=25, help="iterations of k-means (default: 25)")
    options.add_argument("--seed", type=int, required=True, help="seed of k-means")
    options.add_argument("--output", type=Path, required=True, help="the codebook (a FAISS index without vectors)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro import quantisation

    threads = quantisation.use_threads()
    vectors = quantisation.read_vectors(arguments.embeddings)
    log.info("%d vectors of %d dimensions, %d threads", *vectors.shape, threads)
    codebook = quantisation.train_codebook(
        vectors,
        subspaces=arguments.subspaces,
        centroids=arguments.centroids,
        components=arguments.components,
        iterations=arguments.iterations,
        seed=arguments.seed,
    )
    quantisation.write_codebook(codebook, arguments.output)
    log.info(
        "%d sub-spaces of %d centroids leave %.1f %% of the variance unexplained",
        arguments.subspaces,
        arguments.centroids,
        100 * quantisation.relative_distortion(codebook, vectors),
    )


if __name__ == "__main__":
    run(parser(), main)
