"""How a published checkpoint is meant: its gold docids are likely in the reading that it was trained with.

A docid's log-probability under a reading is that of all that the reading says: its tokens, a 0 before them or none, and
that it ends with an end token, or doesn't. These exclude each other, so the sums of longer and shorter readings can be
compared.

A leading 0 needs care. A decoder starts with a 0, T5 knows places only from each other, and a 0 that attends to nothing
but 0s is the same at each place: the model can't tell whether it stands before the leading 0 or behind it. Trained on
docids with one, it gives half of the probability to the 0 and half to the docid, at both places. `ALIASING` makes up
for this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import torch
from transformers import PreTrainedModel

from ddro.core.command import UserError, log
from ddro.docids.tokens import END
from ddro.models.hub import Reading, without_end
from ddro.models.t5 import pad

READINGS = [Reading(*values) for values in product((True, False), repeat=3)]
ALIASING = 2 * math.log(2)
"""What a docid with a leading 0 loses even under a model that was trained on nothing else."""

TOGETHER = 8
"""Lines that are read at a time: their logits over the whole vocabulary take 4 bytes for each token and position."""


@torch.inference_mode()
def mean_log_probabilities(
    model: PreTrainedModel, lines: Sequence[tuple[Sequence[int], Sequence[int]]], closed: bool
) -> dict[Reading, float]:
    """The mean log-probability (nats) of the lines' docids under each reading, `ALIASING` added where there is a 0.

    Args:
        model: a T5 in evaluation mode; how it scales its output is as before afterwards.
        lines: a query's tokens, and its docid as `read_docids` has it.
        closed: see `Reading.docid`.
    """
    scaled_before = model.config.scale_decoder_outputs
    totals = dict.fromkeys(READINGS, 0.0)
    for first in range(0, len(lines), TOGETHER):
        queries, docids = zip(*lines[first : first + TOGETHER], strict=True)
        tokens, mask = (tensor.to(model.device) for tensor in pad(queries))
        states = model.get_encoder()(input_ids=tokens, attention_mask=mask)
        for reading in READINGS:
            model.config.scale_decoder_outputs = reading.scaled_output
            read = [reading.docid(docid, closed) for docid in docids]
            bare, ends = [without_end(docid) for docid in read], [docid[-1] == END for docid in read]
            inputs, _ = pad([(model.config.decoder_start_token_id, *docid) for docid in bare])
            logits = model(
                encoder_outputs=states, attention_mask=mask, decoder_input_ids=inputs.to(model.device)
            ).logits
            logs = logits.float().log_softmax(-1).cpu()
            for row, (docid, end) in enumerate(zip(bare, ends, strict=True)):
                of_end = logs[row, len(docid), END].double()
                if not end:
                    of_end = torch.log1p(-of_end.exp().clamp(max=1 - 1e-9))
                totals[reading] += float(logs[row, range(len(docid)), docid].double().sum() + of_end)
    model.config.scale_decoder_outputs = scaled_before
    return {reading: total / len(lines) + ALIASING * reading.leading_zero for reading, total in totals.items()}


def check_reading(means: dict[Reading, float], configured: Reading, name: str) -> None:
    """Log what each reading gives, and stop if another than the configured one is best.

    Raises:
        UserError: it says which is best and what to write.
    """
    for reading, mean in sorted(means.items(), key=lambda item: -item[1]):
        log.info("gold docids: mean log-probability %.3f with %s", mean, reading)
    best = max(means, key=means.__getitem__)
    if best != configured:
        raise UserError(
            f"{name}: gold docids have a mean log-probability of {means[configured]:.3f} as configured ({configured}), "
            f"but {means[best]:.3f} with {best}. Write that for this checkpoint in config/published.yaml; by hand, "
            "give the options of these names. --probe-lines 0 ranks without this check."
        )
