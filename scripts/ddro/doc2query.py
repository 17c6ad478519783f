"""Pseudo queries: a model that writes queries which a document might answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ddro.seq2seq import pad
from ddro.text import collapse_spaces


def document_text(title: str, body: str) -> str:
    """What the model reads of a document."""
    return f"{title}. {body}"


@torch.inference_mode()
def sample_queries(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    documents: Sequence[Sequence[int]],
    *,
    per_document: int,
    top_k: int,
    max_query_tokens: int,
    batch_size: int,
    seed: int,
) -> Iterator[tuple[int, list[str]]]:
    """Yield (document, its ``per_document`` sampled queries), documents of like length together.

    Each token is drawn from the ``top_k`` most probable ones. The generator is seeded anew for each batch, so that a
    batch gives the same queries whatever came before it.

    Args:
        documents: token ids of each document, end token included.
    """
    model.eval()
    by_length = sorted(range(len(documents)), key=lambda index: (len(documents[index]), index))
    for first in range(0, len(by_length), batch_size):
        batch = by_length[first : first + batch_size]
        tokens, mask = (tensor.to(model.device) for tensor in pad([documents[index] for index in batch]))
        torch.manual_seed(seed + first)
        written = model.generate(
            input_ids=tokens,
            attention_mask=mask,
            do_sample=True,
            top_k=top_k,
            num_return_sequences=per_document,
            max_new_tokens=max_query_tokens,
        )
        texts = [collapse_spaces(text) for text in tokenizer.batch_decode(written, skip_special_tokens=True)]
        for position, index in enumerate(batch):
            yield index, texts[position * per_document : (position + 1) * per_document]
