"""Steps that a GPU does again and again, each as one CUDA graph: one launch in place of hundreds."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch


class StepGraphs:
    """Runs steps by their names: plainly the first time, then captured, and from the third time on replayed.

    What a captured step reads must lie where it lay at its capture, and it writes its results where it wrote them then:
    so it may read the results of captured steps, and memory that others fill in place. A step may use no other tensors
    that change, and may not wait for the device. All graphs share one pool of memory.
    """

    def __init__(self) -> None:
        self._ran: set[Hashable] = set()
        self._captured: dict[Hashable, tuple[Any, Any]] = {}
        self._pool: tuple[int, int] | None = None

    def run(self, name: Hashable, step: Callable[[], Any]) -> Any:
        """What ``step`` returns. Once it is captured, the next run of this name overwrites it."""
        if name not in self._captured:
            if name not in self._ran:
                self._ran.add(name)
                return step()
            self._captured[name] = self._capture(step)
        replay, result = self._captured[name]
        replay()
        return result

    def _capture(self, step: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        """What runs the step again, and its results, which are there once that was called."""
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = step()
        return graph.replay, result


class PlainSteps(StepGraphs):
    """Runs each step as it is: on a processor, and where no step comes again."""

    def run(self, name: Hashable, step: Callable[[], Any]) -> Any:
        """What ``step`` returns."""
        return step()
