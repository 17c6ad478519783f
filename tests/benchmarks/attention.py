"""PyTorch's fused attention beside plain products, forward and backward, on a processor in bfloat16 and float32.

Trainings in bfloat16 on a processor use the plain one for what this prints: CPU milliseconds of one thread, the best of
some turns, and how many times as long the fused one takes. The last line is one JSON object.

    python tests/benchmarks/attention.py
"""

import argparse
import json
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

SHAPES = {
    "demo, PQ": (64, 16, 9, 32, 16),
    "demo, TU": (64, 16, 36, 32, 16),
    "T5-small": (32, 8, 10, 64, 64),
    "T5-base": (32, 12, 25, 128, 64),
}
"""Texts, heads, docid tokens, tokens of the text, and the width of a head."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeats", type=int, default=5, help="turns (5)")
    repeats = options.parse_args().repeats
    torch.set_num_threads(1)
    told = {}
    for precision in (torch.bfloat16, torch.float32):
        for name, shape in SHAPES.items():
            turns = [(measure(fused, shape, precision), measure(plain, shape, precision)) for _ in range(repeats)]
            told[f"{name}, {str(precision).removeprefix('torch.')}"] = row = {
                f"{kind}_{direction}": round(min(turn[side][place] for turn in turns) * 1e3, 2)
                for side, kind in enumerate(("fused", "plain"))
                for place, direction in enumerate(("forward", "backward"))
            }
            both = [row[f"{kind}_forward"] + row[f"{kind}_backward"] for kind in ("fused", "plain")]
            row["ratio"] = round(both[0] / both[1], 2)
            print(f"{name}, {precision}", row, flush=True)
    print(json.dumps(told))


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """As T5 attends, whose scores aren't scaled."""
    return scaled_dot_product_attention(query, key, value, scale=1.0)


def plain(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The same by two products."""
    return (query @ key.transpose(-1, -2)).float().softmax(-1).to(value.dtype) @ value


def measure(attend, shape: tuple[int, ...], precision: torch.dtype) -> tuple[float, float]:
    """CPU seconds forward and backward."""
    texts, heads, queries, keys, width = shape
    inputs = [
        torch.randn(texts, length, heads, width, dtype=precision).transpose(1, 2).requires_grad_()
        for length in (queries, keys, keys)
    ]
    begin = time.process_time()
    out = attend(*inputs)
    middle = time.process_time()
    out.backward(torch.ones_like(out))
    return middle - begin, time.process_time() - middle


if __name__ == "__main__":
    main()
