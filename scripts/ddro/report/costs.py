"""What each job cost, as it told itself when it ended (see `ddro.core.command.call_main`), and the sums for a system.

A job that was stopped and resumed tells of its last run only; but a training's GPU seconds and energy are those of all
its runs, from its log, which goes on where the training does.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ddro.core.command import UserError
from ddro.core.files import read_json

TRAINING = ("train_sft", "train_ddro")


class JobCost(NamedTuple):
    """The cost of one job; of a training on GPUs with their seconds, and watt hours where the driver counts them.

    ``kept_step`` is the step whose model a training ends with, where a validation has chosen it: 0 is its start.
    """

    where: str
    name: str
    seconds: float
    cpu_seconds: float
    peak_mib: float
    gpu_seconds: float | None = None
    gpu_wh: float | None = None
    kept_step: int | None = None


def read_cost(path: Path, folder: Path) -> JobCost:
    """Read the cost file of a job: ``folder``/WHERE/NAME.json, where NAME is the rule and what the job makes.

    Raises:
        UserError: the file isn't there, or it lacks a number.
    """
    try:
        return JobCost(path.parent.relative_to(folder).as_posix(), path.stem, **read_json(path))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not the cost of a job below {folder} ({error}). Delete it and rerun.") from error


def cost(costs: Iterable[JobCost]) -> tuple[float | None, float | None]:
    """Return the seconds of all these jobs, one after another, and the peak MiB of the largest; None of no job."""
    costs = list(costs)
    return _sum(costs, "seconds"), max((job.peak_mib for job in costs), default=None)


def training_cost(costs: Iterable[JobCost]) -> tuple[float | None, float | None, float | None]:
    """Return seconds, GPU seconds and watt hours of the SFT stages and of DDRO; None where a job's isn't known."""
    own = [job for job in costs if job.name.split(".")[0] in TRAINING]
    return _sum(own, "seconds"), _sum(own, "gpu_seconds"), _sum(own, "gpu_wh")


def _sum(costs: Iterable[JobCost], name: str) -> float | None:
    numbers = [getattr(job, name) for job in costs]
    return sum(numbers) if numbers and None not in numbers else None
