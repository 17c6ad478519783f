"""What each stage cost: wall-clock time and peak memory, and on GPUs their seconds and energy.

Time and memory are from the benchmark files that Snakemake writes. They lie in ``benchmarks/`` of the results, each
beside the outputs that it tells of: ``{dataset}/NAME.tsv``, ``{dataset}/{docid}/NAME.tsv`` and
``{dataset}/{docid}/{recipe}/NAME.tsv``; NAME is the rule, and after a dot what one of its jobs makes. A stage that was
stopped and resumed shows its last run there. What GPUs were taken for is from the log of the trained model, which goes
on where a training does.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ddro.core.command import UserError
from ddro.core.tables import BASELINES, QUERY_SETS, STAGES, SYSTEMS
from ddro.training.log import LOG, read_training_log


class Stage(NamedTuple):
    """A stage of the pipeline: the file of its time is ``depth`` folders deep and named ``name``, or ``name.*``."""

    depth: int
    name: str
    makes: tuple[str, ...] = SYSTEMS
    """The systems whose run depends on it."""
    schemes: tuple[str, ...] = ()
    """The docid schemes that need it; empty: every one."""
    optional: bool = False
    """Some data sets or recipes have another stage instead, or none; then it isn't missing."""
    owner: str | None = None
    """The system whose recipe it belongs to, where a recipe takes the model that another one has trained."""
    model: str | None = None
    """The folder of the model that it trains."""


class StageTime(NamedTuple):
    """The cost of one job. None: not known."""

    where: str
    name: str
    makes: tuple[str, ...]
    seconds: float | None
    peak_mib: float | None
    gpu_seconds: float | None = None
    gpu_wh: float | None = None


_DATASET, _DOCID, _EXPERIMENT = 1, 2, 3
_GENERATIVE = ("sft", "ddro")


def _sft(stage: str) -> dict[str, Any]:
    """What is common to the jobs of a stage of supervised fine-tuning; recipes may leave out all but the last."""
    return {"owner": "sft", "optional": stage != STAGES[-1]}


ORDER = (
    Stage(_DATASET, "fetch_awscli", optional=True),
    Stage(_DATASET, "fetch_file", optional=True),
    Stage(_DATASET, "read_msmarco", optional=True),
    Stage(_DATASET, "read_nq", optional=True),
    Stage(_DATASET, "read_folder", optional=True),
    Stage(_DATASET, "read_ir_datasets", optional=True),
    Stage(_DATASET, "sample_corpus"),
    Stage(_DATASET, "split_queries"),
    Stage(_DATASET, "fetch_embedding_model", _GENERATIVE, schemes=("pq", "rq"), optional=True),
    Stage(_DATASET, "embed_documents", _GENERATIVE, schemes=("pq", "rq")),
    Stage(_DATASET, "train_pq_codebook", _GENERATIVE, schemes=("pq",)),
    Stage(_DATASET, "train_rq_codebook", _GENERATIVE, schemes=("rq",)),
    Stage(_DATASET, "initialise_model", _GENERATIVE, optional=True),
    Stage(_DATASET, "fetch_model", _GENERATIVE, optional=True),
    Stage(_DOCID, "assign_docids", _GENERATIVE),
    Stage(_DATASET, "fetch_doc2query", _GENERATIVE, optional=True),
    Stage(_DATASET, "finetune_doc2query", _GENERATIVE, optional=True, model="doc2query"),
    Stage(_DATASET, "generate_pseudo_queries", _GENERATIVE, optional=True),
    Stage(_DATASET, "gather_pseudo_queries", _GENERATIVE, optional=True),
    Stage(_DATASET, "read_pseudo_queries", _GENERATIVE, optional=True),
    Stage(_DATASET, "filter_pseudo_queries", _GENERATIVE, optional=True),
    Stage(_DATASET, "describe_pseudo_queries", (), optional=True),
    Stage(_DATASET, "make_training_queries", _GENERATIVE, optional=True),
    *(Stage(_EXPERIMENT, f"build_instances.{stage}", _GENERATIVE, **_sft(stage)) for stage in STAGES),
    *(Stage(_EXPERIMENT, f"train_sft.{stage}", _GENERATIVE, **_sft(stage), model=f"sft/{stage}") for stage in STAGES),
    Stage(_DATASET, "index_bm25", ("bm25", "ddro")),
    Stage(_DATASET, "make_document_queries", ("ddro",), optional=True),
    Stage(_DATASET, "search_bm25.train", ("ddro",), optional=True),
    Stage(_DATASET, "search_bm25.documents", ("ddro",), optional=True),
    Stage(_DATASET, "search_bm25.validation", ("ddro",), optional=True),
    Stage(_DATASET, "index_collection", ("ddro",), optional=True),
    *(Stage(_DATASET, f"search_collection.{name}", ("ddro",), optional=True) for name in QUERY_SETS),
    Stage(_DATASET, "search_bm25.test", ("bm25",)),
    Stage(_EXPERIMENT, "rank_for_negatives", ("ddro",), owner="ddro", optional=True),
    Stage(_EXPERIMENT, "mine_negatives.train", ("ddro",), owner="ddro", optional=True),
    Stage(_EXPERIMENT, "mine_negatives.documents", ("ddro",), owner="ddro", optional=True),
    Stage(_EXPERIMENT, "mine_negatives.validation", ("ddro",), owner="ddro"),
    Stage(_EXPERIMENT, "train_ddro", ("ddro",), owner="ddro", model="ddro"),
    Stage(_DOCID, "build_trie", _GENERATIVE),
    Stage(_EXPERIMENT, "retrieve.sft.test", ("sft",)),
    Stage(_EXPERIMENT, "gather_run.sft.test", ("sft",)),
    Stage(_EXPERIMENT, "retrieve.ddro.test", ("ddro",)),
    Stage(_EXPERIMENT, "gather_run.ddro.test", ("ddro",)),
    Stage(_DATASET, "index_doct5query", ("doct5query",), optional=True),
    Stage(_DATASET, "search_doct5query.test", ("doct5query",), optional=True),
    Stage(_DATASET, "search_dense.test", ("dense",), optional=True),
    *(Stage(_EXPERIMENT, f"evaluate.{system}.test", (), optional=system in BASELINES) for system in SYSTEMS),
    Stage(_EXPERIMENT, "compare_systems.test", ()),
    Stage(_EXPERIMENT, "plot_training", ()),
)
"""In the order of the story. Files of other names come last and count for no system."""


def stage_times(results: Path, experiment: str, makers: Mapping[str, str] | None = None) -> list[StageTime]:
    """Return the stages of ``experiment`` (dataset/docid/recipe), without numbers where one has no file.

    Args:
        results: the folder that all stages write to.
        makers: system -> the recipe that has trained its model, where it isn't the experiment's own.

    Raises:
        UserError: what `read_benchmark` or `read_training_log` refuses.
    """
    dataset, docid, recipe = experiment.split("/")
    benchmarks = results / "benchmarks"
    folders = {_DATASET: dataset, _DOCID: f"{dataset}/{docid}", _EXPERIMENT: experiment}
    unread = {(folder, file.stem) for folder in folders.values() for file in (benchmarks / folder).glob("*.tsv")}
    times = []

    def add(folder: str, name: str, stage: Stage | None = None, known: bool = True) -> None:
        numbers = read_benchmark(benchmarks / folder / f"{name}.tsv") if known else (None, None)
        gpu = gpu_cost(results / folder / stage.model / LOG) if known and stage and stage.model else (None, None)
        times.append(StageTime(folder, name, stage.makes if stage else (), *numbers, *gpu))

    for stage in ORDER:
        folder = folders[stage.depth]
        if stage.owner in (makers or {}):
            folder = f"{folders[_DOCID]}/{makers[stage.owner]}"
        files = [file for file in (benchmarks / folder).glob("*.tsv") if _is_job_of(file.stem, stage.name)]
        unread -= {(folder, file.stem) for file in files}
        jobs = _newest_shards(files)
        if stage.schemes and docid not in stage.schemes:
            continue
        for name in sorted(jobs, key=_natural):
            add(folder, name, stage)
        if not jobs and not stage.optional:
            add(folder, stage.name, stage, known=False)
    for folder, name in sorted(unread):
        add(folder, name)
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


def training_cost(times: Iterable[StageTime], system: str) -> tuple[float | None, float | None, float | None]:
    """Return seconds, GPU seconds and watt hours of the SFT stages and of DDRO that made ``system``.

    Each is None when that of one stage isn't known, or there is none.
    """
    own = [time for time in times if system in time.makes and time.name.startswith(("train_sft", "train_ddro"))]
    columns = list(zip(*((time.seconds, time.gpu_seconds, time.gpu_wh) for time in own), strict=True)) or [()] * 3
    return tuple(sum(column) if column and None not in column else None for column in columns)


def gpu_cost(log: Path) -> tuple[float | None, float | None]:
    """Return the GPU seconds and the watt hours that a training has logged, each None where it has not."""
    if not log.is_file():
        return None, None
    records = read_training_log(log)
    logged = ([record[name] for record in records if name in record] for name in ("gpu_seconds", "gpu_wh"))
    seconds, watt_hours = (sum(values) if values else None for values in logged)
    return seconds, watt_hours


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


def _newest_shards(files: Iterable[Path]) -> list[str]:
    """The jobs of a stage; of shards those of the newest number, since files of another number stay where they are."""
    by_number: dict[str, list[Path]] = {}
    for file in files:
        by_number.setdefault(file.stem.rpartition("-of-")[2] if "-of-" in file.stem else "", []).append(file)
    newest = max(by_number.values(), key=lambda shards: max(file.stat().st_mtime_ns for file in shards), default=[])
    return [file.stem for file in newest]


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort shard 2 before shard 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in name.split(".")]
