"""What the rules take that the rehearsal doesn't reach: each on synthetic input of several sizes.

These are read_nq_ddro (the NQ320K that the authors published), train_rq_codebook, rank_for_negatives (negatives that
the model itself ranks high) and retrieve_published. Their scripts are called as the rules call them, with the settings
of the recipe `paper`, and 20 beams for negatives, where it has none. Smaller are the model (a T5 of random weights) and
the iterations of k-means: 1 in place of 25, on which CPU seconds depend, and memory doesn't. A page of NQ has 20,000
bytes, a guess.

The last line is one JSON object: for each scale and rule size_mb (its inputs as Snakemake's input.size_mb counts them:
without those in folders), private_mib, peak_mib and cpu_seconds. With --points a table gets them, as rehearsal.py's.

    python tests/benchmarks/rehearse_rules.py
    python tests/benchmarks/rehearse_rules.py --rules train_rq_codebook --scales 1
    python tests/benchmarks/rehearse_rules.py --quick
"""

import argparse
import csv
import io
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
from isal import igzip
from rehearsal import LITTLE, MSMARCO, NQ, PRIVATE, ROOT, SMALL_T5, USUAL, Effort, add_points, mib, watch_memory
from synthetic_msmarco import running_text
from transformers import PreTrainedTokenizerFast

from ddro.core import tables
from ddro.core.files import write_table
from ddro.models.tokenizer import train_tokenizer

RECIPE = "rules"
"""Of the points: what stands there in place of a recipe."""

QUESTIONS, DEV_QUESTIONS = 307_373, 7_830
QUERIES, TEST_QUERIES = 367_013, 5_193
PAGE = 20_000
DIMENSIONS, CENTROIDS, SUBSPACES = 768, 256, 24
VOCABULARY = 8_000


@dataclass(frozen=True)
class Rule:
    """How a rule is rehearsed.

    Attributes:
        prepare: writes the rule's input of a scale into a folder; gives the script's options and the input files.
        scales: shares of the real size.
        job, dataset: of its points.
    """

    prepare: Callable[[Path, float], tuple[list, list[Path]]]
    scales: tuple[float, ...]
    job: str
    dataset: str = "msmarco"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rules", nargs="+", choices=RULES, default=list(RULES), help="(all)")
    options.add_argument("--scales", nargs="+", type=float, help="shares of the real size (of each rule its own three)")
    options.add_argument("--quick", action="store_true", help="at a scale of 0.001")
    options.add_argument("--points", type=Path, metavar="TSV", help="add what was measured to this table")
    return options


def main() -> None:
    arguments = parser().parse_args()
    effort = LITTLE if arguments.quick else USUAL
    found: dict[str, dict[float, dict[str, dict[str, float]]]] = {}
    for name in arguments.rules:
        rule = RULES[name]
        for scale in arguments.scales or ((0.001,) if arguments.quick else rule.scales):
            with tempfile.TemporaryDirectory() as folder:
                options, inputs = rule.prepare(Path(folder), scale)
                told = run(name, options, Path(folder), effort) | {"size_mb": round(sum(map(mib, inputs)), 2)}
            print(name, scale, told, flush=True)
            found.setdefault(rule.dataset, {}).setdefault(scale, {})[rule.job] = told
    if arguments.points:
        for dataset, of_scales in found.items():
            add_points(arguments.points, dataset, RECIPE, of_scales)
    print(json.dumps(found))


def run(rule: str, options: list[str], folder: Path, effort: Effort) -> dict[str, float]:
    """Call a rule's script; what it took."""
    cost = folder / "cost.json"
    command = [sys.executable, ROOT / f"scripts/{rule}.py", *options, "--cost", cost]
    # By way of a shell, which is small: a process has in its peak that of the one that it was forked from.
    with (folder / "log").open("w") as log:
        process = psutil.Popen(["sh", "-c", '"$@"; exit $?', "sh", *map(str, command)], stdout=log, stderr=log)
        watch_memory(process, folder / PRIVATE, effort)
    if process.wait():
        raise SystemExit((folder / "log").read_text())
    told = json.loads(cost.read_text()) | {"private_mib": max(json.loads((folder / PRIVATE).read_text()).values())}
    return {name: round(told[name], 2) for name in ("private_mib", "peak_mib", "cpu_seconds")}


def prepare_read_nq_ddro(folder: Path, scale: float) -> tuple[list, list[Path]]:
    """Files in the form of kiyam/ddro-nq-dataset."""
    generator, text = np.random.default_rng(0), running_text(0).decode()
    pages = int(NQ["collection"] * scale)
    lengths = np.clip(generator.lognormal(np.log(PAGE / 2), 1.18, pages), 200, 2**20).astype(int)
    starts = generator.integers(0, len(text) - 2**20 - 1000, pages)

    def page(row: int) -> dict[str, str]:
        start, end = int(starts[row]), int(starts[row] + lengths[row])
        url = f"https://en.wikipedia.org//w/index.php?title=Page_{row}&amp;oldid={row}"
        fields = {"id": str(row), "title": f"Page {row}", "abstract": text[start : start + 500]}
        return fields | {"content": text[start + 500 : end + 500], "document_url": url}

    files = [folder / name for name in ("nq_merged.json", "nq_train.gz", "nq_val.gz")]
    with files[0].open("w") as file:
        file.writelines(json.dumps(page(row)) + "\n" for row in range(pages))
    for path, count in zip(files[1:], (QUESTIONS, DEV_QUESTIONS), strict=True):
        with igzip.open(path, "wb", compresslevel=1) as packed, io.TextIOWrapper(packed, newline="") as file:
            rows = csv.writer(file, delimiter="\t", lineterminator="\n")
            for row in generator.integers(0, pages, int(count * scale)).tolist():
                its, start = page(row), int(starts[row])
                whole = f"{its['title']} {its['abstract']} {its['content']}"
                rest = (its[name] for name in ("title", "abstract", "content", "document_url"))
                rows.writerow([text[start : start + 40], row, "", "", *rest, whole, "en"])
    options = ["--documents", files[0], "--train", files[1], "--dev", files[2]]
    return [*options, "--output", folder / "raw", "--report", folder / "report.json"], files


def prepare_train_rq_codebook(folder: Path, scale: float) -> tuple[list, list[Path]]:
    """Vectors."""
    from ddro.docids.vectors import gather, shard_path, write_shard

    shards, rows = folder / "shards", int(MSMARCO["corpus"] * scale)
    shards.mkdir()
    generator = np.random.default_rng(0)
    for start in range(0, rows, 2**15):
        vectors = generator.standard_normal((min(2**15, rows - start), DIMENSIONS), np.float32)
        write_shard(shard_path(shards, start), vectors)
    (folder / "embeddings").mkdir()
    gather(shards, folder / "embeddings" / "embeddings.npy")
    shutil.rmtree(shards)
    options = ["--levels", 8, "--centroids", CENTROIDS, "--beam", 5, "--training-points", 65_536, "--iterations", 1]
    options += ["--restarts", 1, "--seed", 42]
    return ["--embeddings", folder / "embeddings", *options, "--output", folder / "codebook.faiss"], []


def codes(documents: int) -> np.ndarray:
    """Docids of product quantisation, drawn by chance: int32 [documents, SUBSPACES]."""
    from ddro.docids.tokens import code_tokens

    drawn = np.random.default_rng(0).integers(0, CENTROIDS, (documents, SUBSPACES))
    return code_tokens(drawn, CENTROIDS, VOCABULARY)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    """One that knows the words of the running text."""
    return train_tokenizer([running_text(0)[: 2**20].decode()], VOCABULARY)


def write_model(folder: Path) -> None:
    """A small T5 that knows the tokens of docids, too."""
    from ddro.models.t5 import initialise_t5, save_whole

    save_whole(initialise_t5(VOCABULARY + SUBSPACES * CENTROIDS, **SMALL_T5, seed=0), tokenizer(), folder)


def prepare_rank_for_negatives(folder: Path, scale: float) -> tuple[list, list[Path]]:
    """A model, docids and their trie, training queries."""
    from ddro.docids.trie import DocidTrie

    tokens, text = codes(int(MSMARCO["corpus"] * scale)), running_text(0).decode()
    write_model(folder / "model")
    files = {name: folder / f"{name}.parquet" for name in ("docids", "queries")}
    docids = {"docno": [f"D{row:07}" for row in range(len(tokens))], "tokens": tokens.tolist()}
    write_table(pa.table(docids, schema=tables.DOCIDS), files["docids"], tables.DOCIDS)
    DocidTrie.build(tokens.tolist()).save(folder / "trie.safetensors")
    starts = np.random.default_rng(0).integers(0, len(text) - 40, int(QUERIES * scale)).tolist()
    queries = {"qid": list(map(str, range(len(starts)))), "text": [text[start : start + 33] for start in starts]}
    queries["split"] = ["train"] * len(starts)
    write_table(pa.table(queries, schema=tables.QUERIES), files["queries"], tables.QUERIES)
    inputs = {"trie": folder / "trie.safetensors"} | files
    options = [word for name, path in inputs.items() for word in (f"--{name}", path)]
    options += ["--split", "train", "--beams", 20, "--length-penalty", 1, "--max-query-tokens", 64]
    options += ["--precision", "float32", "--model", folder / "model"]
    return [*options, "--output", folder / "ranking.parquet"], list(inputs.values())


def prepare_retrieve_published(folder: Path, scale: float) -> tuple[list, list[Path]]:
    """A model, its docid table as text, and a test set, in the authors' forms."""
    tokens, generator = codes(int(MSMARCO["corpus"] * scale)), np.random.default_rng(0)
    write_model(folder / "model")
    as_text = [",".join(map(str, row)) for row in tokens.tolist()]
    with (folder / "docids.txt").open("w") as file:
        file.writelines(f"[D{row}]\t{docid}\n" for row, docid in enumerate(as_text))
    with (folder / "tests.jsonl").open("w") as file:
        for row in generator.integers(0, len(tokens), max(1, int(TEST_QUERIES * scale))).tolist():
            query = generator.integers(3, VOCABULARY, 9).tolist()
            line = {"query_id": f"[D{row}]", "doc_id": as_text[row], "input_ids": [*query, 1]}
            file.write(json.dumps(line) + "\n")
    options = ["--docids", folder / "docids.txt", "--tests", folder / "tests.jsonl", "--probe-lines", 0]
    options += ["--tied-head", "--beams", 80, "--model", folder / "model"]
    return [*options, "--output", folder / "published"], []


RULES = {
    "read_nq_ddro": Rule(prepare_read_nq_ddro, (0.003, 0.01, 0.03), "read_nq_ddro", "nq_ddro"),
    "train_rq_codebook": Rule(prepare_train_rq_codebook, (0.1, 0.3, 1), "train_rq_codebook"),
    "rank_for_negatives": Rule(prepare_rank_for_negatives, (0.001, 0.003, 0.01), "rank_for_negatives.train"),
    "retrieve_published": Rule(prepare_retrieve_published, (0.01, 0.03, 0.1), "retrieve_published"),
}


if __name__ == "__main__":
    main()
