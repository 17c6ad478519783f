"""What doesn't fit a device's memory at once, done in halves."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

from ddro.core.command import UserError, log

Item = TypeVar("Item")
Result = TypeVar("Result")

ANOTHER_GPU = "Take a GPU with more memory, or one that nobody else uses; see what does with nvidia-smi."


def in_halves(work: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item], what: str) -> list[Result]:
    """``work(items)``; where that runs out of the device's memory, of each half apart, and so on. The log says so.

    Args:
        work: gives a list with a result for each item.
        what: the items' name, for the log.

    Raises:
        UserError: a single item doesn't fit.
    """

    def apart(reason: str) -> list[Result]:
        half = half_of(len(items), what, reason)
        return in_halves(work, items[:half], what) + in_halves(work, items[half:], what)

    return unless_full(lambda: work(items), apart)


def unless_full(work: Callable[[], Result], otherwise: Callable[[str], Result]) -> Result:
    """``work()``; where that runs out of the device's memory, what ``otherwise`` makes of torch's sentence on it.

    What the work held is free by then.
    """
    try:
        return work()
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which isn't imported here
            raise
        reason = str(error).splitlines()[0]
    free_memory()
    return otherwise(reason)


def half_of(count: int, what: str, reason: str) -> int:
    """Half of ``count`` items that don't fit the device's memory, which the log tells; one is a `UserError`."""
    if count == 1:
        raise UserError(f"the device's memory doesn't hold one of the {what} ({reason}). {ANOTHER_GPU}")
    log.warning("%d %s don't fit the device's memory: they go in halves of %d", count, what, count // 2)
    return count // 2


def free_memory() -> None:
    """Give back what nothing needs any more, and what torch holds in reserve."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()  # does nothing where CUDA isn't in use
