"""A training that doesn't fit a GPU's memory goes on in smaller micro-batches, and learns the same to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from ddro.core.command import UserError
from ddro.core.halves import free_memory, half_of, unless_full
from ddro.training.processes import process_count

Result = TypeVar("Result")


def in_smaller_batches(train: Callable[[int], Result], most: int) -> Result:
    """``train(most)``; whenever that runs out of the device's memory, again with half as many examples at a time.

    A training goes on from its newest checkpoint. An optimizer's step stays one of the whole batch.

    Args:
        train: trains with at most so many examples on a device at a time.
        most: examples at first.

    Raises:
        UserError: one example doesn't fit, or one of several processes has run out of memory: the others would wait.
    """

    def smaller(reason: str) -> Result:
        if process_count() > 1 and most > 1:
            raise UserError(
                f"the device's memory doesn't hold {most} examples at a time ({reason}). Rerun with at most "
                f"{most // 2}: --set-resources of the rule with device_batch={most // 2}. It goes on from the last "
                "checkpoint."
            )
        half = half_of(most, "examples at a time", reason)
        torch.compiler.reset()  # graphs hold memory, too
        free_memory()
        return in_smaller_batches(train, half)

    return unless_full(lambda: train(most), smaller)
