"""How fast a training is: examples and tokens a second, padding, memory, and the share of the device's peak."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable

import torch
from transformers import PreTrainedModel

PEAK = {
    "A100": 312e12,
    "A10G": 70e12,
    "A30": 165e12,
    "A40": 150e12,
    "B200": 2250e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "L40S": 362e12,
    "L40": 181e12,
    "L4": 121e12,
}
"""bf16 multiply-adds on dense matrices, as NVIDIA's data sheets give them: operations a second."""


def peak_of(name: str) -> float | None:
    """The peak of a device by its name, None if it isn't known."""
    return next((PEAK[known] for known in sorted(PEAK, key=len, reverse=True) if known in name), None)


def training_operations(model: PreTrainedModel) -> tuple[int, int]:
    """Floating-point operations of one encoder token and of one decoder token, forward and backward.

    6 a weight that the token is multiplied with (Kaplan et al. 2020, 2.1), 2 where it isn't trained; attention scores
    are left out, so the utilisation that follows is rather too low.
    """
    encoder, decoder = (
        sum(
            weight.numel() * (6 if weight.requires_grad else 2)
            for name, weight in stack.named_parameters()
            if "embed" not in name
        )
        for stack in (model.get_encoder(), model.get_decoder())
    )
    return encoder, decoder + 6 * model.get_output_embeddings().weight.numel()


class Throughput:
    """Adds up what training steps work on, and tells the rates since it was asked before.

    Counts are of this process; all processes have equal shares, so rates are multiplied by their number.
    """

    def __init__(self, model: PreTrainedModel, processes: int = 1, clock: Callable[[], float] = time.monotonic) -> None:
        self.operations = training_operations(model)
        self.device, self.processes, self.clock = model.device, processes, clock
        self.peak = peak_of(torch.cuda.get_device_name(self.device)) if self.device.type == "cuda" else None
        self.paused_at: float | None = None
        self.restart()

    def restart(self) -> None:
        """Count and time from here."""
        self.examples, self.positions = 0, 0
        self.encoder_tokens = self.decoder_tokens = torch.zeros((), dtype=torch.long, device=self.device)
        self.start = self.clock()

    def add(self, examples: int, encoder_mask: torch.Tensor, decoder_mask: torch.Tensor) -> None:
        """Count a batch; masks are 1 (or true) for tokens, 0 for padding. Sums stay on the device until asked for."""
        self.examples += examples
        self.positions += encoder_mask.numel() + decoder_mask.numel()
        self.encoder_tokens = self.encoder_tokens + encoder_mask.sum()
        self.decoder_tokens = self.decoder_tokens + decoder_mask.sum()

    def pause(self) -> None:
        """Stop the clock: what follows isn't training."""
        self.paused_at = self.clock()

    def go_on(self) -> None:
        """Let the clock run again."""
        self.start += self.clock() - self.paused_at

    def rates(self) -> dict[str, float]:
        """Rates since the last call, of all processes together; nothing if there was no batch."""
        if not self.examples:
            return {}
        encoder, decoder = int(self.encoder_tokens), int(self.decoder_tokens)
        seconds = self.clock() - self.start
        found = {
            "examples_per_second": self.processes * self.examples / seconds,
            "tokens_per_second": self.processes * (encoder + decoder) / seconds,
            "padding": 1 - (encoder + decoder) / self.positions,
            "memory_mib": self._memory(),
        }
        if self.peak:
            operations = encoder * self.operations[0] + decoder * self.operations[1]
            found["mfu"] = operations / seconds / self.peak
        self.restart()
        return found

    def _memory(self) -> float:
        """The most memory that was taken so far: the device's on a GPU, else the process's."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
