"""Training instances of the three SFT stages: a text, its tokens, and the document whose docid it should give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from transformers import PreTrainedTokenizerBase

from ddro.core.command import progress
from ddro.core.text import FUNCTION_WORDS, sentences, words
from ddro.docids.tokens import docid_token
from ddro.models.t5 import encode

MAX_TITLE_SHARE = 0.5
"""A title takes at most this share of a passage, so that each passage has something of the body."""

SUBWORDS_READ = 1024
"""Of a document, when subwords are sampled: as the authors' code reads."""

FEWEST_SUBWORDS = 10
"""Of which the authors' code makes an instance."""

TEXTS_AT_A_TIME = 1024
"""That are tokenised together."""


@dataclass(frozen=True)
class Instance:
    """``input_ids`` end with the end token, but for a docid as its own input."""

    docno: str
    text: str
    input_ids: list[int]


def window_passages(
    tokenizer: PreTrainedTokenizerBase, docno: str, title: str, body: str, *, passage_tokens: int, max_passages: int
) -> Iterator[Instance]:
    """Up to ``max_passages`` consecutive windows of the body, each prefixed by the title.

    A window fills what the title and the end token (with some tokenizers a start token, too) leave of
    ``passage_tokens``. A document without a body gives its title alone; with 0 ``max_passages`` there is none.
    """
    if not max_passages:
        return
    *start, end = tokenizer("", return_attention_mask=False)["input_ids"]
    prefix, _ = _tokens(tokenizer, title)
    prefix = [*start, *prefix[: int(passage_tokens * MAX_TITLE_SHARE)]]
    width = passage_tokens - len(prefix) - 1
    tokens, offsets = _tokens(tokenizer, body)
    for first in range(0, max(1, min(len(tokens), width * max_passages)), width):
        window = tokens[first : first + width]
        text = body[offsets[first][0] : offsets[first + len(window) - 1][1]] if window else ""
        yield Instance(docno, f"{title} {text}".strip(), [*prefix, *window, end])


def sentence_passages(
    tokenizer: PreTrainedTokenizerBase, docno: str, title: str, body: str, *, passage_tokens: int, max_passages: int
) -> Iterator[Instance]:
    """Up to ``max_passages`` runs of whole sentences, each prefixed by the title (docs/method.md).

    Sentences follow the title until ``passage_tokens``, with the end token, are full; what is left of the sentence that
    fills them is lost. A document without a body gives its title alone; with 0 ``max_passages`` there is none.
    """
    if not max_passages:
        return
    prefix, *of_sentences = (
        tokenizer([title, *sentences(body)], add_special_tokens=False, verbose=False)["input_ids"]
        if body.strip()
        else ([], tokenizer(title, add_special_tokens=False, verbose=False)["input_ids"])
    )
    made, tokens = 0, prefix
    for number, sentence in enumerate(of_sentences, 1):
        tokens = [*tokens, *sentence][: passage_tokens - 1]
        if len(tokens) == passage_tokens - 1 or (number == len(of_sentences) and len(tokens) > len(prefix)):
            yield Instance(docno, tokenizer.decode(tokens), [*tokens, tokenizer.eos_token_id])
            made, tokens = made + 1, prefix
            if made == max_passages:
                return


PASSAGES = {"windows": window_passages, "sentences": sentence_passages}


def sampled_words(
    tokenizer: PreTrainedTokenizerBase, docnos: Sequence[str], texts: Sequence[str], *, count: int, max_tokens: int
) -> Iterator[Instance | None]:
    """For each document its ``count`` words of highest tf-idf (`words_of_most_weight`), cut to ``max_tokens``.

    None where it has no content word, or none is asked for.
    """
    for docno, text in zip(docnos, words_of_most_weight(texts, count), strict=True):
        yield next(from_texts(tokenizer, [docno], [text], max_tokens)) if text else None


def words_of_most_weight(texts: Sequence[str], count: int) -> Iterator[str]:
    """For each text its ``count`` terms of highest tf-idf, highest first, ties in alphabetical order.

    tf-idf as scikit-learn computes it: raw term counts times ln((1 + n) / (1 + df)) + 1. Function words are no terms.
    """
    if not any(map(_terms, texts)):  # which scikit-learn refuses
        yield from [""] * len(texts)
        return
    vectorizer = TfidfVectorizer(analyzer=_terms, norm=None)
    weights = vectorizer.fit_transform(texts)
    names = vectorizer.get_feature_names_out()
    for row in range(weights.shape[0]):
        terms = weights.indices[weights.indptr[row] : weights.indptr[row + 1]]
        values = weights.data[weights.indptr[row] : weights.indptr[row + 1]]
        # The columns are in alphabetical order.
        best = terms[np.lexsort((terms, -values))[:count]]
        yield " ".join(names[best])


def sampled_subwords(
    tokenizer: PreTrainedTokenizerBase, docnos: Sequence[str], texts: Sequence[str], *, count: int, max_tokens: int
) -> Iterator[Instance | None]:
    """For each document those of its first `SUBWORDS_READ` subwords that weigh no less than the ``count``-th of them.

    In the order of the text, repeats and all (docs/method.md). A subword weighs tf * ln(n / (1 + df)), tf and df
    counted in what is read of the n documents. None where fewer than `FEWEST_SUBWORDS` are left, or one alone.
    """
    documents = [
        np.array(tokens[:SUBWORDS_READ], np.int32)
        for first in range(0, len(texts), TEXTS_AT_A_TIME)
        for tokens in tokenizer(texts[first : first + TEXTS_AT_A_TIME], add_special_tokens=False, verbose=False)[
            "input_ids"
        ]
    ]
    frequency = Counter(token for tokens in documents for token in np.unique(tokens).tolist())
    for docno, tokens in zip(docnos, documents, strict=True):
        distinct, place, counts = np.unique(tokens, return_inverse=True, return_counts=True)
        rarity = np.array([math.log(len(documents) / (1 + frequency[token])) for token in distinct.tolist()])
        weights = (counts * rarity)[place]
        if count and len(tokens):
            tokens = tokens[weights >= np.sort(weights)[-min(count, len(weights))]]
        tokens = tokens[: min(count, max_tokens - 1)].tolist()
        if len(tokens) < FEWEST_SUBWORDS or len(set(tokens)) < 2:
            yield None
        else:
            yield Instance(docno, tokenizer.decode(tokens), [*tokens, tokenizer.eos_token_id])


SAMPLED_TERMS = {"words": sampled_words, "subwords": sampled_subwords}


def _terms(text: str) -> list[str]:
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def docid_to_docid(
    tokenizer: PreTrainedTokenizerBase, docno: str, tokens: Sequence[int], vocabulary_size: int, *, end: bool = True
) -> Instance:
    """The docid as its own input; token ids from ``vocabulary_size`` on are docid tokens.

    With ``end`` the end token closes it, as it does every text; without, a docid that has none gets none.
    """
    closing = [tokenizer.eos_token_id] if end and tokens[-1] != tokenizer.eos_token_id else []
    names = (
        docid_token(token - vocabulary_size) if token >= vocabulary_size else tokenizer.convert_ids_to_tokens(token)
        for token in tokens
    )
    return Instance(docno, "".join(names), [*tokens, *closing])


def from_texts(
    tokenizer: PreTrainedTokenizerBase, docnos: Sequence[str], texts: Sequence[str], max_tokens: int
) -> Iterator[Instance]:
    """One instance a text, cut to ``max_tokens``."""
    for docno, text, tokens in zip(docnos, texts, encode(tokenizer, texts, max_tokens), strict=True):
        yield Instance(docno, text, tokens)


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The tokens of a text of any length, and where each begins and ends in it."""
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    return encoded["input_ids"], encoded["offset_mapping"]


def instances_of_documents(
    tokenizer: PreTrainedTokenizerBase,
    docnos: Sequence[str],
    titles: Sequence[str],
    bodies: Sequence[str],
    docids: Mapping[str, Sequence[int]],
    vocabulary_size: int,
    *,
    passages: str,
    passage_tokens: int,
    max_passages: int,
    sampled_terms: str,
    max_terms: int,
    docid_end: bool,
) -> Iterator[Instance]:
    """Yield the instances of ``pretrain``: of each document its passages, its sampled terms, and its docid itself.

    Args:
        docids: the tokens of each document's docid; of a document that has none here no docid is an instance.
        vocabulary_size: of the base model, beyond which the docids' own tokens lie.
        passages: of `PASSAGES`, with their tokens and most of a document.
        sampled_terms: of `SAMPLED_TERMS`, with the most of a document.
        docid_end: whether an end token stands behind a docid as input.
    """
    terms = SAMPLED_TERMS[sampled_terms](
        tokenizer,
        docnos,
        [f"{title} {body}" for title, body in zip(titles, bodies, strict=True)],
        count=max_terms,
        max_tokens=passage_tokens,
    )
    documents = progress(docnos, description="pretrain", unit="documents")
    for docno, title, body, instance in zip(documents, titles, bodies, terms, strict=True):
        yield from PASSAGES[passages](
            tokenizer, docno, title, body, passage_tokens=passage_tokens, max_passages=max_passages
        )
        if instance:
            yield instance
        if docno in docids:
            yield docid_to_docid(tokenizer, docno, docids[docno], vocabulary_size, end=docid_end)
