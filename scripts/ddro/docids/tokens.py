"""Docids of codes and numbers, the documents that share a docid, and what makes a docid table sound."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ddro.core.command import UserError

Docid = list[int]

PADDING, END = 0, 1
"""T5's own."""


def code_tokens(codes: np.ndarray, centroids: int, vocabulary_size: int) -> np.ndarray:
    """Token of position i (sub-space or level) and code c, ``vocabulary_size + centroids * i + c``: int32 [N, M]."""
    return (vocabulary_size + centroids * np.arange(codes.shape[1]) + codes).astype(np.int32)


def atomic_tokens(documents: int, vocabulary_size: int) -> np.ndarray:
    """One token a document, ``vocabulary_size + row``: int32 [documents, 1]."""
    return np.arange(vocabulary_size, vocabulary_size + documents, dtype=np.int32)[:, None]


def with_tokens_of_its_own(
    docids: Sequence[Docid], end: int, new_end: int, first_token: int
) -> tuple[list[Docid], int]:
    """Docids of words for a model that has no words: each different token is a new one, from ``first_token`` on.

    New tokens are in the order of the old ones, but ``end``, which becomes ``new_end``.

    Returns:
        the docids, and the first token behind all new ones.
    """
    words = sorted({token for docid in docids for token in docid} - {end})
    new = dict(zip(words, range(first_token, first_token + len(words)), strict=True)) | {end: new_end}
    return [[new[token] for token in docid] for docid in docids], first_token + len(words)


def with_padding(
    docids: pa.ListArray | pa.ChunkedArray, length: int | None, docnos: Sequence[str] | pa.ChunkedArray
) -> pa.ListArray | pa.ChunkedArray:
    """Docids of one length: without their end token, and padded with 0. As they are, where there is no ``length``.

    So the evaluation of the authors' code decodes the TU docids of Natural Questions, and counts the padding's
    log-probabilities (docs/method.md). No docid is then the beginning of another.

    Args:
        docids: list<int32>.
        length: tokens of each docid; None for no padding.
        docnos: the document of each docid, for a message.

    Raises:
        UserError: a docid is longer than that.
    """
    if not length:
        return docids
    docids = docids.combine_chunks() if isinstance(docids, pa.ChunkedArray) else docids
    lengths = docids.value_lengths().to_numpy().astype(np.int64)
    tokens, ends = docids.flatten().to_numpy(), np.cumsum(lengths)
    kept = lengths - (tokens[ends - 1] == END)
    if (longest := int(kept.max())) > length:
        raise UserError(
            f"padding is {length}, but the docid of {docnos[int(kept.argmax())]} has {longest} tokens without its end "
            f"token. Write {longest} or more."
        )
    padded = np.full((len(kept), length), PADDING, np.int32)
    place = np.arange(len(tokens)) - np.repeat(ends - lengths, lengths)
    is_kept = place < np.repeat(kept, lengths)
    padded[np.repeat(np.arange(len(kept)), kept), place[is_kept]] = tokens[is_kept]
    return pa.ListArray.from_arrays(np.arange(0, padded.size + 1, length, dtype=np.int32), padded.ravel())


def collisions(docids: Sequence[Sequence[int]]) -> list[list[int]]:
    """The rows of each docid that several documents share, in the order of the table; by their first row."""
    rows = defaultdict(list)
    for row, docid in enumerate(docids):
        rows[tuple(docid)].append(row)
    return [group for group in rows.values() if len(group) > 1]


def extend(docids: Sequence[Docid], groups: Sequence[Sequence[int]], first_token: int, end_token: int | None) -> None:
    """Give the documents of each group (see `collisions`) one more token each, from ``first_token`` on, in place.

    All of a group get one, for a docid must not be the beginning of another. It stands before ``end_token`` where
    docids end with one (None: they don't).
    """
    for group in groups:
        for number, row in enumerate(group):
            place = len(docids[row]) - (end_token is not None)
            docids[row].insert(place, first_token + number)


def ranking_order(
    docnos: Sequence[str], training_queries: Mapping[str, int] | None, seed: int | None = None
) -> list[int]:
    """The rows of ``docnos`` in the order in which documents of one docid are ranked.

    By the number of their training queries, the most first, then by docno; without ``training_queries`` in an order
    that depends on nothing but the docnos and ``seed``. Queries that test or validate must not be counted: that would
    rank their documents first.
    """
    if training_queries is None:
        return sorted(range(len(docnos)), key=lambda row: hashlib.sha256(f"{seed}:{docnos[row]}".encode()).digest())
    return sorted(range(len(docnos)), key=lambda row: (-training_queries.get(docnos[row], 0), docnos[row]))


def collision_report(groups: Sequence[Sequence[int]]) -> dict[str, Any]:
    """How many documents share a docid: groups, their documents, the largest, and the number of groups of each size."""
    sizes = Counter(map(len, groups))
    return {
        "groups": len(groups),
        "documents": sum(map(len, groups)),
        "largest": max(sizes, default=1),
        "groups_of_size": {str(size): sizes[size] for size in sorted(sizes)},
    }


def code_usage(codes: np.ndarray, centroids: int) -> dict[str, list]:
    """Of each position of codes [N, M]: the entropy of its codes in bits, and how many codes are in use."""
    counts = [np.bincount(column, minlength=centroids) for column in codes.T]
    shares = [count[count > 0] / len(codes) for count in counts]
    return {
        "entropy_bits": [round(float(-(share * np.log2(share)).sum()) + 0.0, 4) for share in shares],
        "codes_in_use": [int((count > 0).sum()) for count in counts],
    }


def check_docids(
    docids: Sequence[Docid], documents: Sequence[str], allowed: Sequence[range], shortest: int, end_token: int | None
) -> None:
    """Check that a model can learn the docids; a `UserError` names the first document that is wrong.

    Args:
        docids: of each document.
        documents: what a message calls each: its docno, or where it stands.
        allowed: the tokens that may stand at each position; a docid has no more positions.
        shortest: as many tokens, without the end token, must be there.
        end_token: ends every docid and isn't counted; None for docids of codes, which have none.
    """
    for docid, document in zip(docids, documents, strict=True):
        body = docid if end_token is None else docid[:-1]
        if end_token is not None and docid[-1:] != [end_token]:
            raise UserError(f"{document}: the docid doesn't end with the end token, {end_token}.")
        if not shortest <= len(body) <= len(allowed):
            raise UserError(f"{document}: a docid of {len(body)} tokens; {shortest} to {len(allowed)} are possible.")
        for position, (token, tokens) in enumerate(zip(body, allowed, strict=False)):
            if token not in tokens:
                raise UserError(
                    f"{document}: token {token} at position {position} of the docid (from 0) isn't one of this "
                    f"position, {tokens.start} to {tokens.stop - 1}. Are model and recipe those of these docids?"
                )


def docid_token(code: int) -> str:
    """The tokenizer's string for the docid token with this number, counted from the end of the base vocabulary."""
    return f"<docid_{code}>"
