"""The docid decoder against the usual way: transformers.generate with a prefix function over nested dicts.

Both sides run in this process in turn on the same weights, docids and queries; times are medians. For each precision
and batch one line, a JSON object, is printed as soon as it is known; on a GPU it also has the kernels of a batch and
the shares of the time and of the card's peak that they take. Weights are random, or a trained model's:

    python tests/benchmarks/decode.py --model base                    # the paper's size
    python tests/benchmarks/decode.py --model tiny --documents 20000 --beams 20 --batch 64
    python tests/benchmarks/decode.py --docids-like tu
    python tests/benchmarks/decode.py --documents 10000000 --no-reference
    python tests/benchmarks/decode.py --batch 8 32 --precision float32 tf32 bfloat16      # on a GPU, where there is one
    python tests/benchmarks/decode.py --count --batch 32              # what a GPU would be asked to do, on any machine
    python tests/benchmarks/decode.py --trained results/awscli/pq/demo/sft/finetune
"""

import argparse
import copy
import json
import resource
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import numpy as np
import pyarrow as pa
import torch
from operations import counted, device_profile, device_work
from transformers import T5Config, T5ForConditionalGeneration

from ddro.core import tables
from ddro.core.files import read_table
from ddro.docids.trie import DocidTrie
from ddro.models.precision import use_precision
from ddro.models.t5 import be_quiet, load, pad
from ddro.models.tokenizer import encode
from ddro.retrieval import beam_search, fixed_search, t5_decoder
from ddro.retrieval.fixed_decoder import FixedDecoder
from ddro.retrieval.t5_decoder import T5Decoder
from ddro.training.throughput import peak_of

WORDS, END = 32128, 1
SIZES = {
    "narrow": {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 12, "num_heads": 2},  # operations don't see the width
    "tiny": {"d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 2, "num_heads": 4},
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="a tiny model and few queries: within 45 s")
    options.add_argument("--model", choices=SIZES, default="base", help="T5 of this size, random weights (base)")
    options.add_argument("--trained", type=Path, help="the folder of a model of this pipeline, its docids and queries")
    options.add_argument("--documents", type=int, default=320_000, help="number of docids (320,000)")
    options.add_argument(
        "--docids-like", choices=("pq", "tu"), default="pq", help="24 codes, or words of titles and URLs"
    )
    options.add_argument("--beams", type=int, default=80, help="beams a query (80)")
    options.add_argument("--batch", type=int, nargs="+", default=[4], help="queries decoded together (4)")
    options.add_argument("--queries", type=int, help="number of queries (one batch)")
    options.add_argument("--repeats", type=int, default=3, help="of which the median is taken (3)")
    options.add_argument(
        "--no-reference", action="store_true", help="ours alone: nested dicts of 10 M docids don't fit"
    )
    on_gpu = torch.cuda.is_available()
    options.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if on_gpu else "cpu", help="(%(default)s)")
    options.add_argument(
        "--precision", nargs="+", choices=tables.PRECISIONS, default=["float32"], help="of both sides (float32)"
    )
    options.add_argument(
        "--count", action="store_true", help="count the operations of a search with 12 layers, not their time"
    )
    options.add_argument("--seed", type=int, default=0)
    return options


def pq_like(count: int, generator: np.random.Generator) -> pa.ListArray:
    """24 codes of 256 a document; documents of one of count / 50 clusters agree in about 70 % of their codes."""
    centres = generator.integers(0, 256, (max(1, count // 50), 24), np.int32)
    codes = centres[generator.integers(0, len(centres), count)]
    for column in range(24):
        codes[:, column] = np.where(generator.random(count) < 0.3, generator.integers(0, 256, count), codes[:, column])
    codes += np.arange(24, dtype=np.int32) * 256 + WORDS
    return pa.ListArray.from_arrays(np.arange(count + 1, dtype=np.int32) * 24, codes.ravel())


def tu_like(count: int, generator: np.random.Generator) -> pa.ListArray:
    """2 to 94 words of Zipf's law, then 3 to 5 tokens of one of 5,000 domains, then the end."""
    words = np.clip(generator.lognormal(2.5, 0.6, count).astype(np.int64), 2, 94)
    domains = [generator.integers(2, WORDS, size) for size in generator.integers(3, 6, 5000)]
    of_document = np.minimum(generator.zipf(1.3, count), 5000) - 1
    lengths = words + np.array([len(domain) for domain in domains])[of_document] + 1
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.minimum(generator.zipf(1.2, offsets[-1]) + 1, WORDS - 1).astype(np.int32)
    for document, domain in enumerate(of_document):
        end = offsets[document + 1]
        tokens[end - 1 - len(domains[domain]) : end - 1] = domains[domain]
        tokens[end - 1] = END
    return pa.ListArray.from_arrays(offsets.astype(np.int32), tokens)


def random_model(size: str, seed: int) -> T5ForConditionalGeneration:
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=WORDS + 24 * 256, **SIZES[size], decoder_start_token_id=0, pad_token_id=0, eos_token_id=END,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config).eval()
    model.lm_head.weight.data.mul_(SIZES[size]["d_model"] ** -0.5)  # log-probabilities such as an untrained model has
    return model


def random_queries(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries of 8 to 64 tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(8, 65, (count,), generator=generator)
    return pad([torch.randint(2, WORDS, (int(length),), generator=generator).tolist() for length in lengths])


def of_pipeline(
    folder: Path, count: int
) -> tuple[T5ForConditionalGeneration, pa.ListArray, torch.Tensor, torch.Tensor]:
    """A trained model, its docids, and the first test queries."""
    dataset = next(parent for parent in folder.resolve().parents if (parent / "queries.parquet").exists())
    docids = next(
        parent / "docids.parquet" for parent in folder.resolve().parents if (parent / "docids.parquet").exists()
    )
    model, tokenizer = load(folder)
    queries = read_table(dataset / "queries.parquet", tables.QUERIES).to_pylist()
    texts = [row["text"] for row in queries if row["split"] == "test"][:count]
    ids, mask = pad(encode(tokenizer, texts, 64))
    return model.eval(), read_table(docids, tables.DOCIDS)["tokens"].combine_chunks(), ids, mask


def build_dicts(docids: pa.ListArray) -> dict:
    root: dict = {}
    for docid in docids.to_pylist():
        node = root
        for token in docid:
            node = node.setdefault(token, {})
    return root


def generate(
    model: T5ForConditionalGeneration, root: dict, ids: torch.Tensor, mask: torch.Tensor, beams: int, depth: int
):
    """The usual way."""

    def allowed(_: int, tokens: torch.Tensor) -> list[int]:
        node = root
        for token in tokens.tolist()[1:]:
            node = node.get(token, {})
        return list(node) or [0]

    output = model.generate(
        input_ids=ids, attention_mask=mask, num_beams=beams, num_return_sequences=beams, do_sample=False,
        length_penalty=0.0, early_stopping=False, max_new_tokens=depth, prefix_allowed_tokens_fn=allowed,
        output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    return output.sequences[:, 1:].view(len(ids), beams, -1), output.sequences_scores.view(len(ids), beams)


def same_ranking(trie: DocidTrie, found, scores, sequences, their_scores) -> tuple[list[bool], float]:
    """For each query whether both name the same docids in the same order, and the largest difference of scores.

    Two docids whose scores differ by less than float32 can tell (1e-4) may change places.
    """
    identical, largest = [], 0.0
    for query in range(len(found)):
        same = True
        for rank, row in enumerate(found[query].tolist()):
            if row < 0:
                continue
            ours, theirs = trie.docid(row).tolist(), sequences[query, rank].tolist()
            largest = max(largest, abs(float(scores[query, rank] - their_scores[query, rank])))
            if ours != theirs[: len(ours)]:
                near = (their_scores[query] - scores[query, rank]).abs() < 1e-4
                same &= any(ours == sequences[query, other].tolist()[: len(ours)] for other in near.nonzero()[:, 0])
        identical.append(same)
    return identical, largest


class CountingDecoder(T5Decoder):
    """Counts the decoder's positions."""

    positions = 0

    def advance(self, *arguments, **options):
        hidden, now = super().advance(*arguments, **options)
        CountingDecoder.positions += len(hidden)
        return hidden, now


class CountingFixedDecoder(FixedDecoder):
    """The same for the search in fixed shapes."""

    def _decode(self, *arguments, **options):
        hidden = super()._decode(*arguments, **options)
        CountingDecoder.positions += len(hidden)
        return hidden


def operations(config: T5Config, positions: int, query_tokens: int, beams: int) -> float:
    """Floating-point operations of products with weights: encoder, cross-attention's keys and values, decoder, head."""
    inner = config.num_heads * config.d_kv
    feed_forward = (3 if config.is_gated_act else 2) * config.d_model * config.d_ff
    attention = config.d_model * inner
    encoder = query_tokens * config.num_layers * (4 * attention + feed_forward)
    shared = query_tokens * config.num_decoder_layers * 2 * attention
    decoder = positions * (
        config.num_decoder_layers * (6 * attention + feed_forward) + config.d_model * config.vocab_size
    )
    return 2.0 * (encoder + shared + decoder)


def matrix_product_rate(model: T5ForConditionalGeneration, rows: int) -> float:
    """Operations a second of the device's products at the decoder's sizes, in its precision: the best of several."""
    config, like = model.config, {"device": model.device, "dtype": model.dtype}
    left, right = torch.randn(rows, config.d_model, **like), torch.randn(config.d_ff, config.d_model, **like)
    best = 0.0
    for _ in range(20):
        seconds, _ = timed(lambda: [left @ right.T for _ in range(5)])
        best = max(best, 5 * 2 * rows * config.d_model * config.d_ff / seconds)
    return best


def timed(work):
    start = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


SEARCHES = {"ours": {}, "top10": {"top_k": 10}, "fixed": {"fixed_shapes": True}}
"""Of which operations are counted: the search for a processor, in full and for the best ten, and that for a GPU."""


def count_operations(arguments: argparse.Namespace, searches: Iterable[str] = tuple(SEARCHES)) -> dict[str, int]:
    """Operations and waits of one batch, with as many logits at once as a GPU has."""
    t5_decoder.LOGITS = t5_decoder.COLUMNS = t5_decoder.LOGITS_ON_GPU
    model = random_model("narrow", arguments.seed)
    docids = pq_like if arguments.docids_like == "pq" else tu_like
    trie = DocidTrie.build(docids(arguments.documents, np.random.default_rng(arguments.seed)))
    (batch,) = arguments.batch
    ids, mask = random_queries(batch, arguments.seed)
    counts = {"documents": arguments.documents, "beams": arguments.beams, "batch": batch}
    for name in searches:
        with counted() as of_search:
            beam_search.constrained_beam_search(model, trie, ids, mask, arguments.beams, **SEARCHES[name])
        counts |= {f"{name}_operations": of_search.operations, f"{name}_waits": of_search.waits}
    return counts


def warm_up(model: T5ForConditionalGeneration, trie: DocidTrie, batches: list, beams: int, last) -> int:
    """Rank for all batches, and as often as graphs want; the decoder's positions of it all, once."""
    for batch in batches:
        beam_search.constrained_beam_search(model, trie, *batch, beams)
    positions = CountingDecoder.positions
    if model.device.type == "cuda":
        for batch in [batches[0]] * 3:
            beam_search.constrained_beam_search(model, trie, *batch, beams, last=last)
    return positions


def of_gpu(search, work: float, seconds: float, batch: int) -> dict[str, float]:
    """What the card does in a ``search`` of one batch: its kernels, and its shares of the time and of the peak.

    ``work`` and ``seconds``, measured without a profile, are those of one query.
    """
    with device_profile() as done:
        timed(search)
    kernels, busy = device_work(done)
    peak = peak_of(torch.cuda.get_device_name())
    return {
        "kernels": kernels,
        "busy": busy / batch / seconds,
        "share_of_bfloat16_peak": peak and work / seconds / peak,
        "gpu_peak_mib": torch.cuda.max_memory_allocated() / 2**20,
    }


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def main(arguments: argparse.Namespace) -> None:
    be_quiet()
    if arguments.quick:
        arguments.model, arguments.documents, arguments.beams, arguments.batch = "tiny", 20_000, 20, [16]
    if arguments.count:
        print(json.dumps(count_operations(arguments)))
        return
    generator = np.random.default_rng(arguments.seed)
    most = arguments.queries or max(arguments.batch)
    if arguments.trained:
        model, docids, *queries = of_pipeline(arguments.trained, most)
    else:
        model = random_model(arguments.model, arguments.seed)
        docids = (pq_like if arguments.docids_like == "pq" else tu_like)(arguments.documents, generator)
        queries = random_queries(most, arguments.seed)
    trie_build_s, trie = timed(lambda: DocidTrie.build(docids))
    of_trie = {"trie_build_s": trie_build_s, "trie_bytes": trie.nbytes, "dict_build_s": None, "dict_bytes": None}
    root = None
    if not arguments.no_reference:
        before = resident()
        of_trie["dict_build_s"], root = timed(lambda: build_dicts(docids))
        of_trie["dict_bytes"] = resident() - before

    beam_search.T5Decoder, fixed_search.FixedDecoder = CountingDecoder, CountingFixedDecoder
    for precision in arguments.precision:
        there = copy.deepcopy(model).to(arguments.device, use_precision(precision))
        for batch in arguments.batch:
            of_batch = [tensor[: arguments.queries or batch].to(arguments.device) for tensor in queries]
            line = {"precision": precision, "batch": batch}
            if arguments.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            print(json.dumps(line | measure(arguments, there, trie, root, *of_batch, batch) | of_trie), flush=True)


def measure(
    arguments: argparse.Namespace,
    model: T5ForConditionalGeneration,
    trie: DocidTrie,
    root: dict | None,
    ids: torch.Tensor,
    mask: torch.Tensor,
    batch: int,
) -> dict[str, object]:
    """The line of so many queries a batch, with the model as it is; ``root`` is that of the usual way's dicts."""
    batches = list(zip(ids.split(batch), mask.split(batch), strict=True))
    last = fixed_search.LastSearch()

    def ours(top_k=None, most=None):
        search = beam_search.constrained_beam_search
        return [search(model, trie, *some, arguments.beams, top_k=top_k, last=last) for some in batches[:most]]

    sides = {"ours": ours}
    if arguments.device == "cpu":  # there the search for the best ten is another one
        sides["top10"] = lambda: ours(10)
    if root is not None:
        sides["reference"] = lambda: [generate(model, root, *some, arguments.beams, trie.depth) for some in batches]
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    rates, results = [], {}
    CountingDecoder.positions = 0
    positions = warm_up(model, trie, batches, arguments.beams, last)
    for repeat in range(arguments.repeats):
        for name, side in sides.items():
            took, results[name] = timed(side)
            seconds[name].append(took)
            print(f"repeat {repeat + 1}/{arguments.repeats}: {name} {took / len(ids):.4f} s a query", file=sys.stderr)
        rates.append(matrix_product_rate(model, min(batch * arguments.beams, 2048)))
    took = {name: statistics.median(values) / len(ids) for name, values in seconds.items()}

    results = {name: [[part.cpu() for part in some] for some in of_side] for name, of_side in results.items()}
    found, scores = (torch.cat(part) for part in zip(*results["ours"], strict=True))
    if "top10" in results:
        top, top_scores = (torch.cat(part) for part in zip(*results["top10"], strict=True))
        top_same = ((top == found[:, :10]) | ((top_scores - scores[:, :10]).abs() < 1e-4)).all(1)
        assert top_same.all(), f"top_k differs from the full search for query {int(top_same.int().argmin())}"
    identical, largest = None, None
    if "reference" in results:
        width = max(sequences.shape[-1] for sequences, _ in results["reference"])
        padded = [torch.nn.functional.pad(part, (0, width - part.shape[-1])) for part, _ in results["reference"]]
        same, largest = same_ranking(
            trie, found, scores, torch.cat(padded), torch.cat([part for _, part in results["reference"]])
        )
        identical = sum(same) / len(same)
    work = operations(model.config, positions, int(ids.numel()), arguments.beams)
    rate = statistics.median(rates)
    reference_s, top10_s = took.get("reference"), took.get("top10")
    return {
        "device": torch.cuda.get_device_name() if arguments.device == "cuda" else "cpu",
        "documents": len(trie.documents),
        "model": str(arguments.trained or arguments.model),
        "docids_like": None if arguments.trained else arguments.docids_like,
        "beams": arguments.beams,
        "queries": len(ids),
        "reference_s_per_query": reference_s,
        "ours_s_per_query": took["ours"],
        "top10_s_per_query": top10_s,
        "ratio": reference_s and reference_s / took["ours"],
        "ratio_top10": reference_s and top10_s and reference_s / top10_s,
        "gflop_per_query": work / len(ids) / 1e9,
        "gflop_per_s": rate / 1e9,
        "bound_fraction": work / rate / len(ids) / took["ours"],
        **(of_gpu(lambda: ours(most=1), work / len(ids), took["ours"], batch) if arguments.device == "cuda" else {}),
        "identical": identical,
        "max_score_diff": largest,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


if __name__ == "__main__":
    main(parser().parse_args())
