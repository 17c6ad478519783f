"""Exact beam search that can only generate docids of the collection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch
from transformers import PreTrainedModel

from ddro.core.command import UserError
from ddro.docids.trie import DocidTrie
from ddro.models.t5 import pad, padded_length
from ddro.retrieval.completion import OpenDocids, score_to_the_end
from ddro.retrieval.fixed_decoder import QUERY_TOKENS
from ddro.retrieval.fixed_search import LastSearch, candidates_per_query, rows_per_query
from ddro.retrieval.found_docids import NONE, FoundDocids, best_of_rows
from ddro.retrieval.t5_decoder import Past, Rows, T5Decoder

MOST_QUERIES = 64  # of a batch: products of more rows aren't faster
ROUNDING = 1e-3  # by which the score of one docid may differ between two batches


@torch.inference_mode()
def constrained_beam_search(
    model: PreTrainedModel,
    trie: DocidTrie,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    num_beams: int,
    *,
    length_penalty: float = 0,
    top_k: int | None = None,
    fixed_shapes: bool | None = None,
    last: LastSearch | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best docids of each query, as `transformers.generate` finds them with a prefix function, in less work.

    A docid's score is the sum of its tokens' log-probabilities, each normalised over the whole vocabulary, divided by
    length^length_penalty, where its end token counts but not the decoder's first. A docid that ends is kept if its sum
    is among the ``num_beams`` best candidates of its step; the ``num_beams`` best others live on. Equal scores: the
    docid that is first in the trie comes first, also where the beam ends.

    Less work: the encoder's keys and values are computed once a query; the first step has one beam; a step looks at the
    children of each beam's node alone; once each beam's node has a single docid below it, nothing can be cut off any
    more, and the rest of these docids is scored in one pass. Scores only fall, so a beam that is below the last docid
    that counts is dropped.

    With ``top_k`` only the first so many of the result are returned, and sooner: a search with ``top_k`` beams finds a
    score that the wide search must reach. All candidates above a score have their prefixes above it, so a search
    that drops what is below finds just the part of the full result that is above, whatever the score was. Should that
    be fewer than ``top_k``, the query is searched again in full. With a length penalty and docids of several lengths
    the search is always a full one: when it gives up depends on all ``num_beams`` docids (`FoundDocids.may_count`).

    A GPU works while the host prepares what comes next, unless the host has to wait for a shape. So there the shapes of
    each level are known beforehand (`fixed_search`), at the price of rows for beams that are dead.

    Args:
        model: a T5 in evaluation mode.
        trie: the docids.
        input_ids: int64 [queries, length], padded.
        attention_mask: int64 [queries, length], 1 for a token, 0 for padding.
        num_beams: beams a query, at least 1.
        length_penalty: `generate`'s, with its `early_stopping=False`: at least 0. It changes no order of docids of one
            length.
        top_k: docids a query that are wanted; None for ``num_beams``.
        fixed_shapes: which of the two searches; None for the one of the device.
        last: the same object for each of many batches with one model and one trie: then a GPU keeps the memory and the
            CUDA graphs of the batch before, if this one has its shape.

    Returns:
        docids: int64 [queries, top_k or num_beams], rows of the trie, best first, -1 where there are fewer.
        scores: float32 of that shape, -inf where there is no docid.

    Raises:
        UserError: docids beyond the model's vocabulary, no beams, a negative length penalty, a query of nothing but
            padding, or no T5.
    """
    largest = trie.largest_token
    if largest >= model.config.vocab_size:
        raise UserError(
            f"docid token {largest} is beyond the model's vocabulary ({model.config.vocab_size} tokens). "
            "The model was trained on other docids."
        )
    if num_beams < 1 or (top_k is not None and top_k < 1):
        raise UserError(f"{num_beams} beams, top_k {top_k}: both must be at least 1.")
    if length_penalty < 0:
        raise UserError(f"length_penalty {length_penalty}: must be at least 0.")
    one_length = trie.shortest == trie.depth
    of_search = 0 if one_length else length_penalty
    if input_ids.is_cuda if fixed_shapes is None else fixed_shapes:
        last = LastSearch() if last is None else last
        search = last.of_shape(model, trie, num_beams, of_search, tuple(input_ids.shape))
        docids, scores = search.search(input_ids, attention_mask)
        docids, scores = docids[:, :top_k], scores[:, :top_k]
    else:
        docids, scores = _best_docids(T5Decoder(model, input_ids, attention_mask), trie, num_beams, top_k, of_search)
    return docids, scores / trie.depth**length_penalty if length_penalty and one_length else scores


def _best_docids(
    decoder: T5Decoder, trie: DocidTrie, num_beams: int, top_k: int | None, length_penalty: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What `constrained_beam_search` returns."""
    no_floor = torch.full((decoder.queries,), -torch.inf, device=decoder.mask.device)
    if top_k is None or top_k >= num_beams or length_penalty:
        docids, scores = _search(decoder, trie, num_beams, FoundDocids(num_beams, no_floor, length_penalty))
        return docids[:, :top_k], scores[:, :top_k]

    _, narrow = _search(decoder, trie, top_k, FoundDocids(top_k, no_floor))
    docids, scores = _search(decoder, trie, num_beams, FoundDocids(top_k, narrow[:, -1] - ROUNDING))
    short = (docids[:, -1] == NONE) & (narrow[:, -1] > -torch.inf)
    if bool(short.any()):
        open_floor = torch.where(short, -torch.inf, torch.inf)
        again = _search(decoder, trie, num_beams, FoundDocids(top_k, open_floor))
        docids, scores = (
            torch.where(short[:, None], new, old) for new, old in zip(again, (docids, scores), strict=True)
        )
    return docids, scores


@dataclass(frozen=True)
class _Beams:
    """Live beams of all queries, ordered by query, then by docid.

    Attributes:
        query: int64 [beams].
        node: int64 [beams]: the node of the trie.
        token: int64 [beams]: the last token, which isn't decoded yet.
        score: float32 [beams].
        past: keys and values of the tokens before; nothing at first.
        parent: int64 [beams]: the row of each beam in the past.
    """

    query: torch.Tensor
    node: torch.Tensor
    token: torch.Tensor
    score: torch.Tensor
    past: Past
    parent: torch.Tensor


def _search(
    decoder: T5Decoder, trie: DocidTrie, num_beams: int, found: FoundDocids
) -> tuple[torch.Tensor, torch.Tensor]:
    """The docids that ``found``, which is empty at first, wants of a search with ``num_beams`` beams."""
    device = found.floor.device
    tree = trie.on(device)
    query = torch.arange(decoder.queries, device=device)[found.floor < torch.inf]
    root, start = torch.zeros_like(query), decoder.model.config.decoder_start_token_id
    beams = _Beams(query, root, root + start, torch.zeros_like(query, dtype=torch.float32), [], root)
    for level in range(trie.depth):
        row = tree.first_row[beams.node]
        if level and bool((tree.end_row[beams.node] - row == 1).all()):
            place = tree.first_token[row] + level - 1
            rest = OpenDocids(beams.query, row, place, beams.score, beams.past, beams.parent, level)
            score_to_the_end(decoder, tree, rest, found)
            break
        beams = _step(decoder, trie, tree, beams, level, num_beams, found)
    return found.ranked()


def _step(
    decoder: T5Decoder,
    trie: DocidTrie,
    tree: SimpleNamespace,
    beams: _Beams,
    level: int,
    num_beams: int,
    found: FoundDocids,
) -> _Beams:
    """Extend all beams by one token: docids that end go to ``found``, the best others are the next beams."""
    hidden, past = decoder.advance(Rows(beams.query, beams.token[:, None], beams.parent), beams.past)
    alone = tree.end_row[beams.node] - tree.first_row[beams.node] == 1
    first = torch.where(alone, beams.node, tree.first_child[beams.node])
    counts = torch.where(alone, 1, tree.first_child[beams.node + 1] - first)
    ends = counts.cumsum(0)
    of_query = torch.zeros(decoder.queries, dtype=torch.long, device=counts.device).index_add_(0, beams.query, counts)
    total, widest = torch.stack([ends[-1], of_query.max()]).tolist()

    parent = torch.repeat_interleave(counts, output_size=total)
    index = torch.arange(total, device=counts.device)
    node = (first - ends + counts)[parent] + index
    row = tree.first_row[node]
    place = tree.first_token[row] + level
    token = tree.tokens[place].long()
    query = beams.query[parent]
    score = beams.score[parent] + decoder.log_probabilities(hidden, parent, token)

    where = query, index - (of_query.cumsum(0) - of_query)[query]
    table = score.new_full((decoder.queries, widest), -torch.inf)
    table[where] = score
    keep = best_of_rows(table, num_beams)[where]
    if level + 1 >= trie.shortest:
        ended = place + 1 == tree.first_token[row + 1]
        finished = ended & keep
        found.add(query[finished], row[finished], score[finished], level + 1)
        table[where] = score.masked_fill(ended, -torch.inf)
        keep = best_of_rows(table, num_beams)[where] & ~ended
    keep = found.may_count(query, score, keep, level + 1, trie.depth).nonzero()[:, 0]
    return _Beams(query[keep], node[keep], token[keep], score[keep], past, parent[keep])


def batch_size(model: PreTrainedModel, trie: DocidTrie, num_beams: int, query_tokens: int, memory: int) -> int:
    """How many queries `constrained_beam_search` can take at once within ``memory`` bytes, 1 to `MOST_QUERIES`."""
    return max(1, min(MOST_QUERIES, memory // bytes_per_query(model, trie, num_beams, query_tokens)))


def bytes_per_query(
    model: PreTrainedModel, trie: DocidTrie, num_beams: int, query_tokens: int, *, fixed_shapes: bool | None = None
) -> int:
    """An upper bound of what each query of a batch adds to the memory of `constrained_beam_search`.

    With L decoder layers of h heads of d_kv numbers, B beams, q query tokens, and t tokens before docids stand alone
    (or of the longest docid, where some are shorter than others), in numbers of the model's precision:

        encoder            q (8 d_model + d_ff), and 2 L q h d_kv that stay; on a GPU q is a multiple of 64
        keys and values    2 x 2 L B t h d_kv: those of a step and of the one before; on a GPU only once, and 2 h B^2 t
                           for a mask
        a step's tokens    B (8 d_model + d_ff)
        candidates         160 bytes for each child of B nodes; on a GPU as many for each node as any has

    and half as much again, for freed memory that doesn't fit what is wanted next.
    What doesn't grow with the queries comes on top: the model, the trie, a block of logits and one of positions (on a
    GPU each takes at most a sixteenth of what is left). ``fixed_shapes`` is that of `constrained_beam_search`.
    """
    fixed_shapes = model.device.type == "cuda" if fixed_shapes is None else fixed_shapes
    config = model.config
    inner = config.num_heads * config.d_kv
    query_tokens = padded_length(query_tokens, QUERY_TOKENS) if fixed_shapes else query_tokens
    d_ff = max(config.d_ff, (getattr(config, "encoder", None) or {}).get("intermediate_size", 0))
    numbers = query_tokens * (8 * config.d_model + d_ff + 2 * config.num_decoder_layers * inner)
    candidates = candidates_per_query(trie, num_beams)
    if fixed_shapes:
        kept = sum(rows_per_query(trie, num_beams))
        numbers += 2 * kept * (config.num_decoder_layers * inner + config.num_heads * num_beams)
    else:
        tokens = len(trie.levels) if trie.shortest == trie.depth else trie.depth
        numbers += 4 * config.num_decoder_layers * num_beams * tokens * inner
        candidates = [min(end - first, most) for most, (first, end) in zip(candidates, trie.levels[1:], strict=False)]
    numbers += num_beams * (8 * config.d_model + config.d_ff)
    return (numbers * model.dtype.itemsize + max(candidates, default=1) * 160) * 3 // 2


def rank_documents(
    model: PreTrainedModel,
    trie: DocidTrie,
    queries: Sequence[Sequence[int]],
    num_beams: int,
    *,
    length_penalty: float = 0,
    own: Sequence[int | None] | None = None,
    last: LastSearch | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What `ranked_documents` says of each query (its tokens) after one `constrained_beam_search` for them all.

    ``own`` is of each query the document that is left out of its ranking, or None. Where there is one, a beam more is
    searched, so that ``num_beams`` docids remain. ``last`` is what `constrained_beam_search` keeps between batches.
    """
    own = [None] * len(queries) if own is None else own
    beams = num_beams + any(document is not None for document in own)
    tokens, mask = (tensor.to(model.device) for tensor in pad(queries))
    docids, scores = constrained_beam_search(model, trie, tokens, mask, beams, length_penalty=length_penalty, last=last)
    return [
        ranked_documents(trie, *of_query, num_beams)
        for of_query in zip(docids.cpu().numpy(), scores.cpu().numpy(), own, strict=True)
    ]


def ranked_documents(
    trie: DocidTrie, docids: np.ndarray, scores: np.ndarray, own: int | None = None, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Documents of one query's docids, best docid first; those that share one stand in the order of the docid table.

    Args:
        docids: int [beams], rows of the trie's docids, -1 for none.
        scores: float [beams].
        own: a document that is left out.
        most: so many docids that have another document; None for all.

    Returns:
        positions in the docid table, int32 [documents], and their scores, float [documents].
    """
    there = docids != NONE
    groups = [trie.documents_of(docid) for docid in docids[there]]
    if own is not None:
        groups = [group[group != own] for group in groups]
    sizes = np.array([len(group) for group in groups], np.int64)
    kept = np.flatnonzero(sizes)[:most]
    if not len(kept):
        return np.empty(0, np.int32), np.empty(0, scores.dtype)
    return np.concatenate([groups[index] for index in kept]), np.repeat(scores[there][kept], sizes[kept])
