"""The cluster profile's memory and time, against what rehearsals have measured of each rule at three scales."""

import re
import subprocess
import sys

import pytest
import yaml

from measured import LOGIN_NODE, PROFILE, REHEARSALS, RULES, WITH_MODEL, given, read_points, tables

JOBS = {f"{run[0]}-{job.job}": job for run in (*REHEARSALS, *RULES) for job in read_points(*run)}
SETTINGS = yaml.safe_load(PROFILE.read_text())["set-resources"]
MODEL = 8000
"""MB that the profile adds for a model of real size and for CUDA, on a GPU."""


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS)
def test_what_was_measured_is_under_the_profile_and_not_far_under_it(job):
    full = job.at_full_size()
    assert full.private_mib <= job.most_mib
    model = MODEL if "gpu" in SETTINGS.get(job.rule, {}) else 0
    for point in (*job.points, full):
        memory = given(job.rule, "mem_mb", point.size_mb) - model
        assert 1.2 * point.private_mib + 300 <= memory, point  # 300: Snakemake's own process in the job
        assert memory <= max(8000, 4 * point.private_mib), point
        if job.rule not in WITH_MODEL:
            cores = SETTINGS.get(job.rule, {}).get("cpus_per_task", 1)
            # At least half of what the cores could do in that time; no more than a day, or two hours beyond need.
            minutes = given(job.rule, "runtime", point.size_mb)
            assert 2 * point.cpu_seconds <= 60 * minutes * cores, point
            assert minutes <= 1440, point


def test_each_rule_of_the_papers_experiment_was_measured(root):
    """What isn't: jobs of the login node, and rules that the recipe `paper` and the published models don't need."""
    text = "".join(path.read_text() for path in (root / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^(?:use rule \w+ as|rule) (\w+)", text, re.MULTILINE))
    login_node = {rule for rule in rules if rule.startswith(LOGIN_NODE)} | {"read_ir_datasets"}
    others = {"read_folder", "make_document_queries", "read_pseudo_queries", "make_training_queries"}
    others |= {"initialise_model", "initialise_doc2query", "initialise_decoder", "plot_ablation"}
    others |= {"evaluate_published", "compare_published", "export_docids", "export_model"}
    assert rules - login_node - {job.rule for job in JOBS.values()} == others


def test_a_formula_grows_with_the_input():
    assert given("build_instances", "mem_mb", 1000) > given("build_instances", "mem_mb", 10)
    assert given("index_collection", "runtime", 10_000) > given("index_collection", "runtime", 10)


SNAKEFILE = """
rule build_instances:
    input: "input"
    output: "output"
    shell: "echo {resources.mem_mb} {resources.runtime} > {output}"

rule make_input:
    output: "input"
    shell: "head --bytes 3000000 /dev/zero > {output}"
"""


def test_snakemake_gives_a_job_what_its_formula_says(tmp_path):
    """Also where the input isn't there yet when the run begins."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    options = ["--profile", str(PROFILE.parent), "--executor", "local", "--cores", "1", "output"]
    command = [sys.executable, "-m", "snakemake", *options, "--software-deployment-method", "env-modules"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = [given("build_instances", name, 3_000_000 / 2**20) for name in ("mem_mb", "runtime")]
    assert (tmp_path / "output").read_text().split() == [str(number) for number in expected]


def test_the_page_shows_the_tables(root):
    page = (root / "docs/cluster.md").read_text()
    for table in tables():
        assert table in page
