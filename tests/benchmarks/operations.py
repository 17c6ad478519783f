"""Counting what a GPU would be asked to do, on any machine."""

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = ("_local_scalar_dense", "nonzero", "unique_consecutive", "masked_select")
INDEXING = ("index", "index_put", "index_put_")


class Counts(TorchDispatchMode):
    """What was asked for.

    Attributes:
        operations: all but views, each about one kernel.
        waits: where the host needs a result, or a shape that depends on one, before it can go on: also for an index by
            a mask, and for a list of numbers.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.waits = 0

    def __torch_dispatch__(self, operation, types, arguments=(), options=None):
        name = operation.overloadpacket.__name__
        self.operations += not any(
            part.alias_info and not part.alias_info.is_write for part in operation._schema.returns
        )
        indices = arguments[1] if name in INDEXING else ()
        self.waits += name in WAITS or any(index is not None and index.dtype == torch.bool for index in indices)
        return operation(*arguments, **(options or {}))


class _Lists(TorchFunctionMode):
    """Counts `tolist`, which goes past torch's dispatch."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function, types, arguments=(), options=None):
        self.counts.waits += function is torch.Tensor.tolist
        return function(*arguments, **(options or {}))


@contextmanager
def counted():
    """``with counted() as counts: ...`` counts what the block asks for, in this thread."""
    counts = Counts()
    with _Lists(counts), counts:
        yield counts
