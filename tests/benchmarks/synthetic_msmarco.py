"""Write files of MS MARCO's exact formats, of any size, from a seed; print the unpacked bytes.

The bodies are runs of words of Zipf's law; their lengths are log-normal with the shape of the real ones (the mean is
twice the median), scaled to ``--mean-bytes``. The real collection has 3,213,835 lines and 22 GB, or 6,900 bytes a line.

    python tests/benchmarks/synthetic_msmarco.py --documents 3200000 --output /tmp/synthetic
"""

import argparse
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from isal import igzip

WORDS, POOL = 200_000, 2**24
"""Distinct words, and the bytes of running text that bodies are cut from: far more than what gzip looks back to."""

SENTENCE = 15


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--documents", type=int, default=100_000, help="lines of msmarco-docs.tsv.gz (100,000)")
    options.add_argument("--judged", type=int, help="documents with a training query (a tenth, and some more)")
    options.add_argument("--mean-bytes", type=int, default=1700, help="mean length of a body (1,700)")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--output", type=Path, required=True, help="folder for the five files")
    return options


def main() -> None:
    arguments = parser().parse_args()
    judged = arguments.judged or arguments.documents * 21 // 200
    print(write(arguments.output, arguments.documents, judged, arguments.mean_bytes, arguments.seed))


def write(folder: Path, documents: int, judged: int, mean_bytes: int, seed: int) -> int:
    """Write the five files; return the unpacked bytes of the documents."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    text = running_text(seed)
    blanks = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(" "))
    docnos = [f"D{number}" for number in generator.permutation(documents * 3)[:documents]]
    unpacked = write_documents(folder / "msmarco-docs.tsv.gz", docnos, text, blanks, mean_bytes, generator)

    wanted = generator.choice(documents, judged, replace=False)
    # Each judged document has one training query, every seventh another: 367,013 for 319,927 in the real files.
    of_train = np.concatenate([wanted, generator.choice(wanted, judged // 7)])
    of_dev = generator.choice(documents, max(1, judged // 60))
    first = 0
    for kind, of_queries in (("train", of_train), ("dev", of_dev)):
        qids = range(first, first + len(of_queries))
        first += len(of_queries)
        starts = blanks[generator.integers(0, len(blanks) - 10, len(of_queries))]
        with igzip.open(folder / f"msmarco-doc{kind}-queries.tsv.gz", "wb") as file:
            for qid, start in zip(qids, starts.tolist(), strict=True):
                file.write(f"{qid}\t{text[start + 1 : start + 34].decode().rsplit(' ', 1)[0]}\n".encode())
        with igzip.open(folder / f"msmarco-doc{kind}-qrels.tsv.gz", "wb") as file:
            for qid, row in zip(qids, of_queries.tolist(), strict=True):
                file.write(f"{qid} 0 {docnos[row]} 1\n".encode())
    return unpacked


@cache
def running_text(seed: int) -> bytes:
    """Words of 2 to 12 letters drawn by Zipf's law, in sentences of `SENTENCE` words."""
    generator = np.random.default_rng(seed)
    letters = np.frombuffer(b"etaoinshrdlcumwfgypbvkjxqz", np.uint8)
    frequency = 1 / np.arange(1, len(letters) + 1)
    ends = np.cumsum(np.sort(generator.integers(2, 13, WORDS)))
    drawn = generator.choice(letters, ends[-1], p=frequency / frequency.sum()).tobytes()
    words = [drawn[start:end] for start, end in pairwise([0, *ends.tolist()])]
    weights = 1 / np.arange(1, WORDS + 1)
    text = [words[word] for word in generator.choice(WORDS, POOL // 6, p=weights / weights.sum()).tolist()]
    text[::SENTENCE] = [word.capitalize() for word in text[::SENTENCE]]
    text[SENTENCE - 1 :: SENTENCE] = [word + b"." for word in text[SENTENCE - 1 :: SENTENCE]]
    return b" ".join(text)[:POOL]


def write_documents(
    path: Path, docnos: list[str], text: bytes, blanks: np.ndarray, mean_bytes: int, generator: np.random.Generator
) -> int:
    """Write docno, url, title, body; return the bytes before packing."""
    sigma = 1.18  # exp(sigma^2 / 2) = 2
    lengths = generator.lognormal(np.log(mean_bytes) - sigma**2 / 2, sigma, len(docnos))
    lengths = np.clip(lengths, 20, 2**20).astype(int)
    starts = blanks[generator.integers(0, len(blanks), len(docnos))]
    starts = np.minimum(starts, len(text) - lengths - 80)
    unpacked = 0
    with igzip.open(path, "wb", compresslevel=2) as file:
        for docno, start, length in zip(docnos, starts.tolist(), lengths.tolist(), strict=True):
            title = text[start + 1 : start + 41]
            url = b"http://www.example.org/" + title.replace(b" ", b"/")
            line = b"%b\t%b\t%b\t%b\n" % (docno.encode(), url, title, text[start + 1 : start + length])
            unpacked += len(line)
            file.write(line)
    return unpacked


if __name__ == "__main__":
    main()
