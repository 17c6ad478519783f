"""Checkpoints of a training: whole or not there, few, and of one configuration only."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ddro.core.code_hash import code_hash
from ddro.core.command import UserError, log
from ddro.core.files import flush_to_disk, read_json, write_json
from ddro.training.log import LOG
from ddro.training.processes import is_first_process

WHOLE = "whole"  # a checkpoint has a file of this name once all else is written
MACHINE = ("output", "processes", "device_batch_size", "checkpoint_minutes")  # options that change no result


def identity(script: Path | str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs of a script the same run: its code, its options, and the content of its inputs."""
    of_result = {name: value for name, value in options.items() if name not in MACHINE}
    return {"code": code_hash(Path(script))} | {name: _content(value) for name, value in of_result.items()}


def _content(value: Any) -> Any:
    """An option's value, of a path (or several) the content."""
    if isinstance(value, list):
        return [_content(item) for item in value]
    return content_hash(value) if isinstance(value, Path) else value


def content_hash(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files (the training log left out).

    Raises:
        UserError: there is no such file or folder.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != LOG) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() + b"\0")
        try:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
        except FileNotFoundError as error:
            raise UserError(f"{path}: no such file. Run snakemake to make it.") from error
    return digest.hexdigest()


class Checkpoints:
    """The folder ``.NAME.checkpoints`` beside the output NAME: what a run that was stopped goes on from."""

    def __init__(self, output: Path, run: Mapping[str, Any]) -> None:
        """Open or make the folder of a run.

        Raises:
            UserError: the folder holds checkpoints of a run with another `identity`.
        """
        self.folder = output.with_name(f".{output.name}.checkpoints")
        record = self.folder / "run.json"
        if record.exists():
            before, now = read_json(record), json.loads(json.dumps(run))
            for name in sorted(before.keys() | now.keys()):
                if before.get(name) != now.get(name):
                    raise UserError(
                        f"{self.folder}: holds checkpoints of a run with another {name} ({before.get(name)}, now "
                        f"{now.get(name)}). Delete this folder to begin anew, or go back to what that run had."
                    )
        elif is_first_process():
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(run, record)

    def latest(self) -> Path | None:
        """The newest checkpoint that is whole."""
        found = [path.parent for path in self.folder.glob(f"checkpoint-*/{WHOLE}")]
        return max(found, key=lambda path: int(path.name.split("-")[1]), default=None)

    def remove(self) -> None:
        """Remove the folder: the output is there."""
        if is_first_process():
            shutil.rmtree(self.folder, ignore_errors=True)


class KeepCheckpoints(TrainerCallback):
    """Saves from time to time, marks what is whole, and removes all but the newest and the best checkpoint.

    Transformers itself would remove the older checkpoint before anybody knows that the newer one is whole.
    """

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.saved = time.monotonic()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        due = [time.monotonic() - self.saved >= self.seconds]
        if PartialState().num_processes > 1:
            broadcast_object_list(due)  # all processes save, or none
        if due[0] and 0 < state.global_step < state.max_steps:
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        PartialState().wait_for_everyone()  # each has written its own state
        self.saved = time.monotonic()
        if not state.is_world_process_zero:
            return
        newest = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        flush_to_disk(newest)
        (newest / WHOLE).touch()
        kept = {newest.name, Path(state.best_model_checkpoint or newest).name}
        for checkpoint in newest.parent.glob("checkpoint-*"):
            if checkpoint.name not in kept:
                shutil.rmtree(checkpoint)
        log.info("checkpoint at step %d", state.global_step)


def has_ended(checkpoint: Path) -> bool:
    """Whether training had come to its end, its last step or early stopping, when this checkpoint was saved."""
    state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
    control = state.stateful_callbacks.get("TrainerControl", {}).get("args", {})
    return state.global_step >= state.max_steps or control.get("should_training_stop", False)
