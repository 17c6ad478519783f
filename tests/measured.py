"""What rehearsals have measured of each rule, how it grows, what it comes to at full size, and what the profile gives.

`tests/benchmarks/rehearsal.py --points` has written the points, and rehearse_rules.py those of rules that it doesn't
reach. This prints the tables of docs/cluster.md:

    python tests/measured.py
"""

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import yaml

ROOT = Path(__file__).resolve().parents[1]
PROFILE = ROOT / "workflow/profiles/slurm/config.yaml"
POINTS = ROOT / "workflow/profiles/slurm/measured.tsv"
TRAININGS = ("finetune_doc2query", "train_sft", "train_ddro")
WITH_MODEL = (*TRAININGS, "embed_documents", "generate_pseudo_queries", "retrieve", "search_dense")
WITH_MODEL += ("rank_for_negatives", "retrieve_published")
"""Rules whose model is a small one in a rehearsal: CPU seconds say nothing, and memory is that beside the model."""

WITH_JAVA = ("index_bm25", "index_collection", "index_doct5query", "filter_pseudo_queries")
WITH_JAVA += ("search_bm25", "search_collection", "search_doct5query")
JAVA_MIB = 2048 + 512
"""The heap that a rehearsal gives to Java, which fills it sooner or later, and what Java and Python take beside it."""

MOST_MIB, MOST_MIB_OF_TRAINING = 8192, 4096
"""What a job may come to at full size; a training beside its model."""

LOGIN_NODE = ("fetch_", "draw_dag", "note_versions")
"""What the jobs that run there begin with."""

REHEARSALS = [("msmarco", "paper"), ("nq", "paper")]
RULES = [("nq_ddro", "rules"), ("msmarco", "rules")]
"""Data sets and recipes of the points: of whole rehearsals, and of single rules."""


@dataclass
class Point:
    """A job of a rehearsal at a part of full size: input.size_mb, MiB of memory and CPU seconds that it took."""

    scale: float
    size_mb: float
    private_mib: float
    cpu_seconds: float


@dataclass
class Measured:
    """A job at several scales, ascending."""

    job: str
    points: list[Point]

    @property
    def rule(self) -> str:
        """The rule whose job it is."""
        return self.job.rsplit("/", 1)[-1].split(".", 1)[0]

    @property
    def most_mib(self) -> int:
        """What it may come to at full size."""
        return MOST_MIB_OF_TRAINING if self.rule in TRAININGS else MOST_MIB

    def growth(self, name: str) -> float:
        """The exponent with which a number grows with the scale, between the two largest scales."""
        small, large = self.points[-2:]
        ratio = max(getattr(large, name), 1e-9) / max(getattr(small, name), 1e-9)
        return math.log(ratio) / math.log(large.scale / small.scale)

    def at_full_size(self) -> Point:
        """Memory on the line through the two largest scales, Java's up to its heap; CPU seconds with their exponent.

        The exponent is taken to be at least 1.
        """
        small, large = self.points[-2:]
        slope = (large.private_mib - small.private_mib) / (large.scale - small.scale)
        memory = large.private_mib + max(0.0, slope) * (1 - large.scale)
        return Point(
            1.0,
            large.size_mb / large.scale,
            min(memory, JAVA_MIB) if self.rule in WITH_JAVA else memory,
            large.cpu_seconds / large.scale ** max(1.0, self.growth("cpu_seconds")),
        )


def read_points(dataset: str, recipe: str) -> list[Measured]:
    """The jobs of a data set and recipe that were measured at two scales or more, in the order of the last run."""
    jobs: dict[str, list[Point]] = {}
    with POINTS.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            local = row["job"].startswith(LOGIN_NODE)
            if (row["dataset"], row["recipe"]) == (dataset, recipe) and not local:
                numbers = (float(row[name]) for name in ("scale", "size_mb", "private_mib", "cpu_seconds"))
                jobs.setdefault(row["job"], []).append(Point(*numbers))
    ordered = {job: sorted(points, key=lambda point: point.scale) for job, points in jobs.items()}
    return [Measured(job, points) for job, points in ordered.items() if len(points) > 1]


@cache
def read_profile() -> dict:
    """The profile, parsed once."""
    return yaml.safe_load(PROFILE.read_text(encoding="utf-8"))


def given(rule: str, resource: str, size_mb: float) -> float:
    """What the profile gives a job at its first attempt: mem_mb in MB, or runtime in minutes."""
    profile = read_profile()
    expression = profile["set-resources"].get(rule, {}).get(resource, profile["default-resources"][resource])
    # Snakemake evaluates it in the same way, with more names.
    return eval(str(expression), {"input": SimpleNamespace(size_mb=size_mb), "attempt": 1})


def table(jobs: list[Measured]) -> Iterator[str]:
    """The lines of a table, in Markdown."""
    yield "| job | at | MiB | exponent | MiB at 1 | at most | CPU hours at 1 | exponent | mem_mb | minutes |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for job in jobs:
        full = job.at_full_size()
        cells = [job.job, ", ".join(f"{point.scale:.2g}" for point in job.points)]
        cells += [", ".join(f"{point.private_mib:,.0f}" for point in job.points)]
        cells += [f"{job.growth('private_mib'):.2f}", f"{full.private_mib:,.0f}", f"{job.most_mib:,}"]
        modelled = job.rule in WITH_MODEL
        cells += ["", ""] if modelled else [f"{full.cpu_seconds / 3600:.1f}", f"{job.growth('cpu_seconds'):.2f}"]
        cells += [f"{given(job.rule, name, full.size_mb):,.0f}" for name in ("mem_mb", "runtime")]
        yield f"| {' | '.join(cells)} |"


def tables() -> Iterator[str]:
    """The tables of docs/cluster.md: one of each rehearsal, and that of the single rules."""
    for run in REHEARSALS:
        yield "\n".join(table(read_points(*run)))
    yield "\n".join(table([job for run in RULES for job in read_points(*run)]))


def parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)


if __name__ == "__main__":
    parser().parse_args()
    print("\n\n".join(tables()))
