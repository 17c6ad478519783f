"""A training that doesn't fit a GPU's memory goes on in smaller micro-batches, and learns the same to rounding."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from ddro.core.command import UserError, log
from ddro.core.halves import ANOTHER_GPU
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
    while True:
        try:
            return train(most)
        except torch.OutOfMemoryError as error:
            reason = str(error).splitlines()[0]
        half = most // 2
        if not half:
            raise UserError(f"the device's memory doesn't hold one example ({reason}). {ANOTHER_GPU}")
        if process_count() > 1:
            raise UserError(
                f"the device's memory doesn't hold {most} examples at a time ({reason}). Rerun with at most {half}: "
                f"--set-resources of the rule with device_batch={half}. It goes on from the last checkpoint."
            )
        log.warning("%d examples at a time don't fit the device's memory: they go in halves of %d", most, half)
        gc.collect()  # what the training held; its graphs, too
        torch.compiler.reset()
        torch.cuda.empty_cache()
        most = half
