"""Write files of the formats of Natural Questions, of any size, from a seed; print the unpacked bytes.

python tests/benchmarks/synthetic_nq.py --pages 100000 --output /tmp/synthetic
"""

import argparse
import json
from pathlib import Path

import numpy as np
from isal import igzip
from synthetic_msmarco import running_text


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pages", type=int, default=10_000, help="distinct pages (10,000)")
    options.add_argument(
        "--mean-bytes", type=int, default=45_000, help="mean length of a page; the real lines have some 55,000 (45,000)"
    )
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--output", type=Path, required=True, help="folder for the two files")
    arguments = options.parse_args()
    print(write(arguments.output, arguments.pages, arguments.mean_bytes, arguments.seed))


def write(folder: Path, pages: int, mean_bytes: int, seed: int) -> int:
    """Write the training file, where every fifth page stands twice, and the development file; return unpacked bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    text = running_text(seed).decode()
    lengths = np.clip(generator.lognormal(np.log(mean_bytes / 2), 1.18, pages), 200, 2**20).astype(int)
    starts = generator.integers(0, len(text) - 2**20 - 100, pages)
    unpacked = 0
    rows = np.concatenate([np.arange(pages), np.arange(0, pages, 5)])
    with igzip.open(folder / "simplified-nq-train.jsonl.gz", "wb", compresslevel=2) as file:
        for number, row in enumerate(rows.tolist()):
            line = json.dumps(record(number, row, text, int(starts[row]), int(lengths[row]))).encode() + b"\n"
            unpacked += file.write(line)
    with igzip.open(folder / "nq-dev-all.jsonl.gz", "wb", compresslevel=2) as file:
        for number, row in enumerate(range(0, pages, 40)):
            train = record(number, row, text, int(starts[row]), min(int(lengths[row]), 10_000))
            page = train.pop("document_text").split()
            tokens = [{"token": word, "html_token": word.startswith("<")} for word in page]
            dev = train | {"example_id": -1 - number, "document_title": f"Page {row}", "document_tokens": tokens}
            unpacked += file.write(json.dumps(dev).encode() + b"\n")
    return unpacked


def record(number: int, row: int, text: str, start: int, length: int) -> dict:
    """One record of the simplified training file."""
    paragraphs = (text[first : first + 480] for first in range(start, start + length, 480))
    return {
        "example_id": number,
        "question_text": text[start + 50 : start + 90],
        "document_url": f"https://en.wikipedia.org//w/index.php?title=Page_{row}&amp;oldid={row}",
        "document_text": f"Page {row} - Wikipedia <H1> Page {row} </H1> "
        + " ".join(f"<P> {paragraph} </P>" for paragraph in paragraphs),
    }


if __name__ == "__main__":
    main()
