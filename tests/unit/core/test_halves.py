"""Work that runs out of a device's memory is done in halves."""

import logging

import pytest
import torch

from ddro.core.command import UserError
from ddro.core.halves import in_halves


def doubled_if_at_most(most, calls):
    def work(items):
        calls.append(list(items))
        if len(items) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")
        return [2 * item for item in items]

    return work


def test_what_fits_is_done_at_once():
    calls = []
    assert in_halves(doubled_if_at_most(5, calls), [1, 2, 3], "queries") == [2, 4, 6]
    assert calls == [[1, 2, 3]]


def test_what_does_not_fit_is_done_in_halves_and_said(caplog):
    calls = []
    with caplog.at_level(logging.WARNING, "ddro"):
        assert in_halves(doubled_if_at_most(2, calls), [1, 2, 3, 4, 5], "queries") == [2, 4, 6, 8, 10]
    assert calls == [[1, 2, 3, 4, 5], [1, 2], [3, 4, 5], [3], [4, 5]]
    assert "5 queries don't fit the device's memory: they go in halves of 2" in caplog.text


def test_one_that_does_not_fit_is_a_sentence():
    with pytest.raises(UserError, match="doesn't hold one of the queries .CUDA out of memory. Tried to allocate 2 GiB"):
        in_halves(doubled_if_at_most(0, []), [1, 2], "queries")


def test_other_errors_stay_what_they_are():
    def work(items):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        in_halves(work, [1, 2], "queries")
