"""Beam search that can only generate docids of the collection."""

from __future__ import annotations

import numpy as np
import torch
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from ddro.trie import DocidTrie

NONE = -1


@torch.inference_mode()
def constrained_beam_search(
    model: PreTrainedModel,
    trie: DocidTrie,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    num_beams: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The ``num_beams`` best docids of each query, as `transformers.generate` finds them with a prefix function.

    A docid's score is the sum of its tokens' log-probabilities, each normalised over the whole vocabulary. The encoder
    and its keys and values are computed once a query; the first step has one beam; a step looks at the children of each
    beam's node alone. A docid is finished in its leaf: it is kept if it is among the ``num_beams`` best candidates of
    its step, and live beams go on beside it until none can reach the kept ones.

    Args:
        model: a T5-like encoder-decoder in evaluation mode.
        trie: the docids.
        input_ids: int64 [queries, length], padded.
        attention_mask: int64 [queries, length], 1 for a token, 0 for padding.
        num_beams: beams a query, at least 1.

    Returns:
        docids: int64 [queries, num_beams], rows of the trie's docids, best first, -1 where there are fewer.
        scores: float32 [queries, num_beams], -inf where there is no docid.
    """
    device = input_ids.device
    token, first_child, docid = (
        torch.from_numpy(array).to(device, torch.long) for array in (trie.token, trie.first_child, trie.docid)
    )
    queries = input_ids.shape[0]
    encoded = model.get_encoder()(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())

    beams = 1
    nodes = torch.zeros(queries, beams, dtype=torch.long, device=device)
    scores = torch.zeros(queries, beams, device=device)
    inputs = torch.full((queries, 1), model.config.decoder_start_token_id, dtype=torch.long, device=device)
    found = torch.full((queries, num_beams), NONE, dtype=torch.long, device=device)
    found_scores = torch.full((queries, num_beams), -torch.inf, device=device)

    for _ in range(trie.depth):
        logits = model(
            decoder_input_ids=inputs,
            encoder_outputs=(encoded if beams == 1 else encoded.repeat_interleave(beams, 0),),
            attention_mask=attention_mask if beams == 1 else attention_mask.repeat_interleave(beams, 0),
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        log_probabilities = torch.log_softmax(logits.float(), -1).view(queries, beams, -1)

        children, exists = _children(first_child, nodes)
        candidates = scores[..., None] + log_probabilities.gather(-1, token[children])
        candidates = candidates.masked_fill(~exists, -torch.inf).flatten(1)
        children = children.flatten(1)
        width = candidates.shape[1] // beams

        best, position = candidates.topk(min(2 * num_beams, candidates.shape[1]), dim=1)
        child = children.gather(1, position)
        ends = (docid[child] != NONE) & (best > -torch.inf)

        finished = best[:, :num_beams].masked_fill(~ends[:, :num_beams], -torch.inf)
        found_scores, kept = torch.cat([found_scores, finished], 1).topk(num_beams, dim=1)
        found = torch.cat([found, docid[child[:, :num_beams]]], 1).gather(1, kept)

        live, chosen = best.masked_fill(ends, -torch.inf).topk(min(num_beams, best.shape[1]), dim=1)
        if bool((live[:, 0] <= found_scores[:, -1]).all()):
            break
        source = position.gather(1, chosen) // width
        cache.reorder_cache((source + beams * torch.arange(queries, device=device)[:, None]).flatten())
        nodes = child.gather(1, chosen)
        scores, beams = live, live.shape[1]
        inputs = token[nodes].view(-1, 1)

    return found.masked_fill(found_scores == -torch.inf, NONE), found_scores


def _children(first_child: torch.Tensor, nodes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The children of each node, [..., most children], and which of these places hold one."""
    first, end = first_child[nodes], first_child[nodes + 1]
    offsets = torch.arange(int((end - first).max()), device=nodes.device)
    children = first[..., None] + offsets
    exists = children < end[..., None]
    return children.masked_fill(~exists, 0), exists


def ranked_documents(trie: DocidTrie, docids: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Documents of one query's docids, best docid first; those that share one stand in the order of the docid table.

    Args:
        docids: int [beams], rows of the trie's docids, -1 for none.
        scores: float [beams].

    Returns:
        positions in the docid table, int32 [documents], and their scores, float [documents].
    """
    there = docids != NONE
    groups = [trie.documents_of(docid) for docid in docids[there]]
    if not groups:
        return np.empty(0, np.int32), np.empty(0, scores.dtype)
    return np.concatenate(groups), np.repeat(scores[there], [len(group) for group in groups])
