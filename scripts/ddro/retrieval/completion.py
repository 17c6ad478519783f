"""Scoring docids to their ends once nothing but their scores is open: many tokens in one pass of the decoder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch

from ddro.retrieval.found_docids import FoundDocids
from ddro.retrieval.t5_decoder import Past, Rows, T5Decoder

POSITIONS = 2048  # that are decoded at once
FIRST_TOKENS = 2  # that are scored before hopeless docids are dropped for the first time; then twice as many each time


@dataclass(frozen=True)
class OpenDocids:
    """Docids of several queries, scored up to some token.

    Attributes:
        query: int64 [docids], ascending.
        row: int64 [docids]: the row of the trie.
        place: int64 [docids]: of the last scored token among the trie's tokens. It isn't decoded yet.
        score: float32 [docids].
        past: keys and values of the tokens before.
        parent: int64 [docids]: the row of each docid in the past.
        length: scored tokens of each docid.
    """

    query: torch.Tensor
    row: torch.Tensor
    place: torch.Tensor
    score: torch.Tensor
    past: Past
    parent: torch.Tensor
    length: int


def score_to_the_end(decoder: T5Decoder, tree: SimpleNamespace, rest: OpenDocids, found: FoundDocids) -> None:
    """Move docids to ``found`` with the scores of all their tokens, but for those that fall below its floor."""
    tokens = FIRST_TOKENS
    while len(rest.query):
        left = tree.first_token[rest.row + 1] - 1 - rest.place
        size = longest = int(left.max())
        if found.may_drop(rest.query):
            size, tokens = min(size, tokens), 2 * tokens
        scores, rest = _score_tokens(decoder, tree, rest, left.clamp(max=size), keep=size < longest)
        lengths = tree.first_token[rest.row + 1] - tree.first_token[rest.row]
        total, live = rest.score, torch.ones_like(left, dtype=torch.bool)
        for step, of_token in enumerate(scores.unbind(1), 1):
            total = total + of_token  # one after another, as beam search adds them: rounded in the same way
            if step == size or found.length_penalty:  # a query may be given up after any token
                ended = live & (left <= step)
                found.add(rest.query[ended], rest.row[ended], total[ended], rest.length + left[ended])
                live = found.may_count(rest.query, total, live & ~ended, rest.length + step, lengths)
        at = live.nonzero()[:, 0]
        rest = OpenDocids(
            rest.query[at], rest.row[at], rest.place[at], total[at], rest.past, rest.parent[at], rest.length + size
        )


def _score_tokens(
    decoder: T5Decoder, tree: SimpleNamespace, rest: OpenDocids, counts: torch.Tensor, *, keep: bool
) -> tuple[torch.Tensor, OpenDocids]:
    """Log-probabilities of the next ``counts`` tokens of each docid, float32 [docids, most of them], 0 beyond.

    The docids move on to their last token; the past is that of those with most tokens, if it is to be kept.
    """
    size = int(counts.max())
    scores = rest.score.new_zeros(len(counts), size)
    kept, pasts = [], []
    for some in counts.argsort(stable=True).split(max(1, POSITIONS // size)):  # of like length
        some = some.sort().values
        offsets = torch.arange(int(counts[some].max()), device=some.device)
        valid = offsets < counts[some][:, None]
        inputs = (rest.place[some][:, None] + offsets).masked_fill(~valid, 0)
        rows = Rows(rest.query[some], tree.tokens[inputs].long(), rest.parent[some], None if valid.all() else valid)
        hidden, now = decoder.advance(rows, rest.past, keep=keep)
        targets = tree.tokens[inputs[valid] + 1].long()
        found = decoder.log_probabilities(hidden, torch.arange(len(hidden), device=some.device), targets)
        scores[some, : valid.shape[1]] = found.new_zeros(valid.shape).masked_scatter_(valid, found)
        longest = (counts[some] == size).nonzero()[:, 0]
        if keep and len(longest):
            kept.append(some[longest])
            pasts.append([(keys[longest], values[longest]) for keys, values in now])
    parent = torch.zeros_like(rest.parent)
    if keep:
        parent[torch.cat(kept)] = torch.arange(sum(map(len, kept)), device=parent.device)
    past = [tuple(map(torch.cat, zip(*layer, strict=True))) for layer in zip(*pasts, strict=True)]
    return scores, replace(rest, place=rest.place + counts, past=past, parent=parent)
