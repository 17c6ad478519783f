"""The same beam search for a GPU: the shapes of each level are known from the trie, so the host doesn't wait for them.

A query has a fixed number of beams on each level, some of which may be dead (their score is -inf). Each beam has as
many candidates as the level's widest node has children. The host reads one number a level: whether all stand alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from ddro.docids.trie import DocidTrie
from ddro.retrieval.found_docids import NONE, best_of_rows
from ddro.retrieval.t5_decoder import LOGITS_ON_GPU, check_queries, feeds_simply, scaled_for_head

POSITIONS = 2**15  # that are decoded at once
ROWS = 128  # a product takes as long for one row as for so many


class FixedDecoder:
    """A T5's decoder for as many rows of each query as there are, each with as many tokens.

    Query, key and value are one product, and the keys and values of all layers one tensor, so that a step takes few
    operations. Numbers are those of the model's own forward, to rounding.
    """

    def __init__(self, model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor, longest: int):
        """Encode queries.

        Args:
            model: a T5 in evaluation mode.
            input_ids: int64 [queries, length], padded.
            attention_mask: int64 [queries, length], 1 for a token, 0 for padding.
            longest: tokens of the longest docid.

        Raises:
            UserError: another kind of model, or a query of nothing but padding.
        """
        check_queries(model, attention_mask)
        self.model, self.queries = model, len(input_ids)
        self.heads, self.d_kv = model.config.num_heads, model.config.d_kv
        self.mask = attention_mask.bool()[:, None, None]
        encoded = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        self.encoded, self.to_qkv = [], []
        for block in model.decoder.block:
            to_self, to_query = block.layer[0].SelfAttention, block.layer[1].EncDecAttention
            self.encoded.append((self._heads(to_query.k(encoded)), self._heads(to_query.v(encoded))))
            self.to_qkv.append(torch.cat([to_self.q.weight, to_self.k.weight, to_self.v.weight]))
        bias = model.decoder.block[0].layer[0].SelfAttention.compute_bias(longest, longest, input_ids.device)
        later = torch.ones(longest, longest, dtype=torch.bool, device=input_ids.device).triu(1)
        self.bias = bias.masked_fill(later, -torch.inf).to(encoded.dtype)

    def advance(self, tokens: torch.Tensor, parent: torch.Tensor, past: torch.Tensor, encoded: slice = slice(None)):
        """Decode ``tokens`` after the rows ``parent`` of the past.

        Args:
            tokens: int64 [rows, length]: the same number of rows for each query.
            parent: int64 [rows]: where the earlier tokens of each row stand in the past.
            past: float [layers, 2, rows before, seen, heads * d_kv]: keys and values.
            encoded: the queries that the rows belong to.

        Returns:
            hidden states, float [rows * length, d_model], and the past with these tokens.
        """
        rows, length = tokens.shape
        layers, _, _, seen, inner = past.shape
        now = past.new_empty(layers, 2, rows, seen + length, inner)
        now[:, :, :, :seen] = past.index_select(2, parent)
        bias = self.bias[:, :, seen : seen + length, : seen + length]
        mask = self.mask[encoded]
        hidden = self.model.shared(tokens.flatten())
        for index, block in enumerate(self.model.decoder.block):
            to_self, to_query, feed_forward = block.layer
            qkv = functional.linear(_norm(to_self.layer_norm, hidden), self.to_qkv[index])
            qkv = qkv.view(rows, length, 3, inner)
            now[index, :, :, seen:] = qkv[:, :, 1:].permute(2, 0, 1, 3)
            key, value = (self._heads(states) for states in now[index])
            attended = self._attend(qkv[:, :, 0], key, value, bias)
            hidden = torch.addmm(hidden, attended, to_self.SelfAttention.o.weight.T)

            attention = to_query.EncDecAttention
            query = functional.linear(_norm(to_query.layer_norm, hidden), attention.q.weight)
            key, value = (states[encoded] for states in self.encoded[index])
            attended = self._attend(query.view(len(key), -1, inner), key, value, mask)
            hidden = torch.addmm(hidden, attended, attention.o.weight.T)

            if feeds_simply(feed_forward, hidden):
                dense = feed_forward.DenseReluDense
                inside = functional.linear(_norm(feed_forward.layer_norm, hidden), dense.wi.weight).relu_()
                hidden = torch.addmm(hidden, inside, dense.wo.weight.T)
            else:
                hidden = feed_forward(hidden)
        return _norm(self.model.decoder.final_layer_norm, hidden), now

    def log_probabilities(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities, float32 [positions, n], of ``tokens`` [positions, n] after ``hidden`` [positions, d]."""
        hidden, weight = scaled_for_head(self.model, hidden), self.model.lm_head.weight
        size = max(ROWS, LOGITS_ON_GPU // len(weight) // ROWS * ROWS)
        found = []
        for states, wanted in zip(hidden.split(size), tokens.split(size), strict=True):
            logits = functional.linear(states, weight).float()
            found.append(logits.gather(1, wanted) - logits.logsumexp(1, keepdim=True))
        return torch.cat(found)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of [a, b, heads * d_kv] to keys and values [a, heads, c, d_kv]: [a * b, heads * d_kv]."""
        attended = functional.scaled_dot_product_attention(self._heads(query), key, value, attn_mask=mask, scale=1.0)
        return attended.transpose(1, 2).reshape(-1, query.shape[2])

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """[a, b, heads * d_kv] -> [a, heads, b, d_kv]."""
        return states.view(*states.shape[:2], self.heads, self.d_kv).transpose(1, 2)


def _norm(layer: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(hidden, hidden.shape[-1:], layer.weight, layer.variance_epsilon)


@dataclass(frozen=True)
class _Beams:
    """Beams of all queries, those of a query in the order of the docids, the dead ones behind.

    Attributes:
        node: int64 [queries, beams]: the node of the trie.
        token: int64 [queries, beams]: the last token, which isn't decoded yet.
        score: float32 [queries, beams]: -inf for a dead beam.
        past: keys and values of the tokens before, as `FixedDecoder.advance` has them.
        parent: int64 [queries, beams]: the row of each beam in the past.
    """

    node: torch.Tensor
    token: torch.Tensor
    score: torch.Tensor
    past: torch.Tensor
    parent: torch.Tensor


@dataclass
class _Found:
    """The best docids that have ended, best first: rows of the trie, and scores, both [queries, wanted]."""

    row: torch.Tensor
    score: torch.Tensor
    length_penalty: float

    def add(self, row: torch.Tensor, total: torch.Tensor, length: torch.Tensor | int) -> None:
        """Add docids [queries, n] with the sums of their log-probabilities, -inf for none."""
        row = torch.cat([self.row, row], 1)
        score = torch.cat([self.score, self.divided(total, length)], 1)
        by_row = row.argsort(stable=True)  # of equal scores the docid that is first in the trie comes first
        order = by_row.gather(1, score.gather(1, by_row).argsort(stable=True, descending=True))
        order = order[:, : self.row.shape[1]]
        self.row, self.score = row.gather(1, order), score.gather(1, order)

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


def search_in_fixed_shapes(
    decoder: FixedDecoder, trie: DocidTrie, num_beams: int, length_penalty: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The docids, int64 [queries, num_beams], and scores, float32, that `constrained_beam_search` describes."""
    device, queries = decoder.mask.device, decoder.queries
    tree, widest = trie.on(device), _widest(trie)
    shape = (queries, num_beams)
    nothing = torch.full(shape, NONE, device=device), torch.full(shape, -torch.inf, device=device)
    found = _Found(*nothing, length_penalty)
    root = torch.zeros(queries, 1, dtype=torch.long, device=device)
    past = decoder.bias.new_empty(len(decoder.encoded), 2, queries, 0, decoder.heads * decoder.d_kv)
    start = root + decoder.model.config.decoder_start_token_id
    beams = _Beams(root, start, torch.zeros_like(root, dtype=torch.float32), past, torch.arange(queries, device=device))
    for level in range(trie.depth):
        if level:
            left = _tokens_left(tree, beams, level).item()
            if left >= 0:
                if left:
                    _complete(decoder, tree, beams, level, left, found)
                break
        width = widest[level] if level < len(widest) else 1
        beams = _step(decoder, trie, tree, beams, level, width, num_beams, found)
    return torch.where(found.score > -torch.inf, found.row, NONE), found.score


def candidates_per_query(trie: DocidTrie, num_beams: int) -> list[int]:
    """The candidates of each level: those of `search_in_fixed_shapes` for one query."""
    found, beams = [], 1
    for width in _widest(trie):
        found.append(beams * width)
        beams = min(num_beams, found[-1])
    return found


def _widest(trie: DocidTrie) -> list[int]:
    """The most children of a node of each level, at least 1; below these levels each node stands alone."""
    children = np.diff(trie.first_child)
    return [max(1, int(children[first:end].max())) for first, end in trie.levels]


def _tokens_left(tree: SimpleNamespace, beams: _Beams, level: int) -> torch.Tensor:
    """The most tokens that a docid of the beams still has, 0 if no beam lives, -1 while a node has several docids."""
    row = tree.first_row[beams.node].long()
    live = beams.score > -torch.inf
    left = (tree.first_token[row + 1] - tree.first_token[row] - level).masked_fill(~live, 0).max()
    return torch.where((live & (tree.end_row[beams.node] - row > 1)).any(), -1, left)


def _step(
    decoder: FixedDecoder,
    trie: DocidTrie,
    tree: SimpleNamespace,
    beams: _Beams,
    level: int,
    width: int,
    num_beams: int,
    found: _Found,
) -> _Beams:
    """Extend all beams by one token: docids that end go to ``found``, the best others are the next beams.

    ``width`` is the most children of a node of this level.
    """
    queries, before = beams.node.shape
    hidden, past = decoder.advance(beams.token.view(-1, 1), beams.parent.flatten(), beams.past)
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

    keep = best_of_rows(score, num_beams)
    if level + 1 >= trie.shortest:
        ended = place + 1 == tree.first_token[row + 1]
        at, live = _side_by_side(keep & ended, min(num_beams, score.shape[1]))
        found.add(row.gather(1, at), score.gather(1, at).masked_fill(~live, -torch.inf), level + 1)
        score = score.masked_fill(ended, -torch.inf)
        keep = best_of_rows(score, num_beams)
    keep = found.may_count(score, keep, level + 1, trie.depth)
    at, live = _side_by_side(keep, min(num_beams, score.shape[1]))
    parent = at // width + torch.arange(queries, device=at.device)[:, None] * before
    next_score = score.gather(1, at).masked_fill(~live, -torch.inf)
    return _Beams(node.gather(1, at), token.gather(1, at), next_score, past, parent)


def _side_by_side(keep: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The columns that ``keep``, bool [rows, columns], has in each row, in their order: int64 [rows, count].

    No row has more than ``count``. Where there are fewer, column 0 stands for the rest, and the second result is false.
    """
    slot = torch.where(keep, keep.cumsum(1) - 1, count)
    at = slot.new_zeros(len(keep), count + 1)
    at.scatter_(1, slot, torch.arange(keep.shape[1], device=keep.device).expand_as(slot))
    live = torch.arange(count, device=keep.device) < keep.sum(1, keepdim=True)
    return at[:, :count] * live, live


def _complete(
    decoder: FixedDecoder, tree: SimpleNamespace, beams: _Beams, level: int, left: int, found: _Found
) -> None:
    """Score docids that stand alone to their ends: at most ``left`` tokens in one pass, some queries at a time."""
    queries, count = beams.node.shape
    row = tree.first_row[beams.node].long()
    length = tree.first_token[row + 1] - tree.first_token[row]
    offsets = torch.arange(level - 1, level - 1 + left, device=row.device)
    places = (tree.first_token[row][..., None] + offsets).clamp(max=len(tree.tokens) - 2)
    size = max(1, POSITIONS // (count * left))
    scores = []
    for first in range(0, queries, size):
        some = slice(first, first + size)
        tokens = tree.tokens[places[some]].long().flatten(0, 1)
        hidden, _ = decoder.advance(tokens, beams.parent[some].flatten(), beams.past, some)
        targets = tree.tokens[places[some] + 1].long().view(-1, 1)
        scores.append(decoder.log_probabilities(hidden, targets).view(-1, count, left))
    there = offsets + 1 < length[..., None]
    score = torch.cat(scores).masked_fill(~there, 0)
    if not found.length_penalty:
        found.add(row, beams.score + score.sum(2), length)
        return
    total, live = beams.score, beams.score > -torch.inf
    for step, of_token in enumerate(score.unbind(2), level + 1):  # a query may be given up after any token
        total = total + of_token
        ended = live & (length == step)
        found.add(row, total.masked_fill(~ended, -torch.inf), length)
        live = found.may_count(total, live & ~ended, step, length)
