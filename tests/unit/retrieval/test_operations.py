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
    [("pq", (2_600, 32, 6_700, 119)), ("tu", (3_400, 38, 8_000, 142))],
)
def test_a_search_asks_for_no_more_than_it_did(docids_like, bounds, benchmarks):
    """The first two bounds are of a full search, the others of one for the best ten."""
    from decode import count_operations

    counts = count_operations(Namespace(docids_like=docids_like, documents=5_000, beams=12, batch=4, seed=0))
    kinds = ("ours_operations", "ours_waits", "top10_operations", "top10_waits")
    assert all(counts[kind] <= bound for kind, bound in zip(kinds, bounds, strict=True)), counts
