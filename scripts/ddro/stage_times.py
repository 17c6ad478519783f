"""What each stage cost: wall-clock time and peak memory, from the benchmark files that Snakemake writes.

They lie in ``benchmarks/`` of the results, each beside the outputs that it tells of: ``{dataset}/NAME.tsv``,
``{dataset}/{docid}/NAME.tsv`` and ``{dataset}/{docid}/{recipe}/NAME.tsv``; NAME is the rule, and after a dot what one
of its jobs makes. A stage that was stopped and resumed shows its last run.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ddro.command import UserError
from ddro.tables import STAGES, SYSTEMS


class Stage(NamedTuple):
    """A stage of the pipeline: the file of its time is ``depth`` folders deep and named ``name``, or ``name.*``."""

    depth: int
    name: str
    makes: tuple[str, ...] = SYSTEMS
    """The systems whose run depends on it."""
    schemes: tuple[str, ...] = ()
    """The docid schemes that need it; empty: every one."""
    optional: bool = False
    """Some data sets or recipes have another stage instead; then it isn't missing."""


class StageTime(NamedTuple):
    """The cost of one job. None: not known."""

    where: str
    name: str
    makes: tuple[str, ...]
    seconds: float | None
    peak_mib: float | None


_DATASET, _DOCID, _EXPERIMENT = 1, 2, 3
_GENERATIVE = ("sft", "ddro")
ORDER = (
    Stage(_DATASET, "fetch_awscli", optional=True),
    Stage(_DATASET, "fetch_file", optional=True),
    Stage(_DATASET, "read_msmarco", optional=True),
    Stage(_DATASET, "read_nq", optional=True),
    Stage(_DATASET, "read_folder", optional=True),
    Stage(_DATASET, "read_ir_datasets", optional=True),
    Stage(_DATASET, "sample_corpus"),
    Stage(_DATASET, "split_queries"),
    Stage(_DATASET, "embed_documents", _GENERATIVE, schemes=("pq", "rq")),
    Stage(_DATASET, "train_pq_codebook", _GENERATIVE, schemes=("pq",)),
    Stage(_DATASET, "train_rq_codebook", _GENERATIVE, schemes=("rq",)),
    Stage(_DATASET, "initialise_model", _GENERATIVE, optional=True),
    Stage(_DATASET, "fetch_model", _GENERATIVE, optional=True),
    Stage(_DOCID, "assign_docids", _GENERATIVE),
    Stage(_DATASET, "finetune_doc2query", _GENERATIVE, optional=True),
    Stage(_DATASET, "generate_pseudo_queries", _GENERATIVE, optional=True),
    Stage(_DATASET, "gather_pseudo_queries", _GENERATIVE, optional=True),
    Stage(_DATASET, "read_pseudo_queries", _GENERATIVE, optional=True),
    Stage(_DATASET, "filter_pseudo_queries", _GENERATIVE, optional=True),
    Stage(_DATASET, "describe_pseudo_queries", (), optional=True),
    Stage(_DATASET, "judge_pseudo_queries", _GENERATIVE, optional=True),
    *(Stage(_EXPERIMENT, f"build_instances.{stage}", _GENERATIVE) for stage in STAGES),
    *(Stage(_EXPERIMENT, f"train_sft.{stage}", _GENERATIVE) for stage in STAGES),
    Stage(_DATASET, "index_bm25", ("bm25", "ddro")),
    Stage(_DATASET, "search_bm25.train", ("ddro",)),
    Stage(_DATASET, "search_bm25.validation", ("ddro",)),
    Stage(_DATASET, "search_bm25.test", ("bm25",)),
    Stage(_EXPERIMENT, "mine_negatives.train", ("ddro",)),
    Stage(_EXPERIMENT, "mine_negatives.validation", ("ddro",)),
    Stage(_EXPERIMENT, "train_ddro", ("ddro",)),
    Stage(_DOCID, "build_trie", _GENERATIVE),
    Stage(_EXPERIMENT, "retrieve.sft.test", ("sft",)),
    Stage(_EXPERIMENT, "gather_run.sft.test", ("sft",)),
    Stage(_EXPERIMENT, "retrieve.ddro.test", ("ddro",)),
    Stage(_EXPERIMENT, "gather_run.ddro.test", ("ddro",)),
    *(Stage(_EXPERIMENT, f"evaluate.{system}.test", ()) for system in SYSTEMS),
    Stage(_EXPERIMENT, "compare_systems.test", ()),
    Stage(_EXPERIMENT, "plot_training", ()),
)
"""In the order of the story. Files of other names come last and count for no system."""


def stage_times(benchmarks: Path, experiment: str) -> list[StageTime]:
    """Return the stages of ``experiment`` (dataset/docid/recipe), without numbers where one has no file.

    Raises:
        UserError: what `read_benchmark` refuses.
    """
    parts = experiment.split("/")
    folders = {depth: "/".join(parts[:depth]) for depth in (_DATASET, _DOCID, _EXPERIMENT)}
    unread = {(depth, file.stem) for depth, folder in folders.items() for file in (benchmarks / folder).glob("*.tsv")}
    times = []

    def add(depth: int, name: str, makes: tuple[str, ...], known: bool = True) -> None:
        numbers = read_benchmark(benchmarks / folders[depth] / f"{name}.tsv") if known else (None, None)
        times.append(StageTime(folders[depth], name, makes, *numbers))

    for stage in ORDER:
        jobs = {(depth, name) for depth, name in unread if depth == stage.depth and _is_job_of(name, stage.name)}
        unread -= jobs
        if stage.schemes and parts[1] not in stage.schemes:
            continue
        for depth, name in sorted(jobs, key=lambda job: _natural(job[1])):
            add(depth, name, stage.makes)
        if not jobs and not stage.optional:
            add(stage.depth, stage.name, stage.makes, known=False)
    for depth, name in sorted(unread):
        add(depth, name, ())
    return times


def cost(times: Iterable[StageTime], system: str) -> tuple[float | None, float | None]:
    """Return the seconds of all stages that made ``system``, one after another, and the peak MiB of the largest.

    The seconds are None when one of them isn't known. Of jobs below half a second Snakemake may measure no memory; the
    peak is that of the others.
    """
    own = [time for time in times if system in time.makes]
    seconds = [time.seconds for time in own]
    peaks = [time.peak_mib for time in own if time.peak_mib is not None]
    return (None if not own or None in seconds else sum(seconds)), max(peaks, default=None)


def training_seconds(times: Iterable[StageTime], system: str) -> float | None:
    """Return the seconds of the SFT stages and of DDRO that made ``system``; None when one isn't known, or for none."""
    own = [time.seconds for time in times if system in time.makes and time.name.startswith(("train_sft", "train_ddro"))]
    return sum(own) if own and None not in own else None


def read_benchmark(path: Path) -> tuple[float, float | None]:
    """Return wall-clock seconds and peak resident memory in MiB (None where Snakemake wrote NA) of a benchmark file.

    Raises:
        UserError: not a table of one row with the columns ``s`` and ``max_rss``.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        (row,) = rows
        return float(row["s"]), None if row["max_rss"] in ("NA", "-") else float(row["max_rss"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}:2: expected one row with numbers in the columns s and max_rss. Without the file - is shown."
        ) from error


def _is_job_of(name: str, stage: str) -> bool:
    return name == stage or name.startswith(f"{stage}.")


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort shard 2 before shard 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in name.split(".")]
