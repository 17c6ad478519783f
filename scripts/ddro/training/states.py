"""States of a frozen encoder, computed once for all texts that a training sees, and kept in a memory-mapped file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from transformers import PreTrainedModel

from ddro.core.command import log, progress
from ddro.core.files import write_whole
from ddro.models.frozen_encoder import FrozenEncoderT5, text_key
from ddro.models.precision import trains_in_bfloat16
from ddro.models.t5 import pad

TEXTS_AT_A_TIME = 128


def keep_states(model: PreTrainedModel, texts: Iterable[Sequence[int]], path: Path, precision: str) -> None:
    """Let the model's encoder take its states of ``texts`` (token ids) from a file, which is made if it isn't there.

    Nothing is done for a model that trains its encoder, nor on a GPU, which computes states faster than it reads them:
    then not one of ``texts`` is taken.

    They are computed in the ``precision`` of the training, one of `tables.PRECISIONS`, as those of other texts are.
    The file is float16 [tokens of all different texts, width] in NumPy's format, shorter texts first. The texts must be
    the same whenever it is used.
    """
    if not isinstance(model, FrozenEncoderT5) or torch.cuda.is_available():
        return
    different = sorted(set(map(tuple, texts)), key=lambda text: (len(text), text))
    ends = np.cumsum([len(text) for text in different])
    with PartialState(cpu=True).main_process_first():  # of several processes the first one makes the file
        if not path.exists():
            half = torch.autocast("cpu", torch.bfloat16, enabled=trains_in_bfloat16(precision))
            with write_whole(path) as temporary, half:
                _compute(model, different, temporary)
    places = {text_key(text): slice(end - len(text), end) for text, end in zip(different, ends.tolist(), strict=True)}
    model.encoder.use_kept(places, np.load(path, mmap_mode="r"))
    log.info("the states of %d texts, %d tokens, are kept", len(different), ends[-1])


def _compute(model: FrozenEncoderT5, texts: Sequence[Sequence[int]], path: Path) -> None:
    shape = (sum(map(len, texts)), model.config.d_model)
    states = np.lib.format.open_memmap(path, "w+", np.float16, shape)
    end = 0
    for first in progress(range(0, len(texts), TEXTS_AT_A_TIME), description="encode", unit="batches"):
        tokens, mask = pad(texts[first : first + TEXTS_AT_A_TIME])
        found = model.encoder.compute(tokens, mask)[mask.bool()].numpy()
        states[end : end + len(found)] = found
        end += len(found)
    states.flush()
