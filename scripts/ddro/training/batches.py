"""Training batches: instances of like length together, whatever number of devices shares them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import torch
from accelerate import PartialState
from torch.utils.data import Sampler

from ddro.core.command import UserError
from ddro.core.files import write_whole
from ddro.models.t5 import pad
from ddro.models.tokenizer import TOKENS

LABEL_PAD = -100


@dataclass
class InstanceCollator:
    """Pads instances to the longest of the batch, or a ``multiple``, and looks up the docid that each should give.

    A feature is {"input_ids": token ids, "document": row of ``docids``}. Labels are padded with -100, which the loss
    ignores.
    """

    docids: Sequence[Sequence[int]]
    multiple: int = 1

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        input_ids, attention_mask = pad([feature["input_ids"] for feature in features], multiple=self.multiple)
        docids = [self.docids[feature["document"]] for feature in features]
        labels, _ = pad(docids, LABEL_PAD, multiple=self.multiple)
        return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def instance_dataset(input_ids: pa.ChunkedArray | list, documents: np.ndarray | list) -> datasets.Dataset:
    """Instances as a `datasets.Dataset` with the columns that `InstanceCollator` and length grouping read."""
    return datasets.Dataset(datasets.table.InMemoryTable(_with_length(input_ids, documents)))


def mapped_instance_dataset(parts: Iterable[tuple[pa.ChunkedArray, np.ndarray]], path: Path) -> datasets.Dataset:
    """`instance_dataset` of all ``parts`` in the file ``path``, which is made if it isn't there.

    The file is mapped, so processes on one machine share its pages, and the system may drop what isn't read now.
    """
    with PartialState(cpu=not torch.cuda.is_available()).main_process_first():
        if not path.exists():
            schema = pa.schema({"input_ids": TOKENS, "document": pa.int32(), "length": pa.int32()})
            with write_whole(path) as temporary, pa.ipc.new_stream(temporary, schema) as writer:
                for part in parts:
                    writer.write_table(_with_length(*part).cast(schema))
    return datasets.Dataset.from_file(str(path))


def _with_length(input_ids: pa.ChunkedArray | list, documents: np.ndarray | list) -> pa.Table:
    table = pa.table({"input_ids": input_ids, "document": documents})
    return table.append_column("length", pa.compute.list_value_length(table["input_ids"]))


@dataclass
class BatchesOfLikeLength(Sampler[int]):
    """Indices of a data set such that each batch holds instances of like length; the batches are in random order.

    Transformers' own ``group_by_length`` leaves the batches of each pool in the order of their lengths, which cost the
    demo's finetune stage 0.016 of validation MRR@10 against random order without grouping.

    Attributes:
        lengths: of each instance, int [instances].
        batch_size: instances of an optimizer step; a shorter batch comes last.
        seed: with the epoch, all that the order depends on.
        pool: batches whose instances are sorted together.
        epoch: number of the pass.
    """

    lengths: np.ndarray
    batch_size: int
    seed: int
    pool: int = 50
    epoch: int = 0

    def __len__(self) -> int:
        """The number of instances."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        """One pass, batch by batch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order, lengths = torch.randperm(len(self), generator=generator).numpy(), np.asarray(self.lengths)
        for first in range(0, len(order), self.pool * self.batch_size):
            chunk = order[first : first + self.pool * self.batch_size]
            chunk[:] = chunk[np.argsort(lengths[chunk], kind="stable")]
        whole = len(order) // self.batch_size
        for batch in torch.randperm(whole, generator=generator).tolist():
            yield from order[batch * self.batch_size : (batch + 1) * self.batch_size].tolist()
        yield from order[whole * self.batch_size :].tolist()


def share_of_device(batch_size: int, processes: int, most: int, unit: int = 1) -> tuple[int, int]:
    """How many of a batch each process takes at a time, and how many times: (micro-batch, accumulation steps).

    Args:
        batch_size: of an optimizer step.
        processes: that share it.
        most: the largest micro-batch; 0 for no limit.
        unit: how many of the recipe's batch one of these is.

    Raises:
        UserError: the processes can't have equal shares.
    """
    share, rest = divmod(batch_size, processes)
    if rest or not share:
        raise UserError(
            f"a batch of {batch_size * unit}{f' in groups of {unit}' if unit > 1 else ''} has no equal shares for "
            f"{processes} GPUs: ask for fewer (rule's gpu)."
        )
    steps = next(steps for steps in range(1, share + 1) if share % steps == 0 and (not most or share // steps <= most))
    return share // steps, steps
