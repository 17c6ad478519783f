"""The same beam search for a GPU: the shapes of each level are known from the trie, so the host doesn't wait for them.

A query has a fixed number of beams on each level, some of which may be dead (their score is -inf). Each beam has as
many candidates as the level's widest node has children. The host reads one number a level: whether all stand alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from transformers import PreTrainedModel

from ddro.docids.trie import DocidTrie
from ddro.models.t5 import padded_length
from ddro.retrieval.fixed_decoder import QUERY_TOKENS, FixedDecoder
from ddro.retrieval.found_docids import NONE, best_of_rows
from ddro.retrieval.step_graphs import PlainSteps, StepGraphs

LEFT = 4  # the last tokens are a multiple of so many, so that few shapes come


@dataclass(frozen=True)
class _Found:
    """The best docids that have ended, best first: rows of the trie, and scores, both [queries, wanted]."""

    row: torch.Tensor
    score: torch.Tensor
    length_penalty: float

    def with_docids(self, row: torch.Tensor, total: torch.Tensor, length: torch.Tensor | int) -> _Found:
        """These and docids [queries, n] with the sums of their log-probabilities, -inf for none."""
        row = torch.cat([self.row, row], 1)
        score = torch.cat([self.score, self.divided(total, length)], 1)
        by_row = row.argsort(stable=True)  # of equal scores the docid that is first in the trie comes first
        order = by_row.gather(1, score.gather(1, by_row).argsort(stable=True, descending=True))
        order = order[:, : self.row.shape[1]]
        return replace(self, row=row.gather(1, order), score=score.gather(1, order))

    def may_count(self, total: torch.Tensor, live: torch.Tensor, length: int, longest: torch.Tensor | int):
        """Which of the ``live`` beams, bool [queries, n], may yet end among the wanted, as `FoundDocids.may_count`."""
        floor = self.score[:, -1:]
        if not self.length_penalty:
            return live & (total >= floor)
        above = live & (self.divided(total, length) > floor)
        return live & above.any(1, keepdim=True) & (self.divided(total, longest) >= floor)

    def divided(self, total: torch.Tensor, length: torch.Tensor | int) -> torch.Tensor:
        """The scores of docids of so many tokens, from the sums of their log-probabilities."""
        return total / length**self.length_penalty if self.length_penalty else total


@dataclass(frozen=True)
class _Beams:
    """Beams of all queries, those of a query in the order of the docids, the dead ones behind.

    Attributes:
        node: int64 [queries, beams]: the node of the trie.
        token: int64 [queries, beams]: the last token, which isn't decoded yet.
        score: float32 [queries, beams]: -inf for a dead beam.
        places: int64 [queries, beams, seen]: where the decoder keeps the tokens before.
        found: the docids that have ended.
        left: int64, a scalar: the most tokens that a docid of the beams still has, 0 if no beam lives, -1 while a node
            has several docids.
    """

    node: torch.Tensor
    token: torch.Tensor
    score: torch.Tensor
    places: torch.Tensor
    found: _Found
    left: torch.Tensor


class FixedSearch:
    """Beam search with one model and one trie for batches of one shape, in the same memory for all of them."""

    def __init__(
        self,
        model: PreTrainedModel,
        trie: DocidTrie,
        num_beams: int,
        length_penalty: float,
        shape: tuple[int, int],
        steps: StepGraphs,
    ) -> None:
        """Take the memory for batches of ``shape`` (queries, most tokens of a query); ``steps`` runs each level."""
        queries, query_tokens = shape
        self.trie, self.num_beams, self.tree, self.steps = trie, num_beams, trie.on(model.device), steps
        levels = max(1, len(trie.levels) - 1)  # on the last one each node stands alone
        self.widest = _widest(trie)[:levels]
        rows = rows_per_query(trie, num_beams)[:levels]
        self.decoder = FixedDecoder(model, queries, query_tokens, rows, trie.depth)
        device, wanted = model.device, (queries, num_beams)
        nothing = torch.full(wanted, NONE, device=device), torch.full(wanted, -torch.inf, device=device)
        root = torch.zeros(queries, 1, dtype=torch.long, device=device)
        self.start = _Beams(
            node=root,
            token=root + model.config.decoder_start_token_id,
            score=torch.zeros_like(root, dtype=torch.float32),
            places=root.new_empty(queries, 1, 0),
            found=_Found(*nothing, length_penalty),
            left=root.new_tensor(-1),
        )

    def search(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The docids, int64 [queries, num_beams], and scores, float32, that `constrained_beam_search` describes."""
        self.decoder.load(input_ids, attention_mask)
        if hasattr(self.decoder.model.get_encoder(), "block"):
            self.steps.run("encode", self.decoder.encode)
        else:  # a frozen encoder, which reads files
            self.decoder.encode()
        beams, left = self.start, -1
        for level, width in enumerate(self.widest):
            step = partial(_step, self.decoder, self.trie, self.tree, beams, level, width, self.num_beams)
            beams = self.steps.run(level, step)
            left = beams.left.item()
            if left >= 0:
                break
        if left:
            left = min(padded_length(left, LEFT), self.trie.depth - level - 1)
            complete = partial(_complete, self.decoder, self.tree, beams, level + 1, left)
            found = self.steps.run(("complete", level, left), complete)
        else:
            found = beams.found
        return torch.where(found.score > -torch.inf, found.row, NONE), found.score.clone()


@dataclass
class LastSearch:
    """The search of the last shape, for whoever searches for many batches: batches of one shape share it.

    Its weights may change in place.
    """

    _key: tuple = ()
    _search: FixedSearch | None = field(default=None, repr=False)

    def of_shape(
        self, model: PreTrainedModel, trie: DocidTrie, num_beams: int, length_penalty: float, shape: tuple[int, int]
    ) -> FixedSearch:
        """The search for batches of ``shape``: queries, tokens of the longest."""
        shape = shape[0], padded_length(shape[1], QUERY_TOKENS)
        key = id(model), model.dtype, id(trie), num_beams, length_penalty, shape
        if key != self._key:
            self._key, self._search = (), None  # gives its memory back first
            steps = StepGraphs() if model.device.type == "cuda" else PlainSteps()
            self._search, self._key = FixedSearch(model, trie, num_beams, length_penalty, shape, steps), key
        return self._search


def candidates_per_query(trie: DocidTrie, num_beams: int) -> list[int]:
    """The candidates of each level that `FixedSearch` has for one query."""
    found, beams = [], 1
    for width in _widest(trie):
        found.append(beams * width)
        beams = min(num_beams, found[-1])
    return found


def rows_per_query(trie: DocidTrie, num_beams: int) -> list[int]:
    """The beams of one query on each level, and behind the last."""
    return [1, *(min(num_beams, candidates) for candidates in candidates_per_query(trie, num_beams))]


def _widest(trie: DocidTrie) -> list[int]:
    """The most children of a node of each level, at least 1; below these levels each node stands alone."""
    children = np.diff(trie.first_child)
    return [max(1, int(children[first:end].max())) for first, end in trie.levels]


def _step(
    decoder: FixedDecoder,
    trie: DocidTrie,
    tree: SimpleNamespace,
    beams: _Beams,
    level: int,
    width: int,
    num_beams: int,
) -> _Beams:
    """Extend all beams by one token: some docids end, the best others are the next beams.

    ``width`` is the most children of a node of this level.
    """
    queries, before = beams.node.shape
    own_place = decoder.first_place[level] + torch.arange(before, device=beams.node.device)
    places = torch.cat([beams.places, own_place[None, :, None].expand(queries, -1, -1)], 2)
    hidden = decoder.step(beams.token, places, level)
    alone = tree.end_row[beams.node] - tree.first_row[beams.node] == 1
    first = torch.where(alone, beams.node, tree.first_child[beams.node])
    count = torch.where(alone, 1, tree.first_child[beams.node + 1] - first)
    offset = torch.arange(width, device=first.device)
    there = offset < count[..., None]
    node = torch.where(there, first[..., None] + offset, 0).flatten(1)  # [queries, beams * width], in trie order
    row = tree.first_row[node].long()
    place = (tree.first_token[row] + level).clamp(max=len(tree.tokens) - 1)  # a dead beam's may lie beyond
    token = tree.tokens[place].long()
    log_probability = decoder.log_probabilities(hidden, token.view(-1, width)).view(queries, before, width)
    score = (beams.score[..., None] + log_probability).masked_fill(~there, -torch.inf).flatten(1)

    keep, found = best_of_rows(score, num_beams), beams.found
    if level + 1 >= trie.shortest:
        ended = place + 1 == tree.first_token[row + 1]
        at, live = _side_by_side(keep & ended, min(num_beams, score.shape[1]))
        found = found.with_docids(row.gather(1, at), score.gather(1, at).masked_fill(~live, -torch.inf), level + 1)
        score = score.masked_fill(ended, -torch.inf)
        keep = best_of_rows(score, num_beams)
    keep = found.may_count(score, keep, level + 1, trie.depth)
    at, live = _side_by_side(keep, min(num_beams, score.shape[1]))
    next_node = node.gather(1, at)
    return _Beams(
        node=next_node,
        token=token.gather(1, at),
        score=score.gather(1, at).masked_fill(~live, -torch.inf),
        places=places.gather(1, (at // width)[..., None].expand(-1, -1, level + 1)),
        found=found,
        left=_tokens_left(tree, next_node, live, level + 1),
    )


def _tokens_left(tree: SimpleNamespace, node: torch.Tensor, live: torch.Tensor, level: int) -> torch.Tensor:
    """What `_Beams` calls left, of beams with ``level`` tokens."""
    row = tree.first_row[node].long()
    left = (tree.first_token[row + 1] - tree.first_token[row] - level).masked_fill(~live, 0).max()
    return torch.where((live & (tree.end_row[node] - row > 1)).any(), -1, left)


def _side_by_side(keep: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns that ``keep``, bool [rows, columns], has in each row, in their order: int64 [rows, count].

    No row has more than ``count``. Where there are fewer, column 0 stands for the rest, and the second result is false.
    """
    slot = torch.where(keep, keep.cumsum(1) - 1, count)
    at = slot.new_zeros(len(keep), count + 1)
    at.scatter_(1, slot, torch.arange(keep.shape[1], device=keep.device).expand_as(slot))
    live = torch.arange(count, device=keep.device) < keep.sum(1, keepdim=True)
    return at[:, :count] * live, live


def _complete(decoder: FixedDecoder, tree: SimpleNamespace, beams: _Beams, level: int, left: int) -> _Found:
    """Score docids that stand alone to their ends: at most ``left`` tokens in one pass, some queries at a time."""
    queries, count = beams.node.shape
    row = tree.first_row[beams.node].long()
    length = tree.first_token[row + 1] - tree.first_token[row]
    offsets = torch.arange(level - 1, level - 1 + left, device=row.device)
    positions = (tree.first_token[row][..., None] + offsets).clamp(max=len(tree.tokens) - 2)
    size = decoder.queries_at_once(count, level, left)
    scores = []
    for first in range(0, queries, size):
        some = slice(first, first + size)
        hidden = decoder.finish(tree.tokens[positions[some]].long(), beams.places[some], some)
        targets = tree.tokens[positions[some] + 1].long().view(-1, 1)
        scores.append(decoder.log_probabilities(hidden, targets).view(-1, count, left))
    there = offsets + 1 < length[..., None]
    score, found = torch.cat(scores).masked_fill(~there, 0), beams.found
    if not found.length_penalty:
        return found.with_docids(row, beams.score + score.sum(2), length)
    total, live = beams.score, beams.score > -torch.inf
    for step, of_token in enumerate(score.unbind(2), level + 1):  # a query may be given up after any token
        total = total + of_token
        ended = live & (length == step)
        found = found.with_docids(row, total.masked_fill(~ended, -torch.inf), length)
        live = found.may_count(total, live & ~ended, step, length)
    return found
