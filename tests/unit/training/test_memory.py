"""Training in smaller micro-batches when the device's memory is full."""

import pytest
import torch

from ddro.core.command import UserError
from ddro.training.memory import in_smaller_batches


def trainer(fits: int):
    """What fails with more examples than ``fits``, and the numbers that it was asked for."""
    asked = []

    def train(most: int) -> str:
        asked.append(most)
        if most > fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")
        return "trained"

    return train, asked


def test_it_halves_until_it_fits(caplog):
    train, asked = trainer(3)
    assert in_smaller_batches(train, 25) == "trained"
    assert asked == [25, 12, 6, 3]
    assert "6 examples at a time don't fit" in caplog.text


def test_one_example_that_does_not_fit_is_told():
    train, asked = trainer(0)
    with pytest.raises(UserError, match="doesn't hold one of the examples at a time .CUDA out of memory. Tried"):
        in_smaller_batches(train, 2)
    assert asked == [2, 1]


def test_of_several_processes_none_goes_on_alone(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    train, asked = trainer(3)
    with pytest.raises(UserError, match="device_batch=4"):
        in_smaller_batches(train, 8)
    assert asked == [8]


def test_other_errors_are_not_caught():
    with pytest.raises(RuntimeError, match="something else"):
        in_smaller_batches(lambda most: (_ for _ in ()).throw(RuntimeError("something else")), 8)
