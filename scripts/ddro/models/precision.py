"""The precision that a model computes in, by the name that recipes have for it."""

from __future__ import annotations

import torch

from ddro.core.command import UserError


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
