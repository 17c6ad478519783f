"""The search in fixed shapes for batch after batch: on a GPU its steps are CUDA graphs from the second batch on."""

import copy
from dataclasses import fields, is_dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam_search import model, pq_like, queries, slow, tu_like

from ddro.docids.trie import DocidTrie
from ddro.retrieval import fixed_search
from ddro.retrieval.beam_search import constrained_beam_search
from ddro.retrieval.fixed_search import LastSearch
from ddro.retrieval.step_graphs import StepGraphs

TOLERANCE = 1e-4


def overwrite(old, new) -> None:
    """Write the tensors of ``new`` where those of ``old`` lie."""
    if isinstance(old, torch.Tensor):
        old.copy_(new)
    elif is_dataclass(old):
        for field in fields(old):
            overwrite(getattr(old, field.name), getattr(new, field.name))


class Replayed(StepGraphs):
    """What a GPU's graphs do, on a processor: a captured step reads and writes where it did at its capture."""

    replays = 0

    def _capture(self, step):
        result = step()

        def replay():
            Replayed.replays += 1
            overwrite(result, step())

        return replay, result


def compare(batches, t5, trie, beams, **options):
    last = LastSearch()
    for ids, mask in batches:
        found = constrained_beam_search(t5, trie, ids, mask, beams, **options, fixed_shapes=True, last=last)
        alone = constrained_beam_search(t5, trie, ids, mask, beams, **options, fixed_shapes=False)
        assert torch.allclose(found[1].cpu(), alone[1].cpu(), rtol=1e-4, atol=TOLERANCE)
        for row, column in (found[0].cpu() != alone[0].cpu()).nonzero().tolist():  # equally good ones may change places
            assert ((alone[1][row] - alone[1][row, column]).abs() < TOLERANCE).sum() > 1


@settings(slow, max_examples=40)
@given(st.one_of(pq_like, tu_like), st.integers(1, 6), st.sampled_from([0.0, 1.0]), st.integers(0, 99))
def test_later_batches_find_what_they_would_find_alone(docids, beams, length_penalty, seed):
    """Five batches of one shape, one of another, and the first shape again."""
    batches = [queries(count, seed + place) for place, count in enumerate([3, 3, 3, 3, 3, 2, 3, 3])]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fixed_search, "PlainSteps", Replayed)
        before = Replayed.replays
        compare(batches, model(seed % 3), DocidTrie.build(docids), beams, length_penalty=length_penalty)
        assert Replayed.replays > before


def test_the_weights_may_change_in_place():
    t5, last = copy.deepcopy(model(0)), LastSearch()
    trie = DocidTrie.build([[first, second] for first in range(2, 8) for second in range(2, 20)])
    ids, mask = queries(3, 0)
    for _ in range(3):
        found, scores = constrained_beam_search(t5, trie, ids, mask, 5, fixed_shapes=True, last=last)
        alone, alone_scores = constrained_beam_search(t5, trie, ids, mask, 5, fixed_shapes=False)
        assert torch.equal(found, alone) and torch.allclose(scores, alone_scores, atol=TOLERANCE)
        with torch.no_grad():
            for parameter in t5.parameters():
                parameter.mul_(1.1)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["pq", "tu"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_graphs_find_what_the_processor_finds(kind, length_penalty):
    generator = torch.Generator().manual_seed(1)
    docids = torch.randint(2, 8, (500, 6), generator=generator).tolist()
    if kind == "tu":
        docids = [[*docid[: 2 + place % 5], 1] for place, docid in enumerate(docids)]
    trie, t5, last = DocidTrie.build(docids), model(0), LastSearch()
    on_gpu = copy.deepcopy(t5).cuda()
    for seed in range(6):
        ids, mask = queries(4, seed)
        found, scores = constrained_beam_search(
            on_gpu, trie, ids.cuda(), mask.cuda(), 8, length_penalty=length_penalty, last=last
        )
        alone, alone_scores = constrained_beam_search(t5, trie, ids, mask, 8, length_penalty=length_penalty)
        assert torch.allclose(scores.cpu(), alone_scores, rtol=1e-3, atol=1e-3)
        assert (found.cpu() == alone).float().mean() > 0.9
