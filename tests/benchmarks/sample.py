"""MS MARCO's sampling at full size: this pipeline, `gzip -dc | wc -l`, and the authors' way on the same files.

The three run one after the other, each reading from the page cache; times are wall-clock seconds. The authors' way,
written here from what their code does: decompress to disk; a first pass in Python puts the number of judged queries
before each document; GNU sort; a second pass writes the first top_k as JSON. The last line is one JSON object:

    lines, unpacked_gib     of the documents
    seconds, peak_mib       of read_msmarco.py and sample_corpus.py: the sum, and the memory of the larger
    ratio_gzip              ours / gzip -dc | wc -l
    ratio_authors           theirs / ours
    cpu                     CPU seconds of the three, which tell more than the others on a machine that is busy

    python tests/benchmarks/sample.py                      # 3.2 million documents, 5 GiB; needs 25 GB of disk
    python tests/benchmarks/sample.py --documents 320000 --top-k 32000 --no-authors
    python tests/benchmarks/sample.py --nq 100000          # pages of Natural Questions instead; no comparison
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

HERE = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="60,000 documents: within 45 s")
    options.add_argument("--documents", type=int, default=3_200_000, help="lines of msmarco-docs.tsv.gz (3,200,000)")
    options.add_argument("--top-k", type=int, help="documents to keep (a tenth)")
    options.add_argument("--mean-bytes", type=int, help="mean length of a body (1,700) or of a page (45,000)")
    options.add_argument("--no-authors", action="store_true", help="leave the authors' way out")
    options.add_argument("--nq", type=int, metavar="PAGES", help="read so many pages of Natural Questions instead")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, help="where the files may lie (default: the temporary folder)")
    return options


def main() -> None:
    arguments = parser().parse_args()
    if arguments.quick:
        arguments.documents = 60_000
    folder = Path(tempfile.mkdtemp(prefix="sample-", dir=arguments.folder))
    try:
        result = measure_nq(folder, arguments) if arguments.nq else measure_msmarco(folder, arguments)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result))


def measure_msmarco(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    top_k = arguments.top_k or arguments.documents // 10
    print(f"writing {arguments.documents} documents", flush=True)
    size = ["--documents", arguments.documents, "--judged", top_k * 21 // 20]
    unpacked = write("synthetic_msmarco.py", folder, arguments.seed, arguments.mean_bytes or 1700, *size)
    documents = folder / "msmarco-docs.tsv.gz"
    subprocess.run(["wc", "-c", str(documents)], stdout=subprocess.DEVNULL, check=True)  # into the page cache
    cpu, start = [cpu_seconds()], time.perf_counter()
    with subprocess.Popen(["gzip", "-dc", str(documents)], stdout=subprocess.PIPE) as unpacking:
        lines = int(subprocess.run(["wc", "-l"], stdin=unpacking.stdout, capture_output=True, check=True).stdout)
    gzip_seconds = time.perf_counter() - start
    cpu.append(cpu_seconds())
    print(f"gzip -dc | wc -l: {gzip_seconds:.1f} s", flush=True)

    read = ["--documents", documents, "--output", folder / "raw", "--report", folder / "report.json"]
    for kind in ("train", "dev"):
        read += [f"--{kind}-queries", folder / f"msmarco-doc{kind}-queries.tsv.gz"]
        read += [f"--{kind}-qrels", folder / f"msmarco-doc{kind}-qrels.tsv.gz"]
    ours = [run("read_msmarco.py", *read), sample(folder, top_k, "train")]
    seconds = sum(part[0] for part in ours)
    cpu.append(cpu_seconds())
    result = {
        "lines": lines,
        "unpacked_gib": round(unpacked / 2**30, 2),
        "seconds": round(seconds, 1),
        "gzip_seconds": round(gzip_seconds, 1),
        "ratio_gzip": round(seconds / gzip_seconds, 2),
        "peak_mib": round(max(part[1] for part in ours)),
    }
    if not arguments.no_authors:
        start = time.perf_counter()
        kept = authors_way(folder, top_k)
        authors_seconds = time.perf_counter() - start
        cpu.append(cpu_seconds())
        print(f"the authors' way: {authors_seconds:.1f} s", flush=True)
        same_documents(folder / "corpus.parquet", kept)
        result |= {
            "authors_seconds": round(authors_seconds, 1),
            "ratio_authors": round(authors_seconds / seconds, 2),
        }
    spent = (round(after - before, 1) for before, after in pairwise(cpu))
    return result | {"cpu": dict(zip(("gzip", "ours", "authors"), spent, strict=False))}


def measure_nq(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    print(f"writing {arguments.nq} pages", flush=True)
    unpacked = write("synthetic_nq.py", folder, arguments.seed, arguments.mean_bytes or 45_000, "--pages", arguments.nq)
    read = ["--train", folder / "simplified-nq-train.jsonl.gz", "--dev", folder / "nq-dev-all.jsonl.gz"]
    read += ["--by", "title", "--dev-queries", "all", "--output", folder / "raw", "--report", folder / "report.json"]
    parts = [run("read_nq.py", *read), sample(folder, arguments.nq)]
    return {
        "pages": json.loads((folder / "report.json").read_text())["found"]["documents"],
        "unpacked_gib": round(unpacked / 2**30, 2),
        "seconds": round(sum(part[0] for part in parts), 1),
        "peak_mib": round(max(part[1] for part in parts)),
    }


def sample(folder: Path, top_k: int, *kinds: str) -> tuple[float, float]:
    raw = [word for name in ("documents", "queries", "qrels") for word in (f"--{name}", folder / f"raw/{name}.parquet")]
    kinds = ("--count-kinds", *kinds) if kinds else ()
    return run("sample_corpus.py", *raw, "--top-k", top_k, *kinds, "--output", folder / "corpus.parquet")


def write(generator: str, folder: Path, seed: int, mean_bytes: int, *options: object) -> int:
    """Write the synthetic files; return their unpacked bytes."""
    command = [
        sys.executable,
        HERE / generator,
        *options,
        "--seed",
        seed,
        "--mean-bytes",
        mean_bytes,
        "--output",
        folder,
    ]
    return int(subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True).stdout)


def cpu_seconds() -> float:
    """Of this process and of all that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def run(script: str, *options: object) -> tuple[float, float]:
    """Run a script as its rule does; return seconds and peak MiB.

    The memory of a child is never less than this process had when it started it: so nothing large happens here.
    """
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, str(HERE.parents[1] / "scripts" / script), *map(str, options)])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{script} failed")
    seconds, peak = time.perf_counter() - start, usage.ru_maxrss / 1024
    print(f"{script}: {seconds:.1f} s, {peak:.0f} MiB", flush=True)
    return seconds, peak


def authors_way(folder: Path, top_k: int) -> set[str]:
    """Decompress, count, sort, cut; return the docnos kept."""
    unpacked, counted, ordered = (folder / name for name in ("docs.tsv", "counted.tsv", "sorted.tsv"))
    with unpacked.open("wb") as file:
        subprocess.run(["gzip", "-dc", str(folder / "msmarco-docs.tsv.gz")], stdout=file, check=True)
    with gzip.open(folder / "msmarco-doctrain-qrels.tsv.gz", "rt", encoding="utf-8") as file:
        queries = Counter(line.split()[2] for line in file)
    with unpacked.open(encoding="utf-8") as source, counted.open("w", encoding="utf-8") as file:
        for line in source:
            docno, url, title, body = line.rstrip("\n").split("\t")
            file.write(f"{queries.get(docno, 0)}\t{docno}\t{url}\t{title}\t{body}\n")
    command = ["sort", "-t", "\t", "-k1,1nr", "-k2,2", "-S", "1G", "-T", str(folder), "-o", str(ordered), str(counted)]
    subprocess.run(command, check=True, env=os.environ | {"LC_ALL": "C"})
    kept = set()
    with ordered.open(encoding="utf-8") as source, (folder / "sampled.jsonl").open("w", encoding="utf-8") as file:
        for line in source:
            count, docno, url, title, body = line.rstrip("\n").split("\t")
            if len(kept) == top_k:
                break
            kept.add(docno)
            file.write(json.dumps({"docid": docno, "url": url, "title": title, "body": body, "n": count}) + "\n")
    return kept


def same_documents(corpus: Path, kept: set[str]) -> None:
    """Both ways choose the same documents."""
    import pyarrow.parquet as pq

    if set(pq.read_table(corpus, columns=["docno"])["docno"].to_pylist()) != kept:
        raise SystemExit("the two ways keep different documents")


if __name__ == "__main__":
    main()
