"""`snakemake --profile slurm` on a real Slurm: a change, a training on two machines, and what may go wrong.

The jobs are those of the slice, the resources those of the profile; the nodes claim to have them. The slice is made on
this machine, and Slurm gets its last chapters. With WHOLE_SLICE=1 in the environment Slurm makes it from the first rule
on, which takes many minutes more: each of its jobs starts Snakemake, and half of them wait for one another.
"""

import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from project import ENVIRONMENT, EXPERIMENT, SLICE, copy_of_project, snakemake

sys.path.insert(0, str(Path(__file__).parent))
import cluster

PROFILES = ["--profile", "slurm", "--profile", "tests/system/slurm/profile"]
RUN = f"{EXPERIMENT}/runs/ddro.test/1-of-1.parquet"
MODEL = f"{EXPERIMENT}/sft/finetune"
RETRIEVE = "rule_retrieve_wildcards_awscli_pq_tiny_ddro_test_1-of-1"

WHOLE = bool(os.environ.get("WHOLE_SLICE"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400 if WHOLE else 600)]


@pytest.fixture(scope="module", autouse=True)
def running_cluster():
    try:
        cluster.require()
    except cluster.ClusterError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"SLURM NOT TESTED: {error}")
    cluster.start()
    yield
    cluster.stop()


@pytest.fixture(scope="module")
def project(request, tmp_path_factory) -> Path:
    """The finished slice."""
    if not WHOLE:
        return request.getfixturevalue("own_slice")
    folder = copy_of_project(tmp_path_factory.mktemp("whole"))
    snakemake(folder, *PROFILES, timeout=2000)
    assert all(job["JobState"] == "COMPLETED" for job in jobs())
    with_gpu = {job["Comment"].split("_wildcards")[0] for job in jobs() if "gpu" in job.get("TresPerJob", "")}
    on_gpu = (
        "embed_documents finetune_doc2query generate_pseudo_queries train_sft rank_for_negatives train_ddro retrieve"
    )
    assert with_gpu == {f"rule_{name}" for name in on_gpu.split()}
    return folder


@contextmanager
def in_background(folder: Path, *arguments: str):
    """Run Snakemake on the cluster; end it, and with it its jobs, when the test leaves."""
    command = [sys.executable, "-m", "snakemake", *arguments, *PROFILES, *SLICE]
    process = subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
        subprocess.run(["timeout", "-k", "1", "20", "scancel", "--user=root"], capture_output=True)
        snakemake(folder, "--unlock")


def jobs() -> list[dict[str, str]]:
    """All jobs that Slurm knows, the oldest first, with the fields that scontrol shows."""
    lines = cluster.call("scontrol", "--oneliner", "show", "jobs").splitlines()
    return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines if line.startswith("JobId=")]


def new_jobs(before: list[dict[str, str]]) -> list[dict[str, str]]:
    known = {job["JobId"] for job in before}
    return [job for job in jobs() if job["JobId"] not in known]


def wait_for_state(state: str, before: list[dict[str, str]]) -> dict[str, str]:
    cluster.wait_for(lambda: any(job["JobState"] == state for job in new_jobs(before)), f"a job to be {state}", 120)
    return next(job for job in new_jobs(before) if job["JobState"] == state)


def test_a_change_goes_through_the_profile(project):
    """The last chapters of the slice, with a GPU that Slurm gives; what is finished on this machine stays."""
    tiny = project / "tests/pipeline/tiny.yaml"
    tiny.write_text(tiny.read_text().replace("    ddro:\n", "    decoding:\n      beams: 12\n    ddro:\n"))
    before = jobs()
    output = snakemake(project, *PROFILES, timeout=300)

    done = {job["Comment"]: job for job in new_jobs(before)}
    assert set(done) == {
        RETRIEVE,
        RETRIEVE.replace("ddro", "sft"),
        "rule_measures_compare_systems_evaluate_gather_run",
        "rule_summarise",
        "rule_show_samples_wildcards_awscli_pq_tiny",
    }, output[-3000:]
    assert all(job["JobState"] == "COMPLETED" for job in done.values())
    assert all(job["JobName"].startswith("ddro_") for job in done.values())
    with_gpu = {name for name, job in done.items() if "gpu" in job.get("TresPerJob", "")}
    assert with_gpu == {RETRIEVE, RETRIEVE.replace("ddro", "sft")}
    asked = done[RETRIEVE]
    assert (asked["MinMemoryNode"], asked["TimeLimit"], asked["NumCPUs"]) == ("12000M", "04:00:00", "8")
    assert "Nothing to be done" in snakemake(project, "--dry-run")  # without the profile


def test_a_job_that_runs_out_of_memory_gets_more(project):
    (project / RUN).unlink(missing_ok=True)
    before = jobs()
    more = ["retrieve:mem_mb=500 * attempt ** 2", "retrieve:gpu=1"]
    snakemake(project, RUN, *PROFILES, "--set-resources", *more, timeout=300)
    first, second = new_jobs(before)
    assert (first["Comment"], first["MinMemoryNode"]) == (RETRIEVE, "500M")
    assert first["JobState"] != "COMPLETED"
    assert (second["Comment"], second["MinMemoryNode"], second["JobState"]) == (RETRIEVE, "2000M", "COMPLETED")
    assert (project / RUN).exists()


def test_a_cancelled_job_is_named_with_its_logs_and_alone_runs_again(project):
    (project / RUN).unlink(missing_ok=True)
    before = jobs()
    with in_background(project, RUN, "--retries", "0") as process:
        job = wait_for_state("RUNNING", before)
        cluster.wait_for(lambda: any((project / ".snakemake/slurm_logs").rglob(f"{job['JobId']}.log")), "its log")
        cluster.call("scancel", job["JobId"])
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Error in rule retrieve" in output
    assert f"SLURM-job '{job['JobId']}' failed, SLURM status is: 'CANCELLED'" in output
    named = re.search(rf"log: (results/logs/\S+/retrieve\.ddro\.test\.1-of-1\.log), (\S+/{job['JobId']}\.log)", output)
    assert named, output
    assert (project / named[2]).exists()
    assert not (project / RUN).exists()
    plan = snakemake(project, RUN, "--dry-run")
    assert re.search(r"^retrieve +1\ntotal +1$", plan, flags=re.MULTILINE), plan


def test_a_job_waits_for_drained_nodes(project):
    (project / RUN).unlink(missing_ok=True)
    before = jobs()
    cluster.call("scontrol", "update", "NodeName=ALL", "State=DRAIN", "Reason=test")
    try:
        with in_background(project, RUN, "--retries", "0") as process:
            job = wait_for_state("PENDING", before)
            cluster.wait_for(lambda: "DRAINED" in new_jobs(before)[0]["Reason"], "the reason that the job waits", 60)
            assert process.poll() is None
            cluster.call("scontrol", "update", "NodeName=ALL", "State=RESUME")
            output, _ = process.communicate(timeout=200)
    finally:
        if "drain" in cluster.state():
            cluster.call("scontrol", "update", "NodeName=ALL", "State=RESUME")
    assert process.returncode == 0, output
    assert [(one["JobId"], one["JobState"]) for one in new_jobs(before)] == [(job["JobId"], "COMPLETED")]


def test_without_a_controller_a_submission_fails_in_time_and_says_so(project):
    (project / RUN).unlink(missing_ok=True)
    cluster.kill("slurmctld")
    try:
        with in_background(project, RUN, "--retries", "0") as process:
            output, _ = process.communicate(timeout=120)
    finally:
        cluster.start_controller()
    assert process.returncode == 1
    assert "Unable to contact slurm controller" in output, output
    assert "Error in rule retrieve" in output, output


def test_a_training_on_two_machines(project):
    """Asked for as docs/cluster.md says: the processes find each other, and one of them writes."""
    shutil.rmtree(project / MODEL)
    before = jobs()
    resources = {"nodes": 2, "tasks": 2, "tasks_per_gpu": 0, "gpu": 2, "cpus_per_task": 8, "mem_mb": 16000}
    resources |= {"mpi": "srun", "launcher": "srun --nodes=2 --ntasks=2 --cpus-per-task=8"}
    more = [f"train_sft:{name}={value}" for name, value in resources.items()]
    snakemake(project, MODEL, *PROFILES, "--set-resources", *more, timeout=300)
    (job,) = new_jobs(before)
    assert (job["JobState"], job["NodeList"]) == ("COMPLETED", "ddro[1-2]")
    log = (project / "results/logs/awscli/pq/tiny/train_sft.finetune.log").read_text()
    assert re.findall(r" steps of (\d+) x", log) == ["2"], log
    for node in cluster.NODES:
        assert f"launch task StepId={job['JobId']}.0 " in (cluster.FOLDER / f"{node}.log").read_text()
    assert (project / MODEL / "model.safetensors").exists()
