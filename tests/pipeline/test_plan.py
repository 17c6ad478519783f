"""Dry runs: the jobs of each shipped configuration, and whether its commands are what the scripts understand."""

import importlib.util
import json
import os
import re
import resource
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from ddro.core.command import add_cost_option

ROOT = Path(__file__).resolve().parents[2]
RULE_FILES = sorted((ROOT / "workflow/rules").glob("*.smk"))
RULES = {
    name: text
    for path in RULE_FILES
    for name, text in re.findall(r"^rule (\w+):\n(.*?)(?=\n\n\n|\Z)", path.read_text(), flags=re.MULTILINE | re.DOTALL)
}
NO_NETWORK = """
import socket
def refuse(self, address):
    raise OSError(f"a dry run asked for the network: {address}")
socket.socket.connect = socket.socket.connect_ex = refuse
"""


@dataclass
class Plan:
    """What a dry run prints."""

    jobs: dict[str, int]
    commands: list[str]
    cpu_seconds: float


def snakemake(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Snakemake in the project, with no network."""
    (folder / "sitecustomize.py").write_text(NO_NETWORK)
    environment = os.environ | {"PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def dry_run(config: str, folder: Path, target: str = "all") -> Plan:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = snakemake(target, "--dry-run", "--forceall", "--configfile", config, folder=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    table = re.search(r"^job +count\n[- ]+\n(.*?)^total", output, flags=re.MULTILINE | re.DOTALL)[1]
    return Plan(
        jobs={name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)},
        commands=re.findall(r"^Shell command: (.*scripts/.*)$", output, flags=re.MULTILINE),
        cpu_seconds=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


@pytest.fixture(scope="module", params=["config", "paper"])
def plan(request, tmp_path_factory) -> tuple[str, Plan]:
    return request.param, dry_run(f"config/{request.param}.yaml", tmp_path_factory.mktemp("plan"))


@pytest.mark.timeout(120)
def test_the_jobs_of_each_configuration(plan):
    name, planned = plan
    of_an_experiment = {
        "build_instances": 3,
        "train_sft": 3,
        "mine_negatives": 2,
        "train_ddro": 1,
        "build_trie": 1,  # as assign_docids
        "retrieve": 2,
        "gather_run": 2,
        "evaluate": 5,
        "compare_systems": 1,
        "plot_training": 1,
        "show_samples": 1,
        "plot_docids": 1,
        "assign_docids": 1,  # of a docid scheme, but no two experiments share one
    }
    of_a_data_set = {
        "sample_corpus": 1,
        "split_queries": 1,
        "embed_documents": 1,
        "train_pq_codebook": 1,
        "finetune_doc2query": 1,
        "generate_pseudo_queries": 1,
        "gather_pseudo_queries": 1,
        "filter_pseudo_queries": 1,
        "describe_pseudo_queries": 1,
        "index_bm25": 1,
        "index_doct5query": 1,
        "search_doct5query": 1,
        "search_dense": 1,
    }
    if name == "config":
        data_sets, experiments = 1, 2
        others = {"fetch_awscli": 1, "initialise_decoder": 1, "initialise_doc2query": 1, "make_document_queries": 1}
        # Pretrain's instances are part of finetune, the only stage; pseudo queries are for DocT5Query alone.
        others |= {"search_bm25": 3, "rank_for_negatives": 2 * 2, "build_instances": 2 * 2, "train_sft": 1 * 2}
    else:
        data_sets, experiments = 2, 4
        others = {"fetch_file": 7, "read_msmarco": 1, "read_nq": 1, "fetch_model": 2, "fetch_embedding_model": 2}
        # Negatives of MS MARCO come from its whole collection: of its corpus only the test queries are ranked.
        others |= {"search_bm25": 1 + 3, "read_msmarco_collection": 1, "index_collection": 1, "search_collection": 2}
    assert planned.jobs == (
        {rule: count * experiments for rule, count in of_an_experiment.items()}
        | {rule: count * data_sets for rule, count in of_a_data_set.items()}
        | others
        | {"summarise": 1, "note_versions": 1, "draw_dag": 1, "all": 1}
    )
    assert len(planned.commands) == sum(planned.jobs.values()) - 1


def test_what_the_authors_code_does_is_planned(tmp_path):
    config = yaml.safe_load((ROOT / "config/paper.yaml").read_text())
    config["experiments"] = [entry | {"recipe": "authors_code"} for entry in config["experiments"]]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    plan = dry_run(str(tmp_path / "config.yaml"), tmp_path)
    assert plan.jobs["train_ddro"] == len(config["experiments"]) == 4
    assert plan.jobs["index_collection"] == 1 and "index_doct5query" not in plan.jobs
    commands = "\n".join(plan.commands)
    for options in (
        "--keep loss",
        "--rule authors --max-tokens 98",
        "--lower-case",
        "--head new_scaled",
        "--epsilon 1e-06",
    ):
        assert options in commands


def costs_of(plan: Plan) -> tuple[list[str], dict[str, dict[str, list[str]]]]:
    """The cost files that the table takes, and the jobs of each system's ranking, named as their costs."""
    (command,) = (command for command in plan.commands if "/summarise.py" in command)
    words = shlex.split(command)
    costs = words[words.index("--costs") + 1 : words.index("--costs-by-system")]
    names = [path.removeprefix("results/costs/").removesuffix(".json") for path in costs]
    by_system = json.loads(words[words.index("--costs-by-system") + 1])
    return costs, {
        name: {system: [names[number] for number in numbers] for system, numbers in systems.items()}
        for name, systems in by_system.items()
    }


def test_the_table_takes_what_each_job_cost(plan):
    name, planned = plan
    costs, by_system = costs_of(planned)
    written = {re.search(r" --cost (\S+?)\)? 2>&1", command)[1] for command in planned.commands}
    later = {f"results/costs/{rule}.json" for rule in ("summarise", "note_versions", "draw_dag")}
    assert len(costs) == len(set(costs)) and set(costs) == written - later
    assert len(by_system) == (2 if name == "config" else 4)


def test_the_jobs_that_made_a_system(plan):
    name, planned = plan
    if name != "config":
        pytest.skip("shown for the default")
    by_system = costs_of(planned)[1]["awscli/pq/demo"]
    bm25, sft, ddro = (set(by_system[system]) for system in ("bm25", "sft", "ddro"))
    read = {"awscli/fetch_awscli", "awscli/sample_corpus", "awscli/split_queries"}
    assert bm25 == read | {"awscli/index_bm25", "awscli/search_bm25.test"}
    own = {"awscli/pq/demo/retrieve.sft.test.1-of-1", "awscli/pq/demo/gather_run.sft.test"}
    assert sft - ddro == own and not any("bm25" in job or "negatives" in job for job in sft)
    assert {"awscli/train_pq_codebook", "awscli/pq/demo/train_sft.finetune"} <= sft
    assert "awscli/finetune_doc2query" in by_system["doct5query"] and "awscli/finetune_doc2query" not in sft | ddro
    assert {"awscli/index_bm25", "awscli/search_bm25.documents", "awscli/pq/demo/train_ddro"} <= ddro
    assert not any(word in job for job in sft | ddro for word in ("evaluate", "plot", "show", "describe", "filter"))


def test_a_model_that_another_recipe_has_trained_is_a_cost_of_both(tmp_path):
    costs, by_system = costs_of(dry_run("config/ablation.yaml", tmp_path))
    demo, beta = by_system["awscli/pq/demo"], by_system["awscli/pq/beta-0.4"]
    for systems in (demo, beta):
        assert [job for job in systems["ddro"] if "train_sft" in job] == ["awscli/pq/demo/train_sft.finetune"]
    assert "awscli/pq/beta-0.4/train_ddro" in beta["ddro"] and "awscli/pq/demo/train_ddro" not in beta["ddro"]


@pytest.mark.parametrize("scheme", ["rq", "tu", "atomic"])
def test_another_docid_scheme_is_one_word_of_the_configuration(scheme, tmp_path):
    config = {"experiments": [{"dataset": "awscli", "docid": scheme, "recipe": "demo"}]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    jobs = dry_run(str(tmp_path / "config.yaml"), tmp_path).jobs
    assert "train_pq_codebook" not in jobs
    assert jobs.get("train_rq_codebook", 0) == (scheme == "rq")
    assert jobs["embed_documents"] == 1  # the baseline dense ranks by these vectors, whatever the docids are
    assert jobs["assign_docids"] == jobs["plot_docids"] == jobs["train_ddro"] == 1


def test_a_published_table_takes_the_place_of_vectors_and_codebook(tmp_path):
    table = "results/msmarco/download/pq_msmarco_docids.txt"
    recipe = {"extends": "paper", "evaluation": {"baselines": ["doct5query"]}}
    recipe["overrides"] = {"msmarco/pq": {"docids": {"table": table}}}
    config = {"experiments": [{"dataset": "msmarco", "docid": "pq", "recipe": "theirs"}], "recipes": {"theirs": recipe}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    plan = dry_run(str(tmp_path / "config.yaml"), tmp_path)
    assert {"embed_documents", "train_pq_codebook"}.isdisjoint(plan.jobs)
    (command,) = [command for command in plan.commands if "/assign_docids.py" in command]
    assert f"--table {table}" in command and "--codebook" not in command
    assert any("fetch_file.py" in command and table in command for command in plan.commands)


def test_the_authors_nq_is_read_with_its_docid_table(tmp_path):
    table = "results/nq_ddro/download/pq_nq_docids.txt"
    recipe = {"extends": "authors_code", "overrides": {"nq/pq": {"docids": {"table": table}}}}
    config = {"experiments": [{"dataset": "nq_ddro", "docid": "pq", "recipe": "theirs"}], "recipes": {"theirs": recipe}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    plan = dry_run(str(tmp_path / "config.yaml"), tmp_path)
    assert (plan.jobs["read_nq_ddro"], plan.jobs["fetch_file"]) == (1, 4)
    understand([command for command in plan.commands if "nq_ddro.py" in command or table in command])


def test_a_plan_takes_less_than_ten_seconds(plan):
    assert plan[1].cpu_seconds < 10


def test_experiments_on_a_frozen_encoder_have_a_core_each(plan):
    name, planned = plan
    threads = {int(count) for command in planned.commands for count in re.findall(r"--threads (\d+)", command)}
    assert threads == ({1} if name == "config" else {min(most, os.cpu_count()) for most in (4, 8)})


def test_the_scripts_understand_their_commands(plan, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    understand(plan[1].commands)


@pytest.mark.parametrize("target", ["export", "published", "ablation"])
@pytest.mark.parametrize("config", ["config", "paper", "ablation"])
def test_the_other_targets_are_planned_and_their_commands_understood(config, target, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    plan = dry_run(f"config/{config}.yaml", tmp_path, target)
    assert plan.jobs[target] == 1
    understand(plan.commands)


def understand(commands: list[str]) -> None:
    """Let each script parse its command line."""
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)
        name, options = re.search(rf"python {ROOT}/scripts/(\w+)\.py (.*?)\)? 2>&1 \| tee ", command).groups()
        spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / f"scripts/{name}.py")
        script = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(script)
        parser = script.parser()
        add_cost_option(parser)
        assert parser.parse_args(shlex.split(options)).cost


def test_every_key_of_a_recipe_reaches_a_rule():
    text = "".join(path.read_text() for path in RULE_FILES)
    asked = re.findall(r'"([a-z][\w.{}]*)"', "".join(re.findall(r"recipe_(?:options|value)\(([^)]*)\)", text)))
    asked = {path.replace("{stage}", stage) for path in asked for stage in ("pretrain", "search_pretrain", "finetune")}
    schema = yaml.safe_load((ROOT / "workflow/schemas/recipe.schema.yaml").read_text())

    def leaves(part: dict, path: str) -> list[str]:
        inner = part.get("properties", {}).items()
        return [leaf for key, value in inner for leaf in leaves(value, f"{path}.{key}")] or [path.lstrip(".")]

    keys = set(leaves(schema, "")) - {"extends", "overrides", "evaluation.baselines"}  # the last chooses rules
    assert {key for key in keys if not any(f"{key}.".startswith(f"{path}.") for path in asked)} == set()


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_all_that_belongs_to_it(name):
    text = RULES[name]
    for keyword in ("output", "params", "log", "benchmark", "conda", "message", "shell"):
        assert re.search(rf"^    {keyword}:", text, flags=re.MULTILINE), f"{name} has no {keyword}"
    assert f'**script("{name}")' in text
    assert "python {params.script}" in text
    assert "2>&1 | tee {log}" in text
    assert "retries" not in text
    (job,) = {
        path
        for kind, suffix in (("logs", "log"), ("benchmarks", "tsv"), ("costs", "json"))
        for path in re.findall(rf'"<{kind}>/(.*)\.{suffix}"', text) or [f"no {kind}"]
    }
    assert job.split("/")[-1].split(".")[0] == name
    assert re.search(r' --cost \{output\.cost\}\)?"?\s+"? ?2>&1', text) or " --cost {output.cost} 2>&1" in text


def test_a_mistake_in_the_configuration_stops_before_any_job_with_one_message(tmp_path):
    done = snakemake("--config", "experiments=[{docid: paq}]", folder=tmp_path)
    assert done.returncode == 1
    assert "experiments[0].docid: 'paq' is not known. Did you mean pq? Write one of pq, rq, tu, atomic." in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("resources", "count"),
    [
        ([], 1),
        (["gpu=4"], 4),
        (["gpu=0", 'gres="gpu:a100:4"'], 4),
        (['gres="gpu:2"', "nodes=3"], 6),
        (['gres="gpu:a100"'], 1),
        (['slurm_extra="--qos=high --gres=gpu:h100:8"'], 8),
        (['gres="ssd:4"'], 1),
    ],
)
def test_a_training_has_a_process_for_each_gpu_whichever_resource_asks_for_them(resources, count, tmp_path):
    target, rule = "results/msmarco/pq/paper/ddro", "train_ddro"
    options = ["--configfile", "config/paper.yaml", "--dry-run", "--cores", "4"]
    options += ["--set-resources", *(f"{rule}:{resource}" for resource in resources)] if resources else []
    done = snakemake(*options, "--", target, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (command,) = re.findall(rf"^Shell command: (.*/{rule}\.py.*)$", done.stdout + done.stderr, flags=re.MULTILINE)
    assert f" --processes {count} " in command
