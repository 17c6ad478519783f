"""One process for each GPU: a training script starts itself again under `accelerate launch`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from ddro.core.command import number_in_environment


def use_processes(count: int) -> None:
    """Replace this process by ``count`` ones of the same command line, unless it is one of them already.

    On several machines (``srun`` starts the script once on each of them) each starts its part of ``count``. A single
    process sees a single GPU: transformers would spread over all that it sees by threads.
    """
    if "LOCAL_RANK" in os.environ:
        return
    if count > 1:
        os.execv(sys.executable, launch_command(count, sys.argv, os.environ))
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")


def launch_command(count: int, script: Sequence[str], environment: Mapping[str, str]) -> list[str]:
    """The command that runs ``script`` in ``count`` processes, of which this machine gets its part."""
    machines = int(environment.get("SLURM_STEP_NUM_NODES", 1))
    where = {"machine_rank": 0, "main_process_port": 0}  # port 0: a free one
    if machines > 1:
        where = {
            "machine_rank": environment["SLURM_NODEID"],
            "main_process_ip": environment["SLURM_LAUNCH_NODE_IPADDR"],
            "main_process_port": 20000 + int(environment["SLURM_JOB_ID"]) % 20000,
        }
    settings = {"num_processes": count, "num_machines": machines, "mixed_precision": "no", "dynamo_backend": "no"}
    options = [f"--{name}={value}" for name, value in (settings | where).items()]
    return [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", *options, *script]


def process_count() -> int:
    """How many processes train together."""
    return number_in_environment("WORLD_SIZE", 1)


def is_first_process() -> bool:
    """Whether this is the process that writes."""
    return number_in_environment("RANK", 0) == 0
