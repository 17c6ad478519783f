"""What SFT, doc2query and DDRO share: the Hugging Face Trainer as this pipeline uses it, resumed, validated, logged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerState,
)
from transformers.trainer_utils import EvalLoopOutput

from ddro.core.command import log
from ddro.core.files import write_whole
from ddro.models.frozen_encoder import FrozenEncoderT5
from ddro.models.precision import trains_in_bfloat16
from ddro.models.t5 import save
from ddro.training.arguments import TrainingSettings
from ddro.training.batches import LABEL_PAD, BatchesOfLikeLength, share_of_device
from ddro.training.checkpoints import Checkpoints, has_ended
from ddro.training.compiled import plainly, plainly_if_alone
from ddro.training.cost import SPENT, GpuCost, total_spent
from ddro.training.log import LOG
from ddro.training.processes import is_first_process, process_count
from ddro.training.throughput import Throughput
from ddro.training.validation import MRR, ValidationRetrieval


def trainer_arguments(
    options: TrainingSettings,
    folder: Path,
    *,
    warmup: float,
    best: str | None,
    unit: int = 1,
    evaluation_steps: int | None = None,
) -> dict[str, Any]:
    """Arguments of `transformers.TrainingArguments` (and of TRL's `DPOConfig`) for one run.

    Args:
        options: what the recipe and the machine say.
        folder: for checkpoints.
        warmup: steps where 1 or more, a share of all steps below 1.
        best: metric of the checkpoint to keep, or None for the last one.
        unit: how many of ``options.batch_size`` are one example of the Trainer.
        evaluation_steps: between validations; None for ``options.evaluations`` in all.
    """
    on_gpu = torch.cuda.is_available()
    most = max(1, options.device_batch_size // unit) if options.device_batch_size else 0
    micro_batch, accumulation = share_of_device(options.batch_size // unit, process_count(), most, unit)
    every = evaluation_steps or (1 / options.evaluations if options.evaluations > 1 else 1.0 - 1e-9)  # 1.0 is one step
    return {
        "output_dir": str(folder),
        "num_train_epochs": options.epochs,
        "learning_rate": options.learning_rate,
        "per_device_train_batch_size": micro_batch,
        "per_device_eval_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "optim": "adamw_torch_fused",
        "lr_scheduler_type": "constant_with_warmup" if options.schedule == "constant" else options.schedule,
        "warmup_steps": warmup,
        "weight_decay": options.weight_decay,
        "adam_epsilon": options.epsilon,
        "max_grad_norm": options.max_grad_norm,
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps" if best else "no",  # at validations; `KeepCheckpoints` adds others
        "save_steps": every,
        "load_best_model_at_end": best is not None,
        "eval_on_start": best is not None,  # the model that a training begins with may be the best
        "metric_for_best_model": best,
        "greater_is_better": best is not None and not best.endswith("loss"),
        "restore_callback_states_from_checkpoint": True,  # early stopping counts on
        "logging_steps": 1 / 50,
        "logging_nan_inf_filter": False,  # would hide what `StopWhenNotANumber` looks for
        "bf16": trains_in_bfloat16(options.precision),
        "use_cpu": not on_gpu,  # bfloat16, and several processes that look for each other, need to be told
        "remove_unused_columns": False,
        "disable_tqdm": not sys.stderr.isatty(),
        "report_to": "none",
        "dataloader_pin_memory": on_gpu,
        "dataloader_num_workers": int(on_gpu),  # makes the next batches while the GPU works on this one
        "seed": options.seed,
    }


class PipelineTrainer(Trainer):
    """A Trainer with batches of like length, validation by retrieval, and rates and cost in its log.

    A data set has a column ``length``; `retrieval` is None where nothing is retrieved.
    """

    def __init__(self, *args: Any, retrieval: ValidationRetrieval | None = None, **kwargs: Any) -> None:
        self.retrieval = retrieval
        super().__init__(*args, **kwargs)
        if self.args.bf16 and self.args.device.type == "cpu":
            self.model.set_attn_implementation("eager")  # the fused one goes backward many times as slowly there
        self.throughput = Throughput(self.model, self.accelerator.num_processes)
        self.gpu_cost = GpuCost(self.args.device, self.accelerator.num_processes)

    def _get_train_sampler(self, train_dataset: datasets.Dataset | None = None) -> BatchesOfLikeLength:
        args, dataset = self.args, self.train_dataset if train_dataset is None else train_dataset
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        self.sampler = BatchesOfLikeLength(self.lengths(dataset), batch_size, args.seed)
        return self.sampler

    def lengths(self, dataset: datasets.Dataset) -> np.ndarray:
        """What instances of a batch should have alike, int [instances]: the length of their texts."""
        return dataset.data["length"].to_numpy()

    def count(self, inputs: dict[str, torch.Tensor]) -> tuple[int, torch.Tensor, torch.Tensor]:
        """The examples of a batch, and where the encoder and the decoder have tokens."""
        return len(inputs["input_ids"]), inputs["attention_mask"], inputs["labels"] != LABEL_PAD

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        examples, of_encoder, of_decoder = self.count(inputs)
        self.throughput.add(examples, of_encoder, of_decoder)
        with plainly_if_alone(len(of_encoder), self.args.per_device_train_batch_size):
            return super().training_step(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        if "loss" in logs:
            logs |= self.throughput.rates()
        logs |= self.gpu_cost.spent()
        super().log(logs, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        self.throughput.pause()
        begins = self.is_in_train and not self.state.global_step
        with torch.random.fork_rng(enabled=begins), plainly():  # what is drawn before the first step changes no dropout
            metrics = super().evaluate(*args, **kwargs)
        if begins and is_first_process():
            with write_whole(self._start) as folder:
                self.save_model(str(folder))
        self.throughput.go_on()
        return metrics

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        output = super().evaluation_loop(*args, **kwargs)  # leaves the model without dropout
        if self.retrieval:
            output.metrics[MRR] = self._mrr()  # here, not in `evaluate`: early stopping is told what this returns
        return output

    @property
    def _start(self) -> Path:
        """Where the model is kept that the training began with."""
        return Path(self.args.output_dir) / "start"

    def kept_step(self) -> int | None:
        """The step of the best validation; 0 if none was better than that of the model at the start.

        None where no validation chooses. Early stopping doesn't count the start: a warm-up may begin below it.
        """
        metric = self.args.metric_for_best_model
        if metric is None:
            return None
        found = [record[metric] for record in self.state.log_history if record["step"] == 0 and metric in record]
        worse = np.less_equal if self.args.greater_is_better else np.greater_equal
        return 0 if found and worse(self.state.best_metric, found[0]) else self.state.best_global_step

    def best_checkpoint(self) -> str | None:
        """The folder of the model of `kept_step`, None where the last step's is kept."""
        return str(self._start) if self.kept_step() == 0 else self.state.best_model_checkpoint

    def _load_best_model(self) -> None:
        of_steps, self.state.best_model_checkpoint = self.state.best_model_checkpoint, self.best_checkpoint()
        super()._load_best_model()
        self.state.best_model_checkpoint = of_steps

    def part_of_batch(self, loss: torch.Tensor, items: torch.Tensor | int, of: torch.Tensor | None) -> torch.Tensor:
        """The mean ``loss`` over a micro-batch's items as its part of the mean over ``of`` items, if that is known."""
        if of is None:
            return loss
        return loss * (items / of) * self.accelerator.num_processes  # gradients are averaged over the processes

    def plain_model(self) -> PreTrainedModel:
        """The trained model without what others have put on it."""
        model = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        model.__dict__.pop("forward", None)
        return model

    def _mrr(self) -> float:
        """MRR@10 of the validation queries, of which each process ranks its share."""
        share = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        total = torch.tensor(sum(self.retrieval.reciprocal_ranks(self.model, share)), dtype=torch.float64)
        total = self.accelerator.reduce(total.to(self.args.device))
        return total.item() / len(self.retrieval.input_ids)


class SftTrainer(PipelineTrainer):
    """Cross-entropy, a mean over all docid tokens of an optimizer step, however many micro-batches it has."""

    loss_is_scaled_for_ga = True

    def lengths(self, dataset: datasets.Dataset) -> np.ndarray:
        """As ever; on a frozen encoder that of their docids first, since the decoder is all that learns."""
        texts = super().lengths(dataset)
        if not isinstance(self.model, FrozenEncoderT5):
            return texts
        docids = np.fromiter(map(len, self.data_collator.docids), np.int64)
        return docids[dataset.data["document"].to_numpy()] * (texts.max() + 1) + texts

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        """A mean over the micro-batch's tokens, as its part of the mean over the whole batch.

        It is the model's own loss; a step of training smooths its labels by the arguments' `label_smoothing_factor`.
        """
        labels, smoothing = inputs["labels"], self.args.label_smoothing_factor
        if smoothing and model.training:
            # Given labels, the model would compute its own loss as well.
            texts = {name: values for name, values in inputs.items() if name != "labels"}
            outputs = model(**texts, decoder_input_ids=self.model.prepare_decoder_input_ids_from_labels(labels))
            logits = outputs.logits.flatten(0, 1).float()
            loss = cross_entropy(logits, labels.flatten(), ignore_index=LABEL_PAD, label_smoothing=smoothing)
        else:
            outputs = model(**inputs)
            loss = outputs.loss
        loss = self.part_of_batch(loss, (labels != LABEL_PAD).sum(), num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As ever; and with the loss how far its labels are smoothed, where they are."""
        if "loss" in logs and self.args.label_smoothing_factor:
            logs["label_smoothing"] = self.args.label_smoothing_factor
        super().log(logs, *args, **kwargs)


def train_with_checkpoints(trainer: PipelineTrainer, checkpoints: Checkpoints) -> None:
    """Train to the end, from the newest checkpoint on if there is one."""
    newest = checkpoints.latest()
    if newest and has_ended(newest):
        trainer.state = TrainerState.load_from_json(str(newest / "trainer_state.json"))
        trainer._load_from_checkpoint(trainer.best_checkpoint() or str(newest))
        return
    if newest:
        log.info("going on from %s", newest)
        trainer.args.eval_on_start = False
    trainer.throughput.restart()
    trainer.train(resume_from_checkpoint=str(newest) if newest else None)


def finish(
    trainer: PipelineTrainer, tokenizer: PreTrainedTokenizerBase, stage: str, output: Path, checkpoints: Checkpoints
) -> dict[str, float]:
    """Write the trained model, its tokenizer and its log as one folder, then remove the checkpoints.

    The log says which step's model this is; a warning, if it is the one that the training began with.

    Returns:
        What the training took of GPUs, as `total_spent` has it, and ``kept_step`` where a validation has chosen it.
    """
    trainer.accelerator.wait_for_everyone()  # others may still read the best checkpoint
    kept = trainer.kept_step()
    if is_first_process():
        with write_whole(output) as folder:
            save(trainer.plain_model(), tokenizer, folder)
            write_training_log(trainer, stage, folder, kept)
        if kept == 0:
            log.warning(
                "%s: kept the model that it began with, since no validation was better (%s). What this stage learns "
                "doesn't help the validation queries: lower its learning rate, give it other data, or leave it out.",
                stage,
                trainer.args.metric_for_best_model.removeprefix("eval_"),
            )
        else:
            log.info("%s: kept the model of step %d", stage, trainer.state.global_step if kept is None else kept)
    checkpoints.remove()
    if process_count() > 1:
        trainer.accelerator.wait_for_everyone()
        torch.distributed.destroy_process_group()
    return total_spent(trainer.state.log_history) | ({} if kept is None else {"kept_step": kept})


def write_training_log(trainer: Trainer, stage: str, folder: Path, kept_step: int | None = None) -> None:
    """Write the Trainer's records as JSON lines: those of one step and kind on one line, with the stage's name.

    The last line has ``kept_step``, the step of the model that is kept, where a validation has chosen it.
    """
    records: dict[tuple[int, bool], dict[str, Any]] = {}
    for record in trainer.state.log_history:
        ended = "train_runtime" in record
        spent = {name: record[name] for name in SPENT if name in record}
        if ended and not spent:
            continue
        evaluation = ended or any(name.startswith("eval_") for name in record)
        line = records.setdefault((record["step"], evaluation), {"stage": stage, "step": record["step"]})
        spent = {name: line.get(name, 0) + value for name, value in spent.items()}
        line.update(spent if ended else record | spent)
    lines = list(records.values())
    if kept_step is not None:
        lines.append({"stage": stage, "step": trainer.state.global_step, "kept_step": kept_step})
    with write_whole(folder / LOG) as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in lines), encoding="utf-8")
