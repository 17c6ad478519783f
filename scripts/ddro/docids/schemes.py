"""The docids that a scheme gives to documents: codes of vectors, words of titles and URLs, a token each, a table's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddro.core.command import UserError, log, progress
from ddro.docids.text_format import Entry, docids_of
from ddro.docids.title_url import closed, docid_text, docid_tokens
from ddro.docids.tokens import END, atomic_tokens, code_tokens, code_usage, with_tokens_of_its_own

if TYPE_CHECKING:  # they take seconds to import
    import faiss
    from transformers import PreTrainedTokenizerBase

FIRST_WORD = 2  # behind padding and end token


@dataclass
class Docids:
    """The docids of a scheme, before collisions are dealt with.

    Attributes:
        tokens: of each document.
        allowed: the tokens that may stand at each position.
        first_new: the first token that neither the model nor the scheme has.
        shortest: tokens that each docid has at least.
        end_token: what every docid ends with, or None.
        report: what the scheme has to tell.
        names: what messages call each document, where that isn't its docno.
    """

    tokens: list[list[int]]
    allowed: list[range]
    first_new: int
    shortest: int = 1
    end_token: int | None = None
    report: dict[str, Any] = field(default_factory=dict)
    names: list[str] | None = None


def atomic_docids(documents: int, vocabulary_size: int) -> Docids:
    """A new token for each document."""
    end = vocabulary_size + documents
    return Docids(atomic_tokens(documents, vocabulary_size).tolist(), [range(vocabulary_size, end)], end)


def docids_of_codes(codebook: faiss.Index, vectors: np.ndarray, vocabulary_size: int) -> Docids:
    """Docids of the codes of the document vectors, float32 [N, dim]."""
    from ddro.docids import quantisation

    codes = quantisation.encode(codebook, vectors)
    positions, centroids = codes.shape[1], quantisation.centroids_of(codebook)
    distortion = quantisation.relative_distortion(codebook, vectors, codes)
    log.info(
        "%d codes of %d centroids leave %.1f %% of the variance unexplained", positions, centroids, 100 * distortion
    )
    report = {"centroids": centroids, "relative_distortion": round(distortion, 6), **code_usage(codes, centroids)}
    tokens = code_tokens(codes, centroids, vocabulary_size).tolist()
    return Docids(tokens, *code_ranges(positions, centroids, vocabulary_size), shortest=positions, report=report)


def code_ranges(positions: int, centroids: int, vocabulary_size: int) -> tuple[list[range], int]:
    """The tokens of each position of a docid of codes, and the first token behind them."""
    bounds = [vocabulary_size + centroids * position for position in range(positions + 1)]
    return [range(*pair) for pair in zip(bounds, bounds[1:], strict=False)], bounds[-1]


def docids_of_titles_and_urls(
    docnos: Sequence[str],
    urls: Sequence[str],
    titles: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    vocabulary_size: int,
    *,
    rule: str,
    max_tokens: int,
    write: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None,
) -> Docids:
    """Docids of the scheme tu by one of its rules (`title_url.docid_text`); logs what they are made of.

    With ``write`` a docid is not the tokens of its text, but what that function writes for it.
    """
    texts, made_of = zip(*map(docid_text, docnos, urls, titles, repeat(rule)), strict=True)
    counts = dict(Counter(made_of).most_common())
    for source, count in counts.items():
        log.info("%d docids are made of %s", count, source)
    if write:
        tokens = (closed(written, tokenizer, max_tokens) for written in write(texts))
    else:
        tokens = docid_tokens(texts, tokenizer, max_tokens)
    docids = list(progress(tokens, description="tokenise", unit="docids", total=len(texts)))
    cut = sum(len(docid) > max_tokens for docid in docids)
    unknown = sum(tokenizer.unk_token_id in docid for docid in docids)
    log.info("%d docids have all %d tokens, so some may be cut; %d have an unknown one", cut, max_tokens, unknown)
    allowed = [range(FIRST_WORD, vocabulary_size)] * max_tokens
    end, first_new = tokenizer.eos_token_id, vocabulary_size
    if vocabulary_size < len(tokenizer):  # a decoder that has no words
        docids, first_new = with_tokens_of_its_own(docids, end, END, vocabulary_size)
        allowed, end = [range(vocabulary_size, first_new)] * max_tokens, END
    report = {"made_of": counts, "of_all_tokens": cut, "with_unknown_token": unknown}
    return Docids(docids, allowed, first_new, 0, end, report)


def docids_of_table(
    scheme: str,
    docnos: Sequence[str],
    table: Mapping[str, Entry],
    path: Path,
    vocabulary_size: int,
    *,
    end_token: int | None = None,
    max_tokens: int = 0,
    positions: int = 0,
    centroids: int = 0,
) -> Docids:
    """Docids of a published table, as far as the corpus has their documents.

    Args:
        scheme: tu (needs ``end_token`` and ``max_tokens``), atomic, or pq or rq (need ``positions`` and ``centroids``).
        docnos: of the corpus.
        table: of `read_docid_table`; ``path``: its file, for messages.
    """
    stripped = sum(len(entry.open_docid) < len(entry.tokens) for entry in table.values())
    tokens, names = docids_of(docnos, table, path)
    report = {"left_out": len(table) - len(tokens), "without_padding": stripped}
    log.info("%s: %d docids, of which %d of no document of the corpus", path, len(table), report["left_out"])
    log.info("%d docids had padding or an end token, which is left out", stripped)
    if scheme == "tu":
        allowed = [range(FIRST_WORD, vocabulary_size)] * max_tokens
        return Docids([[*docid, end_token] for docid in tokens], allowed, vocabulary_size, 1, end_token, report, names)
    if scheme == "atomic":
        highest = max((docid[0] for docid in tokens if docid), default=vocabulary_size) + 1
        return Docids(tokens, [range(vocabulary_size, highest)], highest, report=report, names=names)
    if not (positions and centroids):
        raise UserError(f"--table with --scheme {scheme} needs --subspaces (or --levels) and --centroids.")
    ranges, first_new = code_ranges(positions, centroids, vocabulary_size)
    return Docids(tokens, ranges, first_new, positions, None, report, names)
