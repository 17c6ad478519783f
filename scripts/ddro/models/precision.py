"""The precision that a model computes in, by the name that recipes have for it."""

from __future__ import annotations

import torch

from ddro.core.command import UserError

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""Of processors, by the names of `torch.cpu.get_capabilities`."""


def use_precision(name: str) -> torch.dtype:
    """The type of a model's numbers for one of `tables.PRECISIONS`.

    tf32 is float32 whose products a GPU rounds to 10 bits; a processor takes it for float32.

    Raises:
        UserError: bfloat16 on a GPU that only emulates it.
    """
    on_gpu = torch.cuda.is_available()
    if name == "bfloat16" and on_gpu and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"{torch.cuda.get_device_name()} has no bfloat16. Write float32 as precision in the recipe's sections "
            "decoding, sft.shared and ddro."
        )
    if on_gpu:
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def trains_in_bfloat16(name: str) -> bool:
    """Whether a training with this precision multiplies in bfloat16: on a GPU, or a processor with instructions for it.

    Other processors only emulate it, far more slowly than they compute in float32.

    Raises:
        UserError: what `use_precision` refuses.
    """
    if use_precision(name) != torch.bfloat16:
        return False
    return torch.cuda.is_available() or any(map(torch.cpu.get_capabilities().get, BFLOAT16_INSTRUCTIONS))
