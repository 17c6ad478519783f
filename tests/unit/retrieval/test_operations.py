"""What a search would ask of a GPU, counted on a CPU, stays within a bound."""

from argparse import Namespace

import pytest
import torch

from ddro.retrieval import t5_decoder
from project import ROOT


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    for name in ("LOGITS", "COLUMNS"):  # the count changes them
        monkeypatch.setattr(t5_decoder, name, getattr(t5_decoder, name))


def test_what_is_counted(benchmarks):
    from operations import counted

    numbers = torch.arange(6.0)
    with counted() as counts:
        (numbers.view(2, 3)[0] + 1).unsqueeze(1)  # views are free
    assert (counts.operations, counts.waits) == (1, 0)
    for waiting in (
        lambda: numbers[numbers > 2],
        lambda: numbers.nonzero(),
        lambda: bool(numbers[0] > 2),
        lambda: numbers.tolist(),
        lambda: numbers.unique_consecutive(),
    ):
        with counted() as counts:
            waiting()
        assert counts.waits == 1


@pytest.mark.parametrize(
    ("docids_like", "bounds"),
    [("pq", (3_300, 60, 7_500, 200, 1_600, 8)), ("tu", (3_700, 70, 8_500, 220, 2_700, 12))],
)
def test_a_search_asks_for_no_more_than_it_did(docids_like, bounds, benchmarks):
    """Operations and waits of a full search, of one for the best ten, and of the one in fixed shapes."""
    from decode import count_operations

    counts = count_operations(Namespace(docids_like=docids_like, documents=5_000, beams=12, batch=[4], seed=0))
    kinds = [f"{search}_{kind}" for search in ("ours", "top10", "fixed") for kind in ("operations", "waits")]
    assert all(counts[kind] <= bound for kind, bound in zip(kinds, bounds, strict=True)), counts


@pytest.mark.slow
def test_a_batch_for_a_gpu_is_few_operations_and_hardly_a_wait(benchmarks):
    """32 queries, 80 beams, 320,000 docids, 12 layers: the sizes of the paper's MS MARCO, but for the width."""
    from decode import count_operations

    arguments = Namespace(docids_like="pq", documents=320_000, beams=80, batch=[32], seed=0)
    counts = count_operations(arguments, ["fixed"])
    assert counts["fixed_operations"] <= 7_000 and counts["fixed_waits"] <= 25, counts
