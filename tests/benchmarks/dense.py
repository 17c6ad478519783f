"""The exact ranking of the system dense at the paper's size, against FAISS's own index with all vectors in memory.

Both sides rank the same queries in this process, in turn, by processor time. The last line is one JSON object.

    python tests/benchmarks/dense.py                # 320,000 vectors of 768 dimensions
    python tests/benchmarks/dense.py --quick
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import faiss
import numpy as np
from synthetic_vectors import make_vectors

from ddro.docids.vectors import read_vectors
from ddro.retrieval.dense import nearest, unit_length

DEPTH = 1000


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="few vectors: within seconds")
    options.add_argument("--vectors", type=int, default=320_000, help="documents (320,000)")
    options.add_argument("--dim", type=int, default=768, help="dimension of their vectors (768)")
    options.add_argument("--queries", type=int, default=256, help="queries, all at once (256, as search_dense.py)")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--repeats", type=int, default=3, help="of which the median is taken (3)")
    options.add_argument("--seed", type=int, default=0)
    return options


def seconds_of(work: Callable[[], tuple]) -> tuple[float, tuple]:
    """Processor seconds of all threads, and what came of it."""
    start = time.process_time()
    found = work()
    return time.process_time() - start, found


def main(arguments: argparse.Namespace) -> None:
    if arguments.quick:
        arguments.vectors, arguments.queries = 20_000, 64
    faiss.omp_set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        make_vectors(Path(folder) / "embeddings.npy", arguments.vectors, arguments.dim, arguments.seed)
        documents = read_vectors(Path(folder))
        generator = np.random.default_rng(arguments.seed + 1)
        chosen = generator.choice(arguments.vectors, arguments.queries, replace=False)
        noise = generator.standard_normal((arguments.queries, arguments.dim), np.float32)
        queries = unit_length(documents[chosen] + 0.5 * arguments.dim**-0.5 * noise)
        index = faiss.IndexFlatIP(arguments.dim)
        index.add(np.ascontiguousarray(documents))
        sides = {
            "faiss": lambda: index.search(queries, DEPTH)[::-1],
            "inner_product": lambda: nearest(documents, queries, DEPTH, cosine=False),
            "cosine": lambda: nearest(documents, queries, DEPTH, cosine=True),
        }
        took: dict[str, list[float]] = {side: [] for side in sides}
        found = {}
        for _ in range(arguments.repeats):
            for side, work in sides.items():
                seconds, found[side] = seconds_of(work)
                took[side].append(seconds)
                print(f"{side}: {seconds:.2f} s", file=sys.stderr)
    a_query = {side: statistics.median(values) / arguments.queries for side, values in took.items()}
    same = float(np.mean(found["faiss"][0][:, :10] == found["inner_product"][0][:, :10]))
    print(json.dumps({
        "vectors": arguments.vectors,
        "dim": arguments.dim,
        "queries": arguments.queries,
        "depth": DEPTH,
        **{f"{side}_ms_a_query": 1000 * seconds for side, seconds in a_query.items()},
        "ratio": a_query["inner_product"] / a_query["faiss"],
        "ratio_cosine": a_query["cosine"] / a_query["faiss"],
        "same_of_first_ten": same,
        "index_mib": documents.nbytes / 2**20,
    }))  # fmt: skip


if __name__ == "__main__":
    main(parser().parse_args())
