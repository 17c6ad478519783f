"""What doesn't fit a device's memory at once, done in halves."""

from __future__ import annotations

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
    try:
        return work(items)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's, which isn't imported here
            raise
        if len(items) == 1:
            raise UserError(
                f"the device's memory doesn't hold one of the {what} ({str(error).splitlines()[0]}). {ANOTHER_GPU}"
            ) from error
    half = len(items) // 2
    log.warning("%d %s don't fit the device's memory: they go in halves of %d", len(items), what, half)
    _free_memory()
    return in_halves(work, items[:half], what) + in_halves(work, items[half:], what)


def _free_memory() -> None:
    """Give back what torch holds in reserve."""
    import torch

    torch.cuda.empty_cache()  # does nothing where CUDA isn't in use
