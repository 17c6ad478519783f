"""T5 models: made from nothing, loaded with their tokenizers, extended by docid tokens, saved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers import AddedToken
from torch import nn
from transformers import (
    AutoModelForSeq2SeqLM,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.utils import logging as transformers_logging

from ddro.core.command import UserError, log
from ddro.core.files import write_whole
from ddro.docids.tokens import docid_token
from ddro.models.frozen_encoder import SPECIAL_TOKENS, FrozenEncoderT5
from ddro.models.tokenizer import load_tokenizer


def be_quiet() -> None:
    """Leave progress and warnings of the libraries to our own log."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()


def initialise_t5(
    vocabulary_size: int,
    *,
    d_model: int,
    d_kv: int,
    d_ff: int,
    layers: int,
    decoder_layers: int,
    heads: int,
    embedding_std: float = 1.0,
    seed: int,
) -> T5ForConditionalGeneration:
    """A T5 with random weights from ``seed`` and a tied output head.

    With no encoder ``layers`` the decoder attends to the (normalised) embeddings of the words themselves.
    T5 draws all weights but those of the embeddings small, and these with a standard deviation of 1, which hides what
    the decoder reads of the query for a long time; a smaller ``embedding_std`` is learned from sooner.
    """
    torch.manual_seed(seed)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=vocabulary_size,
            d_model=d_model,
            d_kv=d_kv,
            d_ff=d_ff,
            num_layers=layers,
            num_decoder_layers=decoder_layers,
            num_heads=heads,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
        )
    )
    with torch.no_grad():
        model.get_input_embeddings().weight.mul_(embedding_std)
    return model


def load(folder: Path | str, **settings: object) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a saved folder, safetensors only, no network, no remote code.

    ``settings`` override the folder's config (``dropout_rate`` for one).

    Raises:
        UserError: the folder isn't a saved sequence-to-sequence model.
    """
    try:
        model = AutoModelForSeq2SeqLM.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=torch.float32, **settings
        )
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{folder}: not a saved encoder-decoder model ({error}). Delete it and rerun.") from error
    note_whether_tied(model)
    if isinstance(model, FrozenEncoderT5):
        model.encoder.freeze()
    return model, tokenizer


def note_whether_tied(model: PreTrainedModel) -> None:
    """Put into the config what the weights say: transformers 5 calls every loaded T5 tied."""
    model.config.tie_word_embeddings = model.get_output_embeddings().weight is model.get_input_embeddings().weight


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Write model and tokenizer into ``folder``, which plain `transformers` can load; `load`, if it's no T5."""
    model.generation_config = GenerationConfig(
        decoder_start_token_id=model.config.decoder_start_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_whole(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """`save`, with a folder that appears only when all of it is there."""
    with write_whole(folder) as temporary:
        save(model, tokenizer, temporary)


def extend_vocabulary(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    size: int,
    *,
    tied_head: bool,
    seed: int,
    head: str = "copied",
) -> None:
    """Extend model and tokenizer in place to ``size`` tokens, so that every id below ``size`` is a token and a string.

    New tokens are called ``<docid_0>``, ``<docid_1>``, ... from the model's vocabulary size on; ids between the
    tokenizer's size and the model's (T5 has 28) become ``<unused_i>``. The rows of new tokens are drawn from ``seed``
    with the spread of the rows that are there. The tokenizer of a frozen encoder stays as it is: docid tokens are no
    words to it.

    Where the head is to be untied, a ``copied`` one starts as the head that it was: T5 scales a tied head's input by
    d_model^-0.5, and now the factor is in its weights. A ``new_scaled`` one is a new random linear layer, all of it
    drawn from ``seed``, and its input is still scaled.

    Raises:
        UserError: the vocabulary was extended before, for fewer docid tokens.
    """
    base = model.config.vocab_size
    frozen = isinstance(model, FrozenEncoderT5)
    extended = base > SPECIAL_TOKENS if frozen else docid_token(0) in tokenizer.get_vocab()
    if size > base and extended:
        raise UserError(
            f"docid token {size - 1} is beyond the model's vocabulary ({base} tokens): the model was trained on other "
            "docids. Train it anew, from the first stage on."
        )
    if not frozen:
        _add_tokens(tokenizer, (f"<unused_{i}>" for i in range(base - len(tokenizer))))
    untied = not tied_head and model.config.tie_word_embeddings
    if untied:
        scale = model.config.d_model**-0.5 if model.config.scale_decoder_outputs else 1.0
        model.lm_head = nn.Linear(model.config.d_model, base, bias=False)
        model.lm_head.weight = nn.Parameter(model.get_input_embeddings().weight.detach() * scale)
        model.config.tie_word_embeddings = False
        model.config.scale_decoder_outputs &= head == "new_scaled"
    if size > base:
        _add_docid_tokens(model, tokenizer, size, seed)
    if untied and head == "new_scaled":
        bound = model.config.d_model**-0.5  # as torch draws the weights of a linear layer
        generator = torch.Generator().manual_seed(seed + 1)
        nn.init.uniform_(model.get_output_embeddings().weight, -bound, bound, generator=generator)


def _add_docid_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, size: int, seed: int) -> None:
    """Extend a model and its tokenizer, which has as many tokens if it is to be extended, to ``size``."""
    base = model.config.vocab_size
    if not isinstance(model, FrozenEncoderT5):
        _add_tokens(tokenizer, map(docid_token, range(size - base)))
    model.resize_token_embeddings(size, mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    weights = [model.get_input_embeddings().weight]
    if not model.config.tie_word_embeddings:
        weights.append(model.get_output_embeddings().weight)
    with torch.no_grad():
        for weight in weights:
            weight[base:] = torch.randn(size - base, weight.shape[1], generator=generator) * weight[:base].std()
    log.info("vocabulary: %d tokens, of which %d are docid tokens", size, size - base)


def _add_tokens(tokenizer: PreTrainedTokenizerBase, names: Iterable[str]) -> None:
    """Add tokens that a text has where it has exactly their names, before any folding."""
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])


def docid_strings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, tokens: Sequence[int]) -> list[str]:
    """The names of a docid's tokens: words, or ``<docid_0>`` and so on."""
    if isinstance(model, FrozenEncoderT5):
        return [docid_token(token - SPECIAL_TOKENS) for token in tokens]
    return tokenizer.convert_ids_to_tokens(list(tokens))


def padded_length(length: int, multiple: int) -> int:
    """The next ``multiple`` from ``length`` on."""
    return -(-length // multiple) * multiple


def pad(sequences: Sequence[Sequence[int]], value: int = 0, *, multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-pad to the longest, or a ``multiple``: int64 [sequences, length], and the mask that is 0 for padding."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    mask = torch.arange(padded_length(int(lengths.max()), multiple)) < lengths[:, None]
    padded = torch.full(mask.shape, value, dtype=torch.long)
    padded[mask] = torch.tensor([token for sequence in sequences for token in sequence])
    return padded, mask.long()
