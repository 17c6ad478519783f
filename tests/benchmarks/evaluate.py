"""How long scripts/evaluate.py takes for 10,000 queries with 1,000 hits each: one process, from files to files.

    python tests/benchmarks/evaluate.py           # 10,000 queries
    python tests/benchmarks/evaluate.py --quick   # 1,000 queries

The last line is a JSON object: queries, hits, seconds (wall clock), peak_mib (of memory), each for a TREC run with ties
(.trec.gz) and for the same as Parquet.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

from ddro.core.files import write_table  # noqa: E402
from ddro.core.tables import CORPUS, QRELS, QUERIES, RUN  # noqa: E402

DOCUMENTS, DEPTH = 320_000, 1_000


def write_collection(folder: Path, queries: int) -> None:
    """A corpus as large as MS MARCO's top 300k, queries with one to three relevant documents, and a random run."""
    generator = np.random.default_rng(0)
    docnos = np.array([f"D{number:07d}" for number in range(DOCUMENTS)])
    nothing = [""] * DOCUMENTS
    write_table(pa.table([docnos, nothing, nothing, nothing, [1] * DOCUMENTS], CORPUS), folder / "corpus", CORPUS)
    qids = [f"q{number}" for number in range(queries)]
    texts = [" ".join(["word"] * (3 + number % 9)) for number in range(queries)]
    write_table(pa.table([qids, texts, ["test"] * queries], QUERIES), folder / "queries", QUERIES)

    hits = np.stack([generator.choice(DOCUMENTS, DEPTH, replace=False) for _ in range(queries)])
    relevant = [
        (qid, docnos[hits[row, rank]])
        for row, qid in enumerate(qids)
        for rank in generator.choice(20, 1 + row % 3, replace=False)
    ]
    columns = [list(column) for column in zip(*relevant, strict=True)]
    write_table(pa.table([*columns, [1] * len(relevant)], QRELS), folder / "qrels", QRELS)

    scores = -np.sort(-np.round(generator.gamma(2, 10, size=(queries, DEPTH)), 2), axis=1)  # some of them tie
    ranks = np.tile(np.arange(1, DEPTH + 1, dtype=np.int32), queries)
    run = pa.table([np.repeat(qids, DEPTH), docnos[hits.ravel()], ranks, scores.ravel()], RUN)
    write_table(run, folder / "run.parquet", RUN)
    with gzip.open(folder / "run.trec.gz", "wt", compresslevel=1) as file:
        for qid, documents, values in zip(qids, hits, scores, strict=True):
            found = zip(docnos[documents], values, strict=True)
            file.writelines(f"{qid} Q0 {docno} {rank} {score} tag\n" for rank, (docno, score) in enumerate(found, 1))


def measure(folder: Path, run: str) -> dict[str, float]:
    """Seconds and peak memory of one process."""
    command = [sys.executable, str(ROOT / "scripts/evaluate.py"), "--run", str(folder / run), "--system", "random"]
    for name in ("queries", "qrels", "corpus"):
        command += [f"--{name}", str(folder / name)]
    command += ["--output-metrics", str(folder / "metrics.json"), "--output-per-query", str(folder / "per_query")]
    start = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"evaluate.py failed with status {status}")
    return {"seconds": round(time.perf_counter() - start, 1), "peak_mib": round(usage.ru_maxrss / 1024)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="1,000 queries")
    queries = 1_000 if options.parse_args().quick else 10_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_collection(folder, queries)
        results = {run.split(".")[1]: measure(folder, run) for run in ("run.trec.gz", "run.parquet")}
    print(json.dumps({"queries": queries, "hits": queries * DEPTH, **results}))


if __name__ == "__main__":
    main()
