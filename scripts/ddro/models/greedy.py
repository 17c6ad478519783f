"""What a sequence-to-sequence model writes of its own accord: the likeliest token after the likeliest token."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ddro.core.command import progress
from ddro.core.halves import in_halves
from ddro.models.t5 import pad
from ddro.models.tokenizer import encode

TOGETHER = 128
"""Texts of like length that are read at a time."""


@torch.inference_mode()
def write_greedily(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_input_tokens: int,
    max_tokens: int,
) -> list[list[int]]:
    """For each text the tokens that the model writes, as transformers' generate does by default: no beams, no chance.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        texts: each is cut to ``max_input_tokens``, its end token among them.
        max_input_tokens: at least 1.
        max_tokens: that are written, the start token not counted.

    Returns:
        the tokens behind the start token; an end token and padding behind it, where the model has ended before.
    """
    inputs = encode(tokenizer, texts, max_input_tokens)
    by_length = sorted(range(len(texts)), key=lambda index: -len(inputs[index]))
    written: dict[int, list[int]] = {}

    def write(some: Sequence[int]) -> list[list[int]]:
        tokens, mask = (tensor.to(model.device) for tensor in pad([inputs[index] for index in some]))
        settings = {"do_sample": False, "num_beams": 1, "max_new_tokens": max_tokens}
        return model.generate(input_ids=tokens, attention_mask=mask, **settings)[:, 1:].tolist()

    batches = [by_length[first : first + TOGETHER] for first in range(0, len(texts), TOGETHER)]
    with progress(total=len(texts), description="write", unit="docids") as bar:
        for batch in batches:
            written |= zip(batch, in_halves(write, batch, "texts"), strict=True)
            bar.update(len(batch))
    return [written[index] for index in range(len(texts))]
