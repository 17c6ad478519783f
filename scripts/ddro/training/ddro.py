"""The preference loss of DDRO, by TRL's DPOTrainer, on an encoder-decoder model that writes docids.

For a query q, its relevant docid d+ and a docid d- that isn't relevant, the loss of the DDRO paper (docs/method.md) is

    L = -log sigmoid( beta * [ log pi(d+|q) - log pi_ref(d+|q) ] - beta * [ log pi(d-|q) - log pi_ref(d-|q) ] )

with pi the model, pi_ref the model as SFT left it, and log pi(d|q) the sum of the log-probabilities of the docid's
tokens: DPO's loss (Rafailov et al. 2023, equation 7) with docids for answers.

What TRL does of it: ``DPOTrainer._compute_loss`` asks the model for the log-probability of each label, adds them up for
each docid, takes the reference's sums from the batch (``ref_chosen_logps``, ``ref_rejected_logps``), and computes the
line above for each pair, or another loss by its name (``loss_type``). It also logs rewards, margins and accuracies.

What is ours, since TRL knows only models that continue a prompt:

* `GroupCollator`: a batch holds each query and each docid once, and says which of them make a pair.
* `score_docids` stands in for the model's ``forward`` when TRL calls it with ``fused_lm_head=True``: it encodes the
  queries, decodes the docids, and gives TRL their log-probabilities. (TRL has put a forward for decoder-only models
  there, which goes; any other call is answered by the class's own.)
* `DdroTrainer` replaces of DPOTrainer ``_prepare_dataset``, since pairs are tokens already; ``_precompute_ref_logps``,
  since the model must score docids first (`_with_reference` does it, and keeps the numbers on disk); ``compute_loss``
  and ``_get_num_items_in_batch``, so that the loss is a mean over the pairs of an optimizer step, however many
  micro-batches it has (``loss_is_scaled_for_ga`` tells the Trainer so); and with several processes ``gather``, as
  groups may be unequal.
* `PipelineTrainer` stands between: how batches are drawn, validated, kept and logged, as in SFT.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MethodType
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate.utils import gather_object
from transformers import PreTrainedModel
from trl import DPOTrainer
from trl.trainer.utils import FusedCausalLMOutput

from ddro.core.command import progress
from ddro.core.files import write_whole
from ddro.models.t5 import pad
from ddro.training.batches import LABEL_PAD
from ddro.training.compiled import plainly_if_alone
from ddro.training.processes import is_first_process
from ddro.training.trainer import PipelineTrainer

REFERENCE = ("ref_chosen", "ref_rejected")
LOG_PROBABILITIES = (pa.float64(), pa.list_(pa.float64()))
ROWS_AT_A_TIME = 16  # of logits, for what is only logged


@dataclass
class GroupCollator:
    """Batches preference pairs: each query once, its relevant docid once, and its rejected docids.

    Lengths are those of the longest of the batch, or a ``multiple``.

    A feature is {"prompt_ids": the query's tokens, "chosen": a row of ``docids``, "rejected": several rows} and, once
    they are computed, {"ref_chosen": float, "ref_rejected": floats}.

    Returns (q queries, n pairs, u = q + n docids of at most m tokens):
        input_ids, attention_mask, completion_mask: int64 [2 n, 1 + m] as TRL wants them, all chosen docids before all
            rejected ones, each behind the start token, which is no part of the completion.
        prompt_ids, prompt_mask: int64 [q, longest query].
        docid_row: int64 [u], where each docid that is scored stands first in ``input_ids``.
        docid_query: int64 [u], its query.
        scored: int64 [2 n], which of the u docids each row of ``input_ids`` is.
        ref_chosen_logps, ref_rejected_logps: float [n], where there are any.
    """

    start_token: int
    docids: Sequence[Sequence[int]]
    multiple: int = 1

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        counts = torch.tensor([len(feature["rejected"]) for feature in features])
        queries, pairs = len(features), int(counts.sum())
        of_pair = torch.repeat_interleave(counts)
        rejected = [row for feature in features for row in feature["rejected"]]
        rows = [features[query]["chosen"] for query in of_pair] + rejected
        docids = [[self.start_token, *self.docids[row]] for row in rows]
        input_ids, attention_mask = pad(docids, multiple=self.multiple)
        completion_mask = attention_mask.clone()
        completion_mask[:, 0] = 0
        prompt_ids, prompt_mask = pad([feature["prompt_ids"] for feature in features], multiple=self.multiple)
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "completion_mask": completion_mask,
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
            "docid_row": torch.cat([counts.cumsum(0) - counts, torch.arange(pairs, 2 * pairs)]),
            "docid_query": torch.cat([torch.arange(queries), of_pair]),
            "scored": torch.cat([of_pair, torch.arange(queries, queries + pairs)]),
        }
        if "ref_chosen" in features[0]:
            chosen = torch.tensor([feature["ref_chosen"] for feature in features])
            batch["ref_chosen_logps"] = chosen[of_pair]
            batch["ref_rejected_logps"] = torch.tensor([value for row in features for value in row["ref_rejected"]])
        return batch


def score_docids(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    labels: torch.Tensor,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    docid_row: torch.Tensor,
    docid_query: torch.Tensor,
    scored: torch.Tensor,
    **_: Any,
) -> FusedCausalLMOutput:
    """What TRL asks of a model, for a batch of `GroupCollator`: each query encoded once, each docid decoded once.

    Args:
        input_ids: int64 [2 n, 1 + m].
        labels: the same, -100 for the start token and for padding.

    Returns:
        log_probs, entropy, mean_logits, is_top1: [2 n, m], of each docid token given those before it and the query; 0
        where there is no token. Only log_probs has a gradient.
    """
    encoded = model.get_encoder()(input_ids=prompt_ids, attention_mask=prompt_mask).last_hidden_state
    labels = labels[docid_row, 1:]
    there = labels != LABEL_PAD
    whole = torch.compiler.is_compiling()  # a shape that the host must wait for would break the graph
    states = model.get_decoder()(
        input_ids=input_ids[docid_row, :-1],
        attention_mask=there,  # of the token before: the last one of a docid is no input, and nothing follows padding
        encoder_hidden_states=encoded.index_select(0, docid_query),  # its gradient adds in a fixed order
        encoder_attention_mask=prompt_mask[docid_query],
        use_cache=False,
    ).last_hidden_state
    states = states.flatten(0, 1) if whole else states[there]
    targets = labels.flatten().clamp(min=0) if whole else labels[there]
    if getattr(model.config, "scale_decoder_outputs", False):
        states = states * model.config.d_model**-0.5
    logits = model.get_output_embeddings()(states)
    all_log_probs = logits.float().log_softmax(-1)
    log_probs = all_log_probs.gather(-1, targets[:, None])[:, 0]

    with torch.no_grad():
        at_a_time = len(all_log_probs) if whole else ROWS_AT_A_TIME
        entropy = torch.cat([-(rows.exp() * rows).sum(-1) for rows in all_log_probs.split(at_a_time)])
        mean_logits = logits.float().mean(-1)
        is_top1 = log_probs == all_log_probs.amax(-1)

    def spread(values: torch.Tensor) -> torch.Tensor:
        """One value a token, as rows: each docid's wherever TRL wants it."""
        if whole:
            return values.view(there.shape).masked_fill(~there, 0).index_select(0, scored)
        return values.new_zeros(there.shape).masked_scatter(there, values).index_select(0, scored)

    return FusedCausalLMOutput(
        log_probs=spread(log_probs),
        entropy=spread(entropy),
        mean_logits=spread(mean_logits),
        is_top1=spread(is_top1),
    )


def gather_unequal(values: torch.Tensor) -> torch.Tensor:
    """The values of all processes, which may have different numbers of them: one dimension."""
    return torch.tensor(gather_object(values.reshape(-1).tolist()), dtype=values.dtype, device=values.device)


class DdroTrainer(PipelineTrainer, DPOTrainer):
    """TRL's DPOTrainer on groups of pairs, validated by reward accuracy and by retrieval.

    The reference is the model as it comes; its log-probabilities are computed once, for what training will see, and
    kept in ``cache``. `DPOConfig` must have ``precompute_ref_log_probs``. The loss is a mean over all pairs of an
    optimizer step, however many micro-batches it has.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, model: PreTrainedModel, *args: Any, cache: Path, **kwargs: Any) -> None:
        super().__init__(model, *args, **kwargs)
        if self.accelerator.num_processes > 1:  # TRL gathers what it logs of each pair; groups needn't be equal
            self.accelerator.gather = gather_unequal
        plain = type(model).forward

        def forward(self: PreTrainedModel, *args: Any, fused_lm_head: bool = False, **batch: Any) -> Any:
            return score_docids(self, **batch) if fused_lm_head else plain(self, *args, **batch)

        model.forward = MethodType(forward, model)
        self.train_dataset = self._with_reference(self.train_dataset, self._used(), cache / "reference_train.parquet")
        everything = range(len(self.eval_dataset))
        self.eval_dataset = self._with_reference(self.eval_dataset, everything, cache / "reference_eval.parquet")

    def _get_num_items_in_batch(
        self, batch_samples: list[dict[str, torch.Tensor]], device: torch.device
    ) -> torch.Tensor:
        """The pairs of an optimizer step, over all its micro-batches and processes."""
        pairs = sum(len(batch["input_ids"]) // 2 for batch in batch_samples)
        return self.accelerator.gather(torch.tensor([pairs], device=device)).sum()

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """TRL's loss, a mean over the micro-batch's pairs, as its part of the mean over the whole batch."""
        loss = super().compute_loss(model, inputs)
        return self.part_of_batch(loss, len(inputs["input_ids"]) // 2, num_items_in_batch)

    def _prepare_dataset(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:
        """The pairs are tokens already."""
        return dataset

    def _precompute_ref_logps(self, dataset: datasets.Dataset, *_: Any, **__: Any) -> datasets.Dataset:
        """Put off until the model scores docids."""
        return dataset

    def _used(self) -> Sequence[int]:
        """The groups that training will see: all of them, or in less than an epoch the first of its order."""
        order = self._get_train_sampler()
        if self.args.num_train_epochs >= 1:
            return range(len(order))
        steps = math.ceil(self.args.num_train_epochs * math.ceil(len(order) / order.batch_size))
        return sorted(list(order)[: steps * order.batch_size])

    def _with_reference(self, dataset: datasets.Dataset, used: Sequence[int], cache: Path) -> datasets.Dataset:
        """Add the reference's log-probabilities; groups that aren't used get a value that would end the training."""
        if not cache.exists():
            found = gather_object([self._reference(dataset, used[self.args.process_index :: self.args.world_size])])
            if is_first_process():
                with write_whole(cache) as temporary:
                    pq.write_table(pa.concat_tables(found), temporary)
            self.accelerator.wait_for_everyone()
        found = pq.read_table(cache).combine_chunks()
        row_of = np.full(len(dataset), len(found), np.int32)
        row_of[found["group"].to_numpy()] = np.arange(len(found), dtype=np.int32)
        table = dataset.data.table
        for name, unknown in zip(REFERENCE, (math.nan, [math.nan]), strict=True):
            values = found[name].combine_chunks()
            values = pa.concat_arrays([values, pa.array([unknown], values.type)])
            table = table.append_column(name, values.take(pa.array(row_of)))
        return datasets.Dataset(datasets.table.InMemoryTable(table))

    def _reference(self, dataset: datasets.Dataset, groups: Sequence[int]) -> pa.Table:
        """Groups, the log-probability of their chosen docids, and those of their rejected ones.

        Groups of like length are together.
        """
        training = self.model.training
        self.model.eval()
        groups = np.asarray(groups, np.int64)
        groups = groups[np.argsort(dataset.data["length"].to_numpy()[groups], kind="stable")]
        size = self.args.per_device_train_batch_size
        found = {name: [pa.array([], kind)] for name, kind in zip(REFERENCE, LOG_PROBABILITIES, strict=True)}
        for first in progress(range(0, len(groups), size), description="reference", unit="batches"):
            features = [dataset[group] for group in groups[first : first + size].tolist()]
            batch = self._prepare_inputs(self.data_collator(features))
            with plainly_if_alone(len(features), size):
                log_probabilities = self.compute_ref_log_probs(self.model, batch)
            chosen, rejected = (values.double().cpu().numpy() for values in log_probabilities)
            starts = np.cumsum([0, *(len(feature["rejected"]) for feature in features)], dtype=np.int32)
            found["ref_chosen"].append(pa.array(chosen[starts[:-1]]))
            found["ref_rejected"].append(pa.ListArray.from_arrays(starts, rejected))
        self.model.train(training)
        return pa.table({"group": groups} | {name: pa.concat_arrays(parts) for name, parts in found.items()})

    def count(self, inputs: dict[str, torch.Tensor]) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Pairs, and the tokens of the queries and of the docids that are scored."""
        return len(inputs["input_ids"]) // 2, inputs["prompt_mask"], inputs["completion_mask"][inputs["docid_row"], 1:]
