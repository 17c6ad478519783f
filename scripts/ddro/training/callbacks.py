"""What a training tells while it runs, and what ends it early: the callbacks of every run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import TensorBoardCallback

from ddro.core.command import UserError, log
from ddro.training.checkpoints import KeepCheckpoints
from ddro.training.processes import is_first_process
from ddro.training.validation import MRR

SHOWN = ("loss", "eval_loss", MRR, "rewards/accuracies", "rewards/margins", "eval_rewards/accuracies")


class TrainingLog(TrainerCallback):
    """One readable line for each record of the Trainer, with rate and time left."""

    def __init__(self, stage: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.stage, self.clock = stage, clock

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.start, self.first_step = self.clock(), state.global_step
        device = torch.cuda.get_device_name() if args.device.type == "cuda" else args.device.type
        log.info("%s: torch %s on %s", self.stage, torch.__version__, device)
        log.info(
            "%s: %d steps of %d x %d x %d (processes x accumulation x micro-batch)",
            self.stage,
            state.max_steps,
            args.world_size,
            args.gradient_accumulation_steps,
            args.per_device_train_batch_size,
        )

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
        done = state.global_step - self.first_step
        seconds = self.clock() - self.start
        if "train_runtime" in logs or not done:
            return
        left = seconds / done * (state.max_steps - state.global_step)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in logs.items() if name in SHOWN)
        if shown:
            log.info(
                "%s: step %d/%d, %s, %.1f steps/s, %.0f s left",
                self.stage,
                state.global_step,
                state.max_steps,
                shown,
                done / seconds,
                left,
            )


class StopWhenNotANumber(TrainerCallback):
    """End the run at the first loss that is not a finite number."""

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, float], **_: Any
    ) -> None:
        if not torch.isfinite(torch.tensor(logs.get("loss", 0.0))):
            raise UserError(
                f"step {state.global_step}: the loss is {logs['loss']}. Lower the learning rate, or raise the warm-up."
            )


class OrderOfEpoch(TrainerCallback):
    """Tells the sampler which pass begins, also to a run that goes on in the middle of one."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.trainer.sampler.epoch = int(state.epoch or 0)


def tensorboard(stage: str, folder: Path) -> TensorBoardCallback | None:
    """TensorBoard's event files in $TENSORBOARD_LOGGING_DIR, if that is set; a stage's lie as its outputs do."""
    if not os.environ.get("TENSORBOARD_LOGGING_DIR"):
        return None
    callback = TensorBoardCallback()
    parts = [part for part in folder.parts if part not in (folder.anchor, "..")]
    callback.logging_dir = str(Path(callback.logging_dir, *parts, stage))
    return callback


def add_callbacks(trainer: Trainer, stage: str, *, checkpoint_minutes: float = 10, patience: int | None = None) -> None:
    """Give a run our log in place of transformers'; ``patience`` evaluations without a better one end it early."""
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(OrderOfEpoch(trainer))
    if is_first_process():
        trainer.add_callback(TrainingLog(stage))
        if board := tensorboard(stage, Path(trainer.args.output_dir).parent):
            trainer.add_callback(board)
    trainer.add_callback(StopWhenNotANumber())
    if patience:
        trainer.add_callback(EarlyStoppingCallback(patience))
    trainer.add_callback(KeepCheckpoints(checkpoint_minutes))
