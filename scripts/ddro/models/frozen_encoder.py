"""An encoder-decoder on a pretrained encoder that is never trained: above its states, a T5 decoder of docids alone.

The encoder has its own tokenizer and reads texts; the decoder's vocabulary is padding (also its start token), the end
token, and docid tokens. Since the states of a text never change, those of training texts can be computed once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.t5.modeling_t5 import T5LayerNorm, T5Stack

from ddro.core.command import UserError
from ddro.models.frozen_config import FrozenEncoderConfig, register_config

SPECIAL_TOKENS = 2  # of the decoder: padding 0, end 1


class FrozenEncoder(nn.Module):
    """A pretrained encoder without gradient or dropout; its states are scaled to length as those of a T5's encoder.

    States are rounded to float16 before they are scaled, so that it is all the same whether they were kept.
    """

    main_input_name = "input_ids"

    def __init__(self, config: FrozenEncoderConfig) -> None:
        super().__init__()
        self.pretrained = AutoModel.from_config(AutoConfig.for_model(**config.encoder))
        self.final_layer_norm = T5LayerNorm(config.d_model, eps=config.layer_norm_epsilon)
        self._places: dict[bytes, slice] = {}
        self._kept: np.ndarray | None = None
        self.freeze()

    def freeze(self) -> None:
        """Take the pretrained weights out of what is trained."""
        self.pretrained.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenEncoder:
        super().train(mode)
        self.pretrained.eval()
        return self

    def use_kept(self, places: Mapping[bytes, slice], states: np.ndarray) -> None:
        """Take states from ``states``, float16 [tokens, width], where the text is in ``places`` (see `text_key`)."""
        self._places, self._kept = dict(places), states

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any) -> BaseModelOutput:
        """States of texts that are padded on the right: float [texts, length, width]."""
        states = self.kept_states(input_ids, attention_mask)
        if states is None:
            states = self.compute(input_ids, attention_mask)
        return BaseModelOutput(last_hidden_state=self.final_layer_norm(states.to(self.final_layer_norm.weight.dtype)))

    @torch.no_grad()
    def compute(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The pretrained encoder's own states, computed in what autocast says: float16 [texts, length, width].

        Raises:
            UserError: there are more tokens than it can read.
        """
        most = getattr(self.pretrained.config, "max_position_embeddings", input_ids.shape[1])
        if input_ids.shape[1] > most:
            raise UserError(
                f"a text of {input_ids.shape[1]} tokens, but the encoder reads at most {most}. Lower passage_tokens, "
                "query_tokens or max_query_tokens in the recipe."
            )
        return self.pretrained(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state.half()

    def kept_states(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor | None:
        """The kept states of these texts, float16 [texts, length, width]; None unless all of them are kept."""
        lengths = attention_mask.sum(1).tolist()
        texts = (row[:length] for row, length in zip(input_ids.cpu().numpy(), lengths, strict=True))
        places = [self._places.get(text_key(text)) for text in texts] if self._places else [None]
        if None in places:
            return None
        states = np.zeros((*input_ids.shape, self._kept.shape[1]), np.float16)
        for row, length, place in zip(states, lengths, places, strict=True):
            row[:length] = self._kept[place]
        return torch.from_numpy(states).to(input_ids.device)


def text_key(tokens: np.ndarray | list[int]) -> bytes:
    """What a text is looked up by among those whose states are kept."""
    return np.asarray(tokens, np.int32).tobytes()


class FrozenEncoderT5(T5ForConditionalGeneration):
    """A T5 whose encoder is a `FrozenEncoder`. Its input and output embeddings are those of docid tokens."""

    config_class = FrozenEncoderConfig
    _tied_weights_keys = {"decoder.embed_tokens.weight": "shared.weight", "lm_head.weight": "shared.weight"}  # noqa: RUF012

    def __init__(self, config: FrozenEncoderConfig) -> None:
        super(T5ForConditionalGeneration, self).__init__(config)  # T5's own would make an encoder
        self.model_dim = config.d_model
        self.shared = nn.Embedding(config.vocab_size, config.d_model)
        self.encoder = FrozenEncoder(config)
        settings = config.to_dict() | {"num_layers": config.num_decoder_layers, "is_decoder": True}
        self.decoder = T5Stack(T5Config(**settings))
        self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        self.post_init()

    def set_input_embeddings(self, new_embeddings: nn.Embedding) -> None:
        self.shared = new_embeddings
        self.decoder.set_input_embeddings(new_embeddings)


register_config()
AutoModelForSeq2SeqLM.register(FrozenEncoderConfig, FrozenEncoderT5)


def initialise_decoder(
    encoder: Path | str,
    *,
    d_kv: int,
    d_ff: int,
    decoder_layers: int,
    heads: int,
    embedding_std: float,
    seed: int,
) -> tuple[FrozenEncoderT5, PreTrainedTokenizerBase]:
    """A model on the pretrained encoder of a folder, with a decoder of random weights from ``seed`` and a tied head.

    The decoder is as wide as the encoder, and knows no docid token yet. What ends a text is the tokenizer's end token,
    also where it is called a separator.
    """
    pretrained = AutoModel.from_pretrained(encoder, use_safetensors=True, local_files_only=True, dtype=torch.float32)
    torch.manual_seed(seed)
    model = FrozenEncoderT5(
        FrozenEncoderConfig(
            encoder={key: value for key, value in pretrained.config.to_dict().items() if key != "_name_or_path"},
            vocab_size=SPECIAL_TOKENS,
            d_model=pretrained.config.hidden_size,
            d_kv=d_kv,
            d_ff=d_ff,
            num_layers=0,
            num_decoder_layers=decoder_layers,
            num_heads=heads,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    model.encoder.pretrained.load_state_dict(pretrained.state_dict())
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(embedding_std)
    tokenizer = AutoTokenizer.from_pretrained(encoder, local_files_only=True)
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.sep_token
    return model, tokenizer
