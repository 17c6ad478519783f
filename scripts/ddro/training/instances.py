"""Training instances of the three SFT stages: a text, its tokens, and the document whose docid it should give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import PreTrainedTokenizerBase

from ddro.core.text import FUNCTION_WORDS, words
from ddro.docids.tokens import docid_token

MAX_TITLE_SHARE = 0.5
"""A title takes at most this share of a passage, so that each passage has something of the body."""


@dataclass(frozen=True)
class Instance:
    """``input_ids`` end with the end token."""

    docno: str
    text: str
    input_ids: list[int]


def passages(
    tokenizer: PreTrainedTokenizerBase, docno: str, title: str, body: str, *, passage_tokens: int, passages: int
) -> Iterator[Instance]:
    """Up to ``passages`` consecutive windows of the body, each prefixed by the title (METHOD 1).

    A window fills what the title and the end token leave of ``passage_tokens``. A document without a body gives its
    title alone; with 0 ``passages`` there is none.
    """
    if not passages:
        return
    prefix, _ = _tokens(tokenizer, title)
    prefix = prefix[: int(passage_tokens * MAX_TITLE_SHARE)]
    width = passage_tokens - len(prefix) - 1
    tokens, offsets = _tokens(tokenizer, body)
    for first in range(0, max(1, min(len(tokens), width * passages)), width):
        window = tokens[first : first + width]
        text = body[offsets[first][0] : offsets[first + len(window) - 1][1]] if window else ""
        yield Instance(docno, f"{title} {text}".strip(), [*prefix, *window, tokenizer.eos_token_id])


def sampled_terms(texts: Sequence[str], count: int) -> Iterator[str]:
    """For each text its ``count`` terms of highest tf-idf, highest first, ties in alphabetical order.

    tf-idf as scikit-learn computes it: raw term counts times ln((1 + n) / (1 + df)) + 1. Function words are no terms.
    """
    vectorizer = TfidfVectorizer(analyzer=_terms, norm=None)
    weights = vectorizer.fit_transform(texts)
    names = vectorizer.get_feature_names_out()
    for row in range(weights.shape[0]):
        terms = weights.indices[weights.indptr[row] : weights.indptr[row + 1]]
        values = weights.data[weights.indptr[row] : weights.indptr[row + 1]]
        # The columns are in alphabetical order.
        best = terms[np.lexsort((terms, -values))[:count]]
        yield " ".join(names[best])


def _terms(text: str) -> list[str]:
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def docid_to_docid(
    tokenizer: PreTrainedTokenizerBase, docno: str, tokens: Sequence[int], vocabulary_size: int
) -> Instance:
    """The docid as its own input; token ids from ``vocabulary_size`` on are docid tokens."""
    end = [] if tokens[-1] == tokenizer.eos_token_id else [tokenizer.eos_token_id]
    names = (
        docid_token(token - vocabulary_size) if token >= vocabulary_size else tokenizer.convert_ids_to_tokens(token)
        for token in tokens
    )
    return Instance(docno, "".join(names), [*tokens, *end])


def from_texts(
    tokenizer: PreTrainedTokenizerBase, docnos: Sequence[str], texts: Sequence[str], max_tokens: int
) -> Iterator[Instance]:
    """One instance a text, cut to ``max_tokens``."""
    encoded = tokenizer(list(texts), truncation=True, max_length=max_tokens, return_attention_mask=False)["input_ids"]
    for docno, text, tokens in zip(docnos, texts, encoded, strict=True):
        yield Instance(docno, text, tokens)


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The tokens of a text of any length, and where each begins and ends in it."""
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    return encoded["input_ids"], encoded["offset_mapping"]
