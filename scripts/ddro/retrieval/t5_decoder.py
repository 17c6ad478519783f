"""The decoder of a T5 for many hypotheses of each query: what they share is computed and kept once a query."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import MT5ForConditionalGeneration, PreTrainedModel, T5ForConditionalGeneration

from ddro.core.command import UserError

LOGITS = 2**21  # that are there at once: they fit a processor's cache
COLUMNS = 1024  # of a product on a processor: MKL takes up to 1.4 times as long for many more at once
LOGITS_ON_GPU = 2**26
SMALLEST, LARGEST = 1e-30, 1e30  # sums of exponentials that float32 can tell from 0 and infinity

Past = list[tuple[torch.Tensor, torch.Tensor]]  # keys and values of each layer: [rows, tokens, heads * d_kv]


@dataclass(frozen=True)
class Rows:
    """Hypotheses of several queries in one batch, each with its next tokens.

    Attributes:
        query: int64 [rows]: the query of each row, ascending.
        tokens: int64 [rows, length]: the input tokens, padded on the right.
        parent: int64 [rows]: where each row's earlier tokens stand among the rows of the past; None if there is none.
        valid: bool [rows, length]: where there is a token; None if everywhere.
    """

    query: torch.Tensor
    tokens: torch.Tensor
    parent: torch.Tensor | None = None
    valid: torch.Tensor | None = None


class T5Decoder:
    """A T5's decoder and head on encoded queries. Numbers are those of the model's own forward, to rounding.

    The rows of a query attend to its keys and values as if they were the positions of one sequence, so these aren't
    copied for each row. Linear layers see no padding.
    """

    def __init__(self, model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        """Encode queries.

        Args:
            model: a T5 in evaluation mode.
            input_ids: int64 [queries, length], padded.
            attention_mask: int64 [queries, length], 1 for a token, 0 for padding.

        Raises:
            UserError: another kind of model, or a query of nothing but padding.
        """
        check_queries(model, attention_mask)
        mask = attention_mask.bool()
        self.model, self.blocks = model, model.decoder.block
        self.heads, self.d_kv = model.config.num_heads, model.config.d_kv
        encoded = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        self.mask = mask[:, None, None]
        self._buffers: dict[str, torch.Tensor] = {}
        self.encoded = []
        for block in self.blocks:
            attention = block.layer[1].EncDecAttention
            self.encoded.append((self._heads(attention.k(encoded)), self._heads(attention.v(encoded))))

    @property
    def queries(self) -> int:
        """The number of encoded queries."""
        return len(self.mask)

    def advance(self, rows: Rows, past: Past, *, keep: bool = True) -> tuple[torch.Tensor, Past]:
        """Decode the tokens of ``rows`` after those of ``past``, which is empty at first.

        Returns:
            the last hidden states of all tokens that aren't padding, float [tokens, d_model], row by row, and the
            keys and values of these rows, padding included, or nothing where ``keep`` is false.
        """
        length = rows.tokens.shape[1]
        seen = past[0][0].shape[1] if past else 0
        places = None if rows.valid is None else rows.valid.flatten().nonzero()[:, 0]
        in_query = _InQuery.of(rows.query, length, places, self.queries)
        bias = self._position_bias(seen, length)
        hidden = self.model.shared(rows.tokens.flatten() if places is None else rows.tokens.flatten()[places])

        now = []
        for index, block in enumerate(self.blocks):
            to_self, to_query, feed_forward = block.layer
            normed, attention = to_self.layer_norm(hidden), to_self.SelfAttention
            query, key, value = (
                _spread(linear(normed), places, rows.tokens.numel()).view(*rows.tokens.shape, -1)
                for linear in (attention.q, attention.k, attention.v)
            )
            if past:
                key, value = (
                    self._after(earlier, rows.parent, later, None if keep else name)
                    for name, earlier, later in zip(("keys", "values"), past[index], (key, value), strict=True)
                )
            if keep:
                now.append((key, value))
            attended = self._attend(query, self._heads(key), self._heads(value), bias)
            hidden.addmm_(_gather(attended.flatten(0, 1), places), attention.o.weight.T)

            attention = to_query.EncDecAttention
            query = in_query.spread(attention.q(to_query.layer_norm(hidden)))
            key, value, mask = (in_query.of_queries(tensor) for tensor in (*self.encoded[index], self.mask))
            hidden.addmm_(in_query.gather(self._attend(query, key, value, mask)), attention.o.weight.T)

            hidden = self._feed(feed_forward, hidden)
        return self.model.decoder.final_layer_norm(hidden), now

    def log_probabilities(self, hidden: torch.Tensor, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of ``tokens`` [pairs] after ``hidden[rows]``, normalised over the whole vocabulary.

        The vocabulary is scored in parts, each small enough that what is computed of it is read from the cache.

        Args:
            hidden: float [positions, d_model] of `advance`.
            rows: int64 [pairs].
            tokens: int64 [pairs].

        Returns:
            float32 [pairs].
        """
        hidden, weight = scaled_for_head(self.model, hidden), self.model.lm_head.weight
        size = LOGITS_ON_GPU // len(hidden) + 1 if hidden.is_cuda else min(COLUMNS, LOGITS // len(hidden) + 1)
        order = tokens.argsort()
        starts = torch.arange(0, len(weight), size, device=hidden.device)
        bounds = [*torch.searchsorted(tokens[order], starts).tolist(), len(tokens)]
        wanted = torch.empty(len(tokens), device=hidden.device)
        total = torch.zeros(len(hidden), device=hidden.device)
        for index, part in enumerate(weight.split(size)):
            logits = self._logits(hidden, part)
            pairs = order[bounds[index] : bounds[index + 1]]
            wanted[pairs] = logits[rows[pairs], tokens[pairs] - index * size]
            total += logits.exp_().sum(-1)  # as a rule nothing is too large; to look for the maximum first takes longer
        if bool(((total > SMALLEST) & (total < LARGEST)).all()):
            normaliser = total.log()
        else:
            parts = [self._logits(hidden, part).logsumexp(-1) for part in weight.split(size)]
            normaliser = torch.stack(parts).logsumexp(0)
        return wanted - normaliser[rows]

    def _logits(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """float32 [positions, words], in a kept buffer."""
        return torch.mm(hidden, weight.T, out=self._buffer("logits", (len(hidden), len(weight)))).float()

    def _after(
        self, earlier: torch.Tensor, parent: torch.Tensor, later: torch.Tensor, kept: str | None
    ) -> torch.Tensor:
        """``earlier[parent]`` and ``later`` as one, [rows, tokens, heads * d_kv]; in a kept buffer if it has a name."""
        seen, length = earlier.shape[1], later.shape[1]
        shape = (len(later), seen + length, later.shape[2])
        both = later.new_empty(shape) if kept is None else self._buffer(kept, shape)
        torch.index_select(earlier, 0, parent, out=both[:, :seen])
        both[:, seen:] = later
        return both

    def _feed(self, layer: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
        """The feed-forward layer on ``hidden`` [positions, d_model], in place where it is T5's first kind."""
        dense = layer.DenseReluDense
        if not feeds_simply(layer, hidden):
            return layer(hidden)
        normed = layer.layer_norm(hidden)
        for wi, wo in zip(dense.wi.weight.split(COLUMNS), dense.wo.weight.split(COLUMNS, 1), strict=True):
            inner = torch.mm(normed, wi.T, out=self._buffer("inner", (len(hidden), len(wi))))
            hidden.addmm_(inner.relu_(), wo.T)
        return hidden

    def _buffer(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        """Memory that is used again: a processor takes as long to get fresh memory as to compute what goes there."""
        size = prod(shape)
        if name not in self._buffers or self._buffers[name].numel() < size:
            self._buffers[name] = self.encoded[0][0].new_empty(size)
        return self._buffers[name][:size].view(shape)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of [a, b, heads * d_kv] to keys and values [a, heads, c, d_kv]; the same shape."""
        attended = scaled_dot_product_attention(self._heads(query), key, value, attn_mask=mask, scale=1.0)
        return attended.transpose(1, 2).flatten(2)

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """[a, b, heads * d_kv] -> [a, heads, b, d_kv]."""
        return states.view(*states.shape[:2], self.heads, self.d_kv).transpose(1, 2)

    def _position_bias(self, seen: int, length: int) -> torch.Tensor:
        """T5's relative position bias, -inf for what comes later: [1, heads, length, seen + length]."""
        device = self.mask.device
        bias = self.blocks[0].layer[0].SelfAttention.compute_bias(length, seen + length, device, past_seen_tokens=seen)
        later = torch.ones(length, seen + length, dtype=torch.bool, device=device).triu(seen + 1)
        return bias.masked_fill(later, -torch.inf)


def check_queries(model: PreTrainedModel, attention_mask: torch.Tensor) -> None:
    """Refuse, by a `UserError`, what isn't a T5, and a query of nothing but padding (int64 [queries, length])."""
    if not isinstance(model, (T5ForConditionalGeneration, MT5ForConditionalGeneration)):
        raise UserError(f"docids are decoded with T5 models, not with {type(model).__name__}.")
    there = attention_mask.bool().any(1)
    if not bool(there.all()):
        raise UserError(f"query {int(there.int().argmin())} of the batch has no token.")


def scaled_for_head(model: PreTrainedModel, hidden: torch.Tensor) -> torch.Tensor:
    """The hidden states as the model's output head takes them."""
    return hidden * model.config.d_model**-0.5 if getattr(model.config, "scale_decoder_outputs", False) else hidden


def feeds_simply(layer: torch.nn.Module, hidden: torch.Tensor) -> bool:
    """Whether a feed-forward layer is T5's first kind: two products with ReLU between, in ``hidden``'s precision."""
    dense = layer.DenseReluDense
    return hasattr(dense, "wi") and isinstance(dense.act, torch.nn.ReLU) and dense.wo.weight.dtype == hidden.dtype


@dataclass(frozen=True)
class _InQuery:
    """Where the positions of rows stand if those of one query are laid out as one sequence.

    Attributes:
        present: int64 [present]: the queries that have rows; None if all have.
        shape: (queries with rows, positions of the longest sequence).
        places: int64 [positions]: the place of each position in the flattened shape; None if it is full and in order.
    """

    present: torch.Tensor | None
    shape: tuple[int, int]
    places: torch.Tensor | None

    @classmethod
    def of(cls, query: torch.Tensor, length: int, places: torch.Tensor | None, queries: int) -> _InQuery:
        present, local, counts = torch.unique_consecutive(query, return_inverse=True, return_counts=True)
        most = int(counts.max())
        if places is not None or most * len(present) != len(query):
            slot = torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[local]
            row = (local * most + slot) * length
            position = torch.arange(len(query) * length, device=query.device) if places is None else places
            places = row[position // length] + position % length
        return cls(None if len(present) == queries else present, (len(present), most * length), places)

    def spread(self, states: torch.Tensor) -> torch.Tensor:
        """[positions, width] -> [queries with rows, positions of the longest, width]."""
        return _spread(states, self.places, self.shape[0] * self.shape[1]).view(*self.shape, -1)

    def gather(self, states: torch.Tensor) -> torch.Tensor:
        """The way back."""
        return _gather(states.flatten(0, 1), self.places)

    def of_queries(self, tensor: torch.Tensor) -> torch.Tensor:
        """The part of a tensor [queries, ...] that belongs to queries with rows."""
        return tensor if self.present is None else tensor[self.present]


def _spread(states: torch.Tensor, places: torch.Tensor | None, size: int) -> torch.Tensor:
    """[positions, width] -> [size, width], zero where there is no position."""
    return states if places is None else states.new_zeros(size, states.shape[1]).index_copy_(0, places, states)


def _gather(states: torch.Tensor, places: torch.Tensor | None) -> torch.Tensor:
    return states if places is None else states[places]
