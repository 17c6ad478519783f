"""What a training costs on GPUs: their seconds, and their energy as NVIDIA's driver counts it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pynvml
import torch

from ddro.core.command import log

SPENT = ("gpu_seconds", "gpu_wh")


class GpuCost:
    """Tells the GPU seconds and watt hours since it was asked before; nothing on a CPU.

    Counts are of this process's GPU, multiplied by the number of processes, which do equal work. The energy is that of
    the whole device, whoever else uses it.
    """

    def __init__(self, device: torch.device, processes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.device, self.processes, self.clock = device, processes, clock
        self.counter = energy_counter(device) if device.type == "cuda" else None
        self.before = self._now()

    def spent(self) -> dict[str, float]:
        """``gpu_seconds``, and ``gpu_wh`` where the device reports it, of all processes together."""
        if self.device.type != "cuda":
            return {}
        before, self.before = self.before, self._now()
        seconds, joules = (now - then for now, then in zip(self.before, before, strict=True))
        found = {"gpu_seconds": self.processes * seconds}
        return found | {"gpu_wh": self.processes * joules / 3600} if self.counter else found

    def _now(self) -> tuple[float, float]:
        return self.clock(), self.counter() if self.counter else 0.0


def total_spent(records: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The sums of `SPENT` in the records of a training, those before it was stopped and resumed too; none on a CPU."""
    logged = [(name, record[name]) for record in records for name in SPENT if name in record]
    return {key: sum(value for name, value in logged if name == key) for key, _ in logged}


def energy_counter(device: torch.device) -> Callable[[], float] | None:
    """A function that tells the joules that a GPU has taken since its driver was loaded, or None if it can't tell."""
    try:
        pynvml.nvmlInit()
        # By its name, as CUDA_VISIBLE_DEVICES gives the GPUs other numbers.
        handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except pynvml.NVMLError as error:
        log.info("energy isn't known: %s", error)
        return None
    return lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
