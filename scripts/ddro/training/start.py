"""How a training script starts: with as many processes, and examples at a time, as the machine has room for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from ddro.training.processes import process_count, use_processes

Result = TypeVar("Result")


def run_training(train: Callable[[argparse.Namespace, int], Result], arguments: argparse.Namespace) -> Result:
    """What ``train`` returns, in as many processes as ``arguments`` say and with as many examples as a device holds.

    Args:
        train: takes the arguments and the most examples that may be on a device at a time.
        arguments: those of `ddro.training.arguments.add_training_options`.
    """
    use_processes(arguments.processes)
    from ddro.training.memory import in_smaller_batches  # with torch, which only a process that stays has use for

    at_first = arguments.device_batch_size or arguments.batch_size // process_count()
    return in_smaller_batches(lambda most: train(arguments, most), at_first)
