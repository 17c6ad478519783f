"""The configuration of a frozen encoder with a decoder of docids; apart from the model, whose import takes seconds."""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, T5Config


@strict
class FrozenEncoderConfig(T5Config):
    """A T5 decoder's configuration, and as ``encoder`` that of any encoder which `transformers` knows."""

    model_type = "frozen_encoder"

    encoder: dict | None = None


def register_config() -> None:
    """Let transformers know it, which loads a model, and a tokenizer, by the model's kind."""
    AutoConfig.register(FrozenEncoderConfig.model_type, FrozenEncoderConfig, exist_ok=True)
