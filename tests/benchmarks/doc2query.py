"""Writing pseudo queries: the authors' way against ours, on the same weights and documents, in one process, in turn.

Theirs is transformers.generate in float32, documents in the order of the corpus, each padded to the longest that is
read; ours has documents of like length together, in CTranslate2 on a processor and in transformers in bfloat16 on a
GPU, which is what a plain install runs there. Both draw ten samples a document from the ten most probable tokens.
Weights are random, of T5-small's shapes or on a GPU of T5-base's, and never end a query: each has all of its tokens.
Times are medians of several turns. The last line is one JSON object:

    python tests/benchmarks/doc2query.py             # 96 documents of 60 to 256 tokens
    python tests/benchmarks/doc2query.py --quick
"""

import argparse
import copy
import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import numpy as np
import torch
from transformers import T5Config, T5ForConditionalGeneration

from ddro.doc2query.writers import BATCH_SIZE, Ctranslate2Writer, TransformersWriter, write_queries
from ddro.models.t5 import be_quiet
from ddro.models.tokenizer import train_tokenizer

VOCABULARY = 32_128
SIZES = {
    "tiny": {"d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4},
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 3072, "num_layers": 12, "num_heads": 12},
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="few documents, one turn: within 45 s")
    on_gpu = DEVICE == "cuda"
    options.add_argument("--model", choices=SIZES, default="base" if on_gpu else "small", help="T5 of this size")
    options.add_argument("--documents", type=int, default=96, help="number of documents (96)")
    options.add_argument("--per-document", type=int, default=10, help="queries a document (10)")
    options.add_argument("--batch", type=int, default=8, help="documents that the reference decodes together (8)")
    options.add_argument("--repeats", type=int, default=3, help="turns, of which the median is taken (3)")
    options.add_argument("--size", type=int, help="of our batches (the program's own)")
    options.add_argument("--seed", type=int, default=0)
    return options


def random_t5(size: str, seed: int) -> T5ForConditionalGeneration:
    torch.manual_seed(seed)
    shape = SIZES[size]
    config = T5Config(vocab_size=VOCABULARY, **shape, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
    return T5ForConditionalGeneration(config).eval()


def main(arguments: argparse.Namespace) -> None:
    be_quiet()
    if arguments.quick:
        arguments.documents, arguments.repeats = 8, 1
    tokenizer = train_tokenizer(["a query of a document"], 60)
    tokenizer.add_tokens([f"<word_{number}>" for number in range(VOCABULARY - len(tokenizer))])
    model = random_t5(arguments.model, arguments.seed)
    generator = np.random.default_rng(arguments.seed)
    lengths = generator.integers(60, 257, arguments.documents)
    documents = [[*generator.integers(100, VOCABULARY, length - 1).tolist(), 1] for length in lengths]
    settings = {"beams": None, "top_k": 10, "max_query_tokens": 32}
    reference_model = copy.deepcopy(model).to(DEVICE)  # a writer changes the precision of the model that it is given
    our_writer = (TransformersWriter if DEVICE == "cuda" else Ctranslate2Writer)(model, tokenizer, **settings)

    @torch.inference_mode()
    def reference() -> int:
        written = 0
        for first in range(0, len(documents), arguments.batch):
            batch = documents[first : first + arguments.batch]
            tokens = torch.tensor([document + [0] * (256 - len(document)) for document in batch])
            found = reference_model.generate(
                input_ids=tokens.to(DEVICE), attention_mask=(tokens > 0).long().to(DEVICE), do_sample=True, top_k=10,
                num_return_sequences=arguments.per_document, max_new_tokens=32,
            )  # fmt: skip
            written += len(tokenizer.batch_decode(found, skip_special_tokens=True))
        return written

    def ours() -> int:
        our_writer.reseed(arguments.seed)
        texts, _ = write_queries(
            our_writer.write, documents, per_document=arguments.per_document, redraws=0, max_query_tokens=32,
            size=arguments.size or BATCH_SIZE[our_writer.device],
        )  # fmt: skip
        return sum(map(len, texts))

    if DEVICE == "cuda":  # the first products of a process take longer
        reference(), ours()
    threads = torch.get_num_threads()
    seconds: dict[str, list[float]] = {"reference": [], "ours": []}
    processor = {"reference": 0.0, "ours": 0.0}
    for turn in range(arguments.repeats):
        for name, side in (("reference", reference), ("ours", ours)):
            torch.set_num_threads(threads)  # CTranslate2 leaves it at its own number
            start, used = time.perf_counter(), time.process_time()
            assert side() == arguments.documents * arguments.per_document
            seconds[name].append(time.perf_counter() - start)
            processor[name] += (time.process_time() - used) / arguments.repeats
            rate = arguments.documents / seconds[name][-1]
            print(f"turn {turn + 1}/{arguments.repeats}: {name} {rate:.2f} documents/s", file=sys.stderr)
    rates = {name: arguments.documents / statistics.median(values) for name, values in seconds.items()}
    print(json.dumps({
        "model": arguments.model,
        "card": torch.cuda.get_device_name() if DEVICE == "cuda" else None,
        "documents": arguments.documents,
        "per_document": arguments.per_document,
        "device": our_writer.device,
        "compute_type": our_writer.compute_type,
        "threads": threads,
        "load": os.getloadavg()[0],
        "reference_docs_per_s": rates["reference"],
        "ours_docs_per_s": rates["ours"],
        "ratio": rates["ours"] / rates["reference"],
        "ratio_of_processor_time": processor["reference"] / processor["ours"],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))  # fmt: skip


if __name__ == "__main__":
    main(parser().parse_args())
