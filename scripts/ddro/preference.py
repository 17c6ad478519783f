"""DDRO: TRL's DPOTrainer on an encoder-decoder model that generates docids.

TRL's trainer reads a model that continues a prompt. Its loss calls ``model(**batch, labels=..., fused_lm_head=True)``,
which runs ``model.base_model(**batch)`` for hidden states and scores the labels with the output head. So a batch holds
the *decoder's* sequences (start token, docid tokens) as ``input_ids``, beside the queries for the encoder, and
``base_model`` is here the pass through encoder and decoder. Loss, metrics and reference log-probabilities are TRL's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from trl import DPOTrainer

from ddro.seq2seq import pad
from ddro.training import RetrievalEvaluation


@dataclass
class PairCollator:
    """Batches preference pairs: docids for the decoder (all chosen, then all rejected), queries for the encoder.

    A feature is {"prompt_ids": the query's tokens, "chosen_ids", "rejected_ids": docid tokens} and, once TRL has
    computed them, {"ref_chosen_logps", "ref_rejected_logps"}: floats.

    Returns (n pairs, docids of at most m tokens):
        input_ids, attention_mask, completion_mask: int64 [2 n, 1 + m]; the start token is no part of the completion.
        prompt_ids, prompt_mask: int64 [n, longest query], for the encoder, once a query.
    """

    start_token: int

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        docids = [feature[name] for name in ("chosen_ids", "rejected_ids") for feature in features]
        input_ids, attention_mask = pad([[self.start_token, *docid] for docid in docids])
        completion_mask = attention_mask.clone()
        completion_mask[:, 0] = 0
        prompt_ids, prompt_mask = pad([feature["prompt_ids"] for feature in features])
        batch = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "completion_mask": completion_mask,
            "prompt_ids": prompt_ids,
            "prompt_mask": prompt_mask,
        }
        for name in ("ref_chosen_logps", "ref_rejected_logps"):
            if name in features[0]:
                batch[name] = torch.tensor([feature[name] for feature in features])
        return batch


def docid_states(
    model: PreTrainedModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    prompt_ids: torch.Tensor,
    prompt_mask: torch.Tensor,
    **_: Any,
) -> BaseModelOutput:
    """Decoder states of docids given queries: state t is what the head scores token t + 1 with.

    Each query is encoded once; its chosen and its rejected docid share the result.

    Args:
        input_ids, attention_mask: int64 [k n, 1 + m], k docids of n queries, docid j of query i in row j n + i.
        prompt_ids, prompt_mask: int64 [n, length].

    Returns:
        last_hidden_state: float [k n, 1 + m, d_model].
    """
    encoded = model.get_encoder()(input_ids=prompt_ids, attention_mask=prompt_mask).last_hidden_state
    copies = len(input_ids) // len(prompt_ids)
    states = model.get_decoder()(
        input_ids=input_ids,
        attention_mask=attention_mask,
        encoder_hidden_states=encoded.repeat(copies, 1, 1),
        encoder_attention_mask=prompt_mask.repeat(copies, 1),
        use_cache=False,
    ).last_hidden_state
    if getattr(model.config, "scale_decoder_outputs", False):
        states = states * model.config.d_model**-0.5
    return BaseModelOutput(last_hidden_state=states)


class DdroTrainer(RetrievalEvaluation, DPOTrainer):
    """TRL's DPOTrainer on pairs of docids, validated by reward accuracy and by retrieval."""

    def __init__(self, model: PreTrainedModel, *args: Any, **kwargs: Any) -> None:
        plain = type(model)

        class EncoderDecoderPolicy(plain):
            @property
            def base_model(self) -> Any:
                return lambda **batch: docid_states(self, **batch)

        model.__class__ = EncoderDecoderPolicy
        self._plain = plain
        super().__init__(model, *args, **kwargs)

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        """The pairs are tokens already."""
        return dataset

    def plain_model(self) -> PreTrainedModel:
        """The trained model as the class that it was, without what TRL put on it."""
        model = self.accelerator.unwrap_model(self.model)
        del model.forward
        model.__class__ = self._plain
        return model
