"""A T5's decoder for a GPU: as many rows of each query as a level of the trie asks for, at fixed places of memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional
from transformers import PreTrainedModel

from ddro.models.t5 import padded_length
from ddro.retrieval.t5_decoder import check_queries, feeds_simply, scaled_for_head

ROWS = 128  # a product takes as long for one row as for so many
SHARE = 16  # what is computed at once takes one byte of so many that a GPU has left
ROOM = 2**29  # bytes of it on a processor
ALIGNED = 16  # a row of an attention mask begins at a multiple of it, or attention copies the mask
QUERY_TOKENS = 64  # queries are as long as a multiple of it, so that few shapes come


class FixedDecoder:
    """A T5's decoder for as many rows of each query as there are, each with as many tokens.

    Query, key and value are one product. The keys and values of all tokens lie where they were computed: a step attends
    to those of all rows of its query, and a mask leaves those that come before it, so that nothing is copied. Another
    batch takes the same memory (`load`), as CUDA graphs want it. Numbers are those of the model's own forward, to
    rounding.

    Attributes:
        kept: float [layers, 2, queries, places, heads * d_kv]: keys and values of the tokens decoded so far.
        first_place: the first place of each level in ``kept``.
        room: bytes that what is computed at once may take.
    """

    def __init__(self, model: PreTrainedModel, queries: int, query_tokens: int, rows: Sequence[int], longest: int):
        """Take the memory.

        Args:
            model: a T5 in evaluation mode.
            queries: of each batch.
            query_tokens: most tokens of a query.
            rows: the rows of each query on each level.
            longest: tokens of the longest docid.
        """
        self.model, self.queries, self.longest = model, queries, longest
        self.heads, self.d_kv = model.config.num_heads, model.config.d_kv
        inner, blocks, device = self.heads * self.d_kv, model.decoder.block, model.device
        padded = padded_length(query_tokens, QUERY_TOKENS)
        zeros, like = model.shared.weight.new_zeros, model.shared.weight.new_empty
        self.first_place = [sum(rows[:level]) for level in range(len(rows))]
        levels = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(rows))
        self.level = functional.pad(levels, (0, -len(levels) % ALIGNED)).to(device)
        self.kept = zeros(len(blocks), 2, queries, len(self.level), inner)  # numbers also where a mask hides them
        self.to_qkv = like(len(blocks), 3 * inner, model.config.d_model)
        self.bias = zeros(1, self.heads, longest, padded_length(longest, ALIGNED))[..., :longest]
        self.encoded = like(len(blocks), 2, queries, self.heads, padded, self.d_kv)
        self.mask = like(queries, 1, 1, padded)
        self.input_ids = torch.zeros(queries, padded, dtype=torch.long, device=device)
        self.attention_mask = torch.zeros_like(self.input_ids)
        self.room = room_on(device)

    def load(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
        """Take a batch of queries.

        Args:
            input_ids: int64 [queries, length], padded.
            attention_mask: int64 [queries, length], 1 for a token, 0 for padding.

        Raises:
            UserError: another kind of model, or a query of nothing but padding.
        """
        check_queries(self.model, attention_mask)
        length = input_ids.shape[1]
        self.input_ids.zero_()[:, :length] = input_ids
        self.attention_mask.zero_()[:, :length] = attention_mask

    def encode(self) -> None:
        """Encode the batch, with the model's weights as they are now."""
        masks = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        encoded = self.model.get_encoder()(**masks).last_hidden_state
        self.mask.zero_().masked_fill_(~self.attention_mask.bool()[:, None, None], -torch.inf)
        for index, block in enumerate(self.model.decoder.block):
            to_self, to_query = block.layer[0].SelfAttention, block.layer[1].EncDecAttention
            self.encoded[index, 0] = self._heads(to_query.k(encoded))
            self.encoded[index, 1] = self._heads(to_query.v(encoded))
            torch.cat([to_self.q.weight, to_self.k.weight, to_self.v.weight], out=self.to_qkv[index])
        of_self = self.model.decoder.block[0].layer[0].SelfAttention
        bias = of_self.compute_bias(self.longest, self.longest, self.bias.device)
        later = torch.ones(self.longest, self.longest, dtype=torch.bool, device=bias.device).triu(1)
        self.bias.copy_(bias.masked_fill(later, -torch.inf))

    def step(self, tokens: torch.Tensor, places: torch.Tensor, level: int) -> torch.Tensor:
        """Decode one token of each row, and keep it.

        Args:
            tokens: int64 [queries, rows].
            places: int64 [queries, rows, level + 1]: where the row's tokens are kept, this one as the last.
            level: how many tokens come before.

        Returns:
            hidden states, float [queries * rows, d_model].
        """
        queries, rows = tokens.shape
        own = slice(self.first_place[level], self.first_place[level] + rows)
        seen = padded_length(own.stop, ALIGNED)
        before = torch.zeros(queries, rows, seen, dtype=torch.bool, device=tokens.device).scatter_(2, places, True)
        bias = self.bias[0, :, level].index_select(1, self.level[:seen])[:, None]
        mask = torch.where(before[:, None], bias, -torch.inf)

        def attend(index: int, qkv: torch.Tensor) -> torch.Tensor:
            qkv = qkv.view(queries, rows, 3, -1)
            self.kept[index, :, :, own] = qkv[:, :, 1:].permute(2, 0, 1, 3)
            key, value = (self._heads(states) for states in self.kept[index, :, :, :seen])
            return self._attend(qkv[:, :, 0], key, value, mask)

        return self._decode(tokens.flatten(), attend, slice(None))

    def queries_at_once(self, rows: int, seen: int, length: int) -> int:
        """How many queries `finish` should take, with so many rows each that have ``length`` tokens behind ``seen``."""
        config, inner = self.model.config, self.heads * self.d_kv
        numbers = length * (8 * config.d_model + config.d_ff + 5 * inner) + 4 * (seen + length) * inner
        return items_at_once(self.room, rows * numbers * self.kept.itemsize, rows * length)

    def finish(self, tokens: torch.Tensor, places: torch.Tensor, queries: slice) -> torch.Tensor:
        """Decode the last tokens of some queries' rows, after which nothing follows.

        Args:
            tokens: int64 [queries, rows, length].
            places: int64 [queries, rows, seen]: where the tokens before are kept.
            queries: those that the rows belong to.

        Returns:
            hidden states, float [queries * rows * length, d_model].
        """
        _, rows, length = tokens.shape
        seen, of_query = places.shape[2], torch.arange(self.queries, device=places.device)[queries, None, None]
        bias = self.bias[:, :, seen : seen + length, : seen + length]
        flat = (places + of_query * self.kept.shape[3]).flatten()

        def attend(index: int, qkv: torch.Tensor) -> torch.Tensor:
            qkv = qkv.view(-1, length, 3, self.kept.shape[4])
            before = self.kept[index].flatten(1, 2).index_select(1, flat).view(2, len(qkv), seen, -1)
            keys_values = torch.cat([before, qkv[:, :, 1:].permute(2, 0, 1, 3)], 2)
            key, value = (self._heads(states) for states in keys_values)
            return self._attend(qkv[:, :, 0], key, value, bias)

        return self._decode(tokens.flatten(), attend, queries)

    def _decode(
        self, tokens: torch.Tensor, attend: Callable[[int, torch.Tensor], torch.Tensor], queries: slice
    ) -> torch.Tensor:
        """The last hidden states, [positions, d_model], of tokens [positions], the same number for each of ``queries``.

        ``attend`` makes a layer's self-attention, [positions, heads * d_kv], of its index and its queries, keys and
        values, [positions, 3 heads * d_kv].
        """
        hidden, mask = self.model.shared(tokens), self.mask[queries]
        for index, block in enumerate(self.model.decoder.block):
            to_self, to_query, feed_forward = block.layer
            qkv = functional.linear(_norm(to_self.layer_norm, hidden), self.to_qkv[index])
            hidden = torch.addmm(hidden, attend(index, qkv), to_self.SelfAttention.o.weight.T)

            attention = to_query.EncDecAttention
            query = functional.linear(_norm(to_query.layer_norm, hidden), attention.q.weight)
            key, value = self.encoded[index, :, queries]
            attended = self._attend(query.view(len(key), -1, query.shape[1]), key, value, mask)
            hidden = torch.addmm(hidden, attended, attention.o.weight.T)

            if feeds_simply(feed_forward, hidden):
                dense = feed_forward.DenseReluDense
                inside = functional.linear(_norm(feed_forward.layer_norm, hidden), dense.wi.weight).relu_()
                hidden = torch.addmm(hidden, inside, dense.wo.weight.T)
            else:
                hidden = feed_forward(hidden)
        return _norm(self.model.decoder.final_layer_norm, hidden)

    def log_probabilities(self, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Log-probabilities, float32 [positions, n], of ``tokens`` [positions, n] after ``hidden`` [positions, d]."""
        hidden, weight = scaled_for_head(self.model, hidden), self.model.lm_head.weight
        size = items_at_once(self.room, len(weight) * (weight.itemsize + 4))  # logits, and what float32 makes of them
        found = []
        for states, wanted in zip(hidden.split(size), tokens.split(size), strict=True):
            logits = functional.linear(states, weight)
            found.append(logits.log_softmax(1, dtype=torch.float32).gather(1, wanted))
        return torch.cat(found)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attention of [a, b, heads * d_kv] to keys and values [a, heads, c, d_kv]: [a * b, heads * d_kv]."""
        attended = functional.scaled_dot_product_attention(self._heads(query), key, value, attn_mask=mask, scale=1.0)
        return attended.transpose(1, 2).reshape(-1, query.shape[2])

    def _heads(self, states: torch.Tensor) -> torch.Tensor:
        """[a, b, heads * d_kv] -> [a, heads, b, d_kv]."""
        return states.view(*states.shape[:2], self.heads, self.d_kv).transpose(1, 2)


def room_on(device: torch.device) -> int:
    """The bytes that what is computed at once may take on a device, by the memory that it has left now."""
    if device.type != "cuda":
        return ROOM
    in_reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (torch.cuda.mem_get_info(device)[0] + in_reserve) // SHARE


def items_at_once(room: int, bytes_of_item: int, rows_of_item: int = 1) -> int:
    """How many items fit into ``room`` bytes, at least 1: where so many fit, they have a multiple of `ROWS` rows."""
    fit = max(1, room // bytes_of_item)
    unit = ROWS // math.gcd(ROWS, rows_of_item)
    return fit // unit * unit or fit


def _norm(layer: torch.nn.Module, hidden: torch.Tensor) -> torch.Tensor:
    return functional.rms_norm(hidden, hidden.shape[-1:], layer.weight, layer.variance_epsilon)
