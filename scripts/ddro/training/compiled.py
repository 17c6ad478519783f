"""Training steps that a GPU runs as one CUDA graph of fused operations: torch.compile, and what it asks of a batch."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager, nullcontext

import torch
from transformers import PreTrainedModel

from ddro.core.command import UserError, log

MULTIPLE = 8
"""What the lengths of a compiled step's inputs are padded to: a graph is recorded for each length that comes."""

COMPILERS = ("cc", "gcc", "clang")

HOW = {"dynamic": True, "mode": "reduce-overhead"}
"""One compilation serves all lengths, and each shape that comes is recorded as CUDA graphs."""


def compile_for_gpu(model: PreTrainedModel) -> int:
    """Compile the model's forward and backward pass in place where there is a GPU; its parameters stay what they are.

    Losses equal the plain ones to rounding; dropout draws other numbers from the same seed.

    Returns:
        what batches should pad their lengths to a multiple of: 1 where nothing is compiled.

    Raises:
        UserError: no C compiler, which Triton needs.
    """
    if not torch.cuda.is_available():
        return 1
    if not (os.environ.get("CC") or any(map(shutil.which, COMPILERS))):
        raise UserError(
            "compile: true needs a C compiler on the machine with the GPU, and there is none. Load one (module load "
            "gcc), or write compile: false in the recipe's sections sft.shared and ddro."
        )
    log.info("the first steps take a minute or two longer: they are compiled")
    model.compile(**HOW)
    return MULTIPLE


def plainly() -> AbstractContextManager:
    """Within it models run uncompiled: for what takes less time than to compile it."""
    return torch.compiler.set_stance("force_eager")


def plainly_if_alone(examples: int, most: int) -> AbstractContextManager:
    """`plainly` for a batch of one example where others have up to ``most``: it would be compiled apart from them."""
    return plainly() if examples == 1 < most else nullcontext()
