"""Options that the training scripts share, and the settings that they give."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ddro.core.tables import PRECISIONS


@dataclass(frozen=True)
class TrainingSettings:
    """What the options say of a training: the recipe's choices, and how many examples a device takes at a time."""

    epochs: float
    learning_rate: float
    batch_size: int
    schedule: str
    weight_decay: float
    epsilon: float
    max_grad_norm: float
    precision: str
    evaluations: int
    seed: int
    device_batch_size: int = 0

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> TrainingSettings:
        """Those of a script's options, which may have others."""
        return cls(**{field.name: options[field.name] for field in fields(cls)})


def add_training_options(options: argparse.ArgumentParser, unit: str) -> None:
    """Add the options of every training: the optimizer's, the machine's, the output; a batch is of ``unit``."""
    options.add_argument("--epochs", type=float, required=True, help=f"passes over the {unit}")
    options.add_argument("--learning-rate", type=float, required=True, help="highest learning rate")
    options.add_argument("--batch-size", type=int, required=True, help=f"{unit} a step, over all processes")
    options.add_argument("--evaluations", type=int, required=True, help="validations, the last at the end")
    options.add_argument("--seed", type=int, required=True, help="seed of the order and of dropout")
    options.add_argument("--output", type=Path, required=True, help="folder of the trained model and its log")
    machine = options.add_argument_group("machine", "none of these changes what is learned, but for rounding")
    machine.add_argument("--processes", type=int, default=0, help="GPUs, on all machines together; 0: one if there is")
    machine.add_argument(
        "--device-batch-size", type=int, default=0, help=f"most {unit} on a device at a time; 0: its whole share"
    )
    machine.add_argument("--checkpoint-minutes", type=float, default=10, help="time between checkpoints (10)")


def add_optimizer_options(options: argparse.ArgumentParser) -> None:
    """Add what SFT and DDRO let a recipe choose of the optimizer."""
    options.add_argument("--weight-decay", type=float, required=True, help="AdamW's weight decay")
    options.add_argument("--epsilon", type=float, required=True, help="AdamW's epsilon")
    options.add_argument("--max-grad-norm", type=float, required=True, help="gradient clipping")
    options.add_argument("--schedule", required=True, help="learning-rate schedule, as transformers calls it")
    options.add_argument("--precision", choices=PRECISIONS, required=True, help="of the computation; weights: float32")
    options.add_argument(
        "--compile",
        action=argparse.BooleanOptionalAction,
        required=True,
        help="compile a GPU's steps with torch.compile",
    )


def add_validation_options(options: argparse.ArgumentParser) -> None:
    """Add the tables and settings of validation by retrieval."""
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="relevance judgements (Parquet)")
    options.add_argument("--validation-queries", type=int, help="validate on a sample of so many; all without it")
    options.add_argument("--validation-beams", type=int, required=True, help="beams of the validation's retrieval")
    options.add_argument("--length-penalty", type=float, required=True, help="of the beam search: 0 or 1")
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a query")
