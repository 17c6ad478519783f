"""Training instances of the three SFT stages: a text, its tokens, and the document whose docid it should give."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from random import Random

import numpy as np
from transformers import PreTrainedTokenizerBase

from ddro.core.long_texts import beginning
from ddro.core.text import FUNCTION_WORDS, can_be_query, sentences, words
from ddro.docids.tokens import docid_token
from ddro.models.tokenizer import encode

MAX_TITLE_SHARE = 0.5
"""A title takes at most this share of a window, so that each window has something of the body."""

SUBWORDS_READ = 1024
"""Of a document, when subwords are sampled: as the authors' code reads."""

FEWEST_SUBWORDS = 10
"""Of which the authors' code makes an instance."""

CHARACTERS_A_TOKEN = 8
"""So many characters for each token that is wanted are tokenised first, and more if they are too few."""


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
    start, end = _start_tokens(tokenizer), tokenizer.eos_token_id
    prefix, _ = _tokens(tokenizer, title)
    prefix = [*start, *prefix[: int(passage_tokens * MAX_TITLE_SHARE)]]
    width = passage_tokens - len(prefix) - 1
    tokens, offsets = _tokens(tokenizer, beginning(body, width * max_passages))
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
    start, end = _start_tokens(tokenizer), tokenizer.eos_token_id
    texts = [beginning(text, passage_tokens) for text in ([title, *sentences(body)] if body.strip() else [title])]
    of_texts = _tokens_of_each(tokenizer, texts, CHARACTERS_A_TOKEN * passage_tokens * max_passages)
    prefix = [*start, *(next(of_texts) if len(texts) > 1 else [])]
    made, tokens = 0, prefix
    for number, sentence in enumerate(of_texts, len(texts) > 1):
        tokens = [*tokens, *sentence][: passage_tokens - 1]
        if len(tokens) == passage_tokens - 1 or (number == len(texts) - 1 and len(tokens) > len(prefix)):
            yield Instance(docno, tokenizer.decode(tokens[len(start) :]), [*tokens, end])
            made, tokens = made + 1, prefix
            if made == max_passages:
                return


def _tokens_of_each(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], characters: int) -> Iterator[list[int]]:
    """The tokens of each text; texts beyond so many characters aren't tokenised until they are asked for."""
    first = next((number for number, end in enumerate(accumulate(map(len, texts)), 1) if end > characters), len(texts))
    for part in filter(None, (texts[:first], texts[first:])):
        yield from tokenizer(part, add_special_tokens=False, return_attention_mask=False, verbose=False)["input_ids"]


PASSAGES = {"windows": window_passages, "sentences": sentence_passages}


@dataclass(frozen=True)
class RandomCrops:
    """Short texts for a model whose queries are short: a run of a body's words behind some words of the title.

    Random cropping is Contriever's (Izacard et al., 2022); the title's words tell whose run it is.

    Attributes:
        count: crops that are drawn of a document.
        shortest, longest: words of a run, each number as likely as the next.
        reach: words of the body that runs are drawn from.
        title_share: probability with which each word of the title stays.
        max_tokens: that a crop is cut to.
        seed: with the document's id, all that the draws depend on.
    """

    count: int
    shortest: int
    longest: int
    reach: int
    title_share: float
    max_tokens: int
    seed: int

    def instances(self, tokenizer: PreTrainedTokenizerBase, docno: str, title: str, body: str) -> Iterator[Instance]:
        """At most ``count``: a crop that says too little to be a query (`can_be_query`) is left out.

        A body that is shorter than a run is one.
        """
        if not self.count:
            return
        found, chance = beginning(body, self.reach).split()[: self.reach], Random(f"{self.seed} {docno}")
        crops = []
        for _ in range(self.count):
            words_kept = [word for word in title.split() if chance.random() < self.title_share]
            length = chance.randint(self.shortest, self.longest)
            start = chance.randint(0, max(0, len(found) - length))
            crops.append(" ".join([*words_kept, *found[start : start + length]]))
        said = list(filter(can_be_query, crops))
        yield from from_texts(tokenizer, [docno] * len(said), said, self.max_tokens)


def words_of_most_weight(
    texts: Sequence[str], count: int, frequency: Mapping[str, int], documents: int
) -> Iterator[str]:
    """For each text its ``count`` terms of highest tf-idf, highest first, ties in alphabetical order.

    tf-idf as scikit-learn computes it: raw term counts times ln((1 + n) / (1 + df)) + 1, for n ``documents`` with the
    document ``frequency`` df of each term. Function words are no terms.
    """
    for text in texts:
        counts = Counter(_terms(text))
        terms = sorted(counts)
        rarity = np.log((1.0 + documents) / (1.0 + np.array([frequency[term] for term in terms]))) + 1
        weights = np.array([counts[term] for term in terms]) * rarity
        yield " ".join(terms[place] for place in np.argsort(-weights, kind="stable")[:count])


class SampledWords:
    """An instance of each document: its ``count`` words of highest tf-idf (`words_of_most_weight`).

    It is cut to ``max_tokens``; None where a document has no content word, or none is asked for. All documents are
    read first, some at a time, and their frequencies added, for the sake of df.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, count: int, max_tokens: int) -> None:
        self.tokenizer, self.count, self.max_tokens = tokenizer, count, max_tokens
        self.frequency: Counter[str] = Counter()
        self.documents = 0

    def read(self, texts: Sequence[str]) -> tuple[None, Counter[str]]:
        """Of some documents what is to be kept of each, and how many of them have each term."""
        return None, Counter(term for text in texts for term in set(_terms(text)))

    def add(self, frequency: Counter[str], documents: int) -> None:
        """Take in what `read` has found in so many documents."""
        self.frequency.update(frequency)
        self.documents += documents

    def instances(self, docnos: Sequence[str], texts: Sequence[str], kept: None) -> Iterator[Instance | None]:
        """Of some documents, when all have been read."""
        found = words_of_most_weight(texts, self.count, self.frequency, self.documents)
        for docno, text in zip(docnos, found, strict=True):
            yield next(from_texts(self.tokenizer, [docno], [text], self.max_tokens)) if text else None


class SampledSubwords:
    """An instance of each document: of its first `SUBWORDS_READ` subwords those of highest tf-idf.

    These are the ones that weigh no less than the ``count``-th of them, in the order of the text, repeats and all
    (docs/method.md), cut to ``max_tokens``. A subword weighs tf * ln(n / (1 + df)), tf and df counted in what is read
    of the n documents. None where fewer than `FEWEST_SUBWORDS` are left, or one alone. Used as `SampledWords`.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, count: int, max_tokens: int) -> None:
        self.tokenizer, self.count, self.max_tokens = tokenizer, count, max_tokens
        self.frequency = np.zeros(max(tokenizer.get_vocab().values()) + 1, np.int64)
        self.documents = 0

    def read(self, texts: Sequence[str]) -> tuple[list[np.ndarray], np.ndarray]:
        """Of some documents the subwords, and how many of them have each."""
        settings = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
        encoded = self.tokenizer([beginning(text, SUBWORDS_READ) for text in texts], **settings)["input_ids"]
        subwords = [np.array(tokens[:SUBWORDS_READ], np.int32) for tokens in encoded]
        distinct = np.concatenate([np.unique(tokens) for tokens in subwords])
        return subwords, np.bincount(distinct, minlength=len(self.frequency))

    def add(self, frequency: np.ndarray, documents: int) -> None:
        """Take in what `read` has found in so many documents."""
        self.frequency += frequency
        self.documents += documents

    @cached_property
    def rarity(self) -> np.ndarray:
        """Of each subword, when all documents have been read: float64 [vocabulary]."""
        return np.array([math.log(self.documents / (1 + frequency)) for frequency in self.frequency.tolist()])

    def instances(
        self, docnos: Sequence[str], texts: Sequence[str], kept: Sequence[np.ndarray]
    ) -> Iterator[Instance | None]:
        """Of some documents, when all have been read."""
        start, end = _start_tokens(self.tokenizer), self.tokenizer.eos_token_id
        for docno, tokens in zip(docnos, kept, strict=True):
            distinct, place, counts = np.unique(tokens, return_inverse=True, return_counts=True)
            weights = (counts * self.rarity[distinct])[place]
            if self.count and len(tokens):
                tokens = tokens[weights >= np.sort(weights)[-min(self.count, len(weights))]]
            chosen = tokens[: min(self.count, self.max_tokens - 1 - len(start))].tolist()
            if len(chosen) < FEWEST_SUBWORDS or len(set(chosen)) < 2:
                yield None
            else:
                yield Instance(docno, self.tokenizer.decode(chosen), [*start, *chosen, end])


SAMPLED_TERMS = {"words": SampledWords, "subwords": SampledSubwords}


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


def _start_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """What the tokenizer puts before every text: nothing in T5's."""
    return tokenizer("", return_attention_mask=False)["input_ids"][:-1]


def _tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """The tokens of a text of any length, and where each begins and ends in it."""
    encoded = tokenizer(
        text, add_special_tokens=False, return_offsets_mapping=True, return_attention_mask=False, verbose=False
    )
    return encoded["input_ids"], encoded["offset_mapping"]
