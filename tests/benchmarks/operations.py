"""Counting what a GPU would be asked to do, on any machine, and what it did, on one that has it."""

import sys
from contextlib import contextmanager

import torch
from torch.autograd import DeviceType
from torch.overrides import TorchFunctionMode
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = ("nonzero", "unique_consecutive", "masked_select")
TO_HOST = ("tolist", "item", "__bool__", "__int__", "__float__", "__index__")
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


class _ToHost(TorchFunctionMode):
    """Counts where a tensor becomes a number or a list, which goes past torch's dispatch in inference mode."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_function__(self, function, types, arguments=(), options=None):
        self.counts.waits += getattr(function, "__name__", "") in TO_HOST
        return function(*arguments, **(options or {}))


@contextmanager
def counted():
    """``with counted() as counts: ...`` counts what the block asks for, in this thread."""
    counts = Counts()
    with _ToHost(counts), counts:
        yield counts


def device_profile() -> profile:
    """A profile of a GPU's kernels, those of graphs among them."""
    return profile(activities=[ProfilerActivity.CUDA])


def device_work(done: profile) -> tuple[int, float]:
    """The kernels and copies of a profile, and the seconds that they took together; those that took most are shown."""
    print(done.key_averages().table(sort_by="cuda_time_total", row_limit=20, max_name_column_width=90), file=sys.stderr)
    events = [event for event in done.events() if event.device_type == DeviceType.CUDA]
    return len(events), sum(event.device_time_total for event in events) / 1e6
