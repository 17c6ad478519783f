"""What all chapters share: the experiments, short names for paths, and functions that give params and inputs."""

import json
import os
import re
import shlex
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards
from snakemake.settings.types import DeploymentMethod

sys.path.insert(0, str(ROOT / "scripts"))

from ddro.core.code_hash import code_hash
from ddro.core.command import UserError
from ddro.config.configuration import load_experiments, options
from ddro.config.catalogue import load_datasets, load_published, qrels_of
from ddro.config.environment import give_jobs_a_python
from ddro.config.schema import read_yaml
from ddro.core.tables import BASELINES, QUERY_SETS, STAGES, SYSTEMS

# An activated environment gives jobs its python; so does this one where it was called by its path (.venv/bin/snakemake).
if not {DeploymentMethod.CONDA, DeploymentMethod.APPTAINER} & set(workflow.deployment_settings.deployment_method):
    give_jobs_a_python()

# Where the configuration stands, for messages: what the command line names, else the default.
SOURCE = [os.path.relpath(path) for path in workflow.overwrite_configfiles or workflow.configfiles]
SOURCE += ["--config"] if workflow.config_settings.overwrite_config else []

try:
    EXPERIMENTS = load_experiments(config, ", ".join(SOURCE), ROOT)
    DATASETS = load_datasets(config, ", ".join(SOURCE), ROOT)
except UserError as error:
    raise WorkflowError(str(error)) from None

# The data sets of this run; what a recipe says of a data set is the same in all experiments on it.
RECIPE_OF = {experiment.dataset: experiment.settings for experiment in EXPERIMENTS}
FROM_SCRATCH = {dataset for dataset, recipe in RECIPE_OF.items() if recipe["model"]["source"] == "scratch"}
FROZEN = {dataset for dataset, recipe in RECIPE_OF.items() if recipe["model"]["source"].startswith("package:")}
DOC2QUERY_FROM_SCRATCH = {
    dataset for dataset, recipe in RECIPE_OF.items() if recipe["doc2query"]["source"] == "scratch"
}
QUERIES_GIVEN = {dataset for dataset, recipe in RECIPE_OF.items() if recipe["doc2query"]["published"]}


pathvars:
    experiment="{dataset}/{docid}/{recipe}",
    logs="results/logs",
    benchmarks="results/benchmarks",
    costs="results/costs",


def one_of(names):
    """A wildcard constraint: one of these names, or nothing at all where there are none."""
    return "|".join(sorted({re.escape(name) for name in names})) or "(?!)"


def datasets_read_by(reader):
    """A wildcard constraint: the data sets of this run that a rule reads."""
    return one_of(dataset for dataset in RECIPE_OF if DATASETS[dataset]["reader"] == reader)


def cores(most):
    """A function of threads: so many, but one on a frozen encoder where there are several experiments.

    Their models are too small for a second core, which another experiment's job can use in the meantime.
    """
    return lambda wildcards: 1 if wildcards.dataset in FROZEN and len(EXPERIMENTS) > 1 else most


def project_file(name):
    """An input: a file of the project, as seen from the working directory. A moved checkout reruns nothing."""
    return local(os.path.relpath(ROOT / name))


def experiment_of(wildcards):
    """The first experiment that a job works for; all of them agree on what the job takes."""
    return next(
        experiment
        for experiment in EXPERIMENTS
        if all(getattr(experiment, name, value) == value for name, value in wildcards.items())
    )


def recipe_value(path):
    """An input function: the recipe's value at this path."""

    def value(wildcards):
        section, key = path.split(".")
        return experiment_of(wildcards).settings[section][key]

    return value


def recipe_options(*paths):
    """A params function: the recipe's settings at these paths (with wildcards) as options of a command line.

    One text, not a list: Snakemake compares the items of a list as a set, in which two exchanged values go unseen.
    """

    def command_line(wildcards):
        filled = (path.format(**dict(wildcards.items())) for path in paths)
        return shlex.join(options(experiment_of(wildcards).settings, filled))

    return command_line


def processes(wildcards, resources):
    """A params function: one process for each GPU of the job, whichever resource asks for them; without one, 1.

    That is gpu, for all nodes together, or Slurm's gres, for each node: as such (gpu:a100:4) or in slurm_extra.
    Snakemake keeps no note of it, since it takes the resources: another number of GPUs is no reason to train again.
    """
    extra = re.search(r"--gres[= ]([^ '\"]+)", str(resources.get("slurm_extra") or ""))
    gres = resources.get("gres") or (extra[1] if extra else "")
    on_a_node = re.search(r"(?:^|,)gpu(?::[\w.-]+)??(?::(\d+))?(?:,|$)", str(gres))
    in_all = int(on_a_node[1] or 1) * int(resources.get("nodes") or 1) if on_a_node else 0
    return max(1, in_all, int(resources.get("gpu") or 0))


def embedding_model_is_here(wildcards):
    """Whether the recipe names an embedding model on this machine, and not one of the hub."""
    model = recipe_value("embedding.model")(wildcards)
    return model.startswith("package:") or Path(model).is_dir()


def embedding_model(wildcards):
    """A params function: the embedding model, as sentence-transformers is told of it."""
    if embedding_model_is_here(wildcards):
        return recipe_value("embedding.model")(wildcards)
    return f"results/{wildcards.dataset}/embedding_model"


def pseudo_queries_to_learn(wildcards):
    """An input function: all pseudo queries, or those that BM25's filter keeps."""
    if recipe_value("doc2query.keep_within")(wildcards) is None:
        return "results/{dataset}/pseudo_queries.parquet"
    return "results/{dataset}/pseudo_queries/kept.parquet"


def systems_of(experiment):
    """The systems of an experiment's table, in its order."""
    chosen = experiment.settings["evaluation"]["baselines"]
    return [system for system in SYSTEMS if system not in BASELINES or system in chosen]


def measures_to_compare(wildcards):
    """An input function: the measures of each query, of each system under its name."""
    systems = systems_of(experiment_of(wildcards))
    return {system: f"results/<experiment>/metrics/{system}.{{split}}.per_query.parquet" for system in systems}


TRAINED_WITH = {"sft": ["seed", "text", "instances", "sft", "decoding.length_penalty", "decoding.max_query_tokens"]}
TRAINED_WITH["ddro"] = [*TRAINED_WITH["sft"], "negatives", "ddro"]


def trained_by(experiment, system):
    """The first experiment with the same documents, docids and settings for this model: it trains, others take it."""

    def inputs(other):
        return other.dataset, other.docid, options(other.settings, TRAINED_WITH[system])

    return next(other for other in EXPERIMENTS if inputs(other) == inputs(experiment))


def sft_stages(experiment):
    """The stages of supervised fine-tuning that the recipe doesn't leave out."""
    return [stage for stage in STAGES if experiment.settings["sft"]["stages"][stage]["epochs"]]


def model_before(wildcards):
    """An input function: the model that a stage of supervised fine-tuning starts from."""
    stages = sft_stages(experiment_of(wildcards))
    place = stages.index(wildcards.stage) if wildcards.stage in stages else 0
    return f"results/<experiment>/sft/{stages[place - 1]}" if place else "results/{dataset}/model"


def model_folder(experiment, system):
    """The folder of an experiment's model, below results."""
    return f"{trained_by(experiment, system).name}/{'sft/finetune' if system == 'sft' else system}"


def instances_to_learn(wildcards):
    """An input function: the instances of a stage, and of those that it replays."""
    replayed = experiment_of(wildcards).settings["sft"]["stages"][wildcards.stage].get("replay", [])
    stages = [stage for stage in STAGES if stage == wildcards.stage or stage in replayed]
    return [f"results/<experiment>/instances/{stage}.parquet" for stage in stages]


def model_of(system=None):
    """An input function: the folder of the system's model; without a name, of the wildcard ``system``."""

    def folder(wildcards):
        return f"results/{model_folder(experiment_of(wildcards), system or wildcards.system)}"

    return folder


def trained_models(wildcards):
    """An input function: the model after each stage of supervised fine-tuning, and after DDRO."""
    trained = trained_by(experiment_of(wildcards), "sft")
    stages = [f"results/{trained.name}/sft/{stage}" for stage in sft_stages(trained)]
    return [*stages, model_of("ddro")(wildcards)]


def settings_of_all():
    """The settings of each experiment by its name, and where its models are, as JSON."""
    return json.dumps(
        {
            experiment.name: experiment.settings
            | {"models": {system: model_folder(experiment, system) for system in ("sft", "ddro")}}
            for experiment in EXPERIMENTS
        }
    )


def dataset_options(*keys):
    """A params function: these keys of the data set as options, as far as it has them."""

    def of_job(wildcards):
        dataset = dict(DATASETS[wildcards.dataset])
        if "expected" in dataset:
            dataset["expected"] = [f"{name}={count}" for name, count in dataset["expected"].items()]
        return shlex.join(options(dataset, (key for key in keys if key in dataset)))

    return of_job


def files_of_folder(wildcards):
    """An input function: the files of the user's own corpus."""
    folder = Path(DATASETS[wildcards.dataset]["folder"])
    qrels = [str(path) for path in qrels_of(folder).values()]
    return {"corpus": str(folder / "corpus.jsonl"), "queries": str(folder / "queries.jsonl"), "qrels": qrels}


def training_table(table):
    """An input function: queries or qrels with what trains, which is pseudo queries where the data set has none."""

    def path(wildcards):
        made = DATASETS[wildcards.dataset]["training"] == "pseudo" and wildcards.get("split", "train") == "train"
        return f"results/{{dataset}}/{'training/' if made else ''}{table}.parquet"

    return path


def table_of_split(table):
    """An input function: queries or qrels that have those of the wildcard ``split``."""
    from_documents = f"results/{{dataset}}/documents/{table}.parquet"
    return branch(evaluate("{split} == 'documents'"), then=from_documents, otherwise=training_table(table))


def documents_of_collection(wildcards):
    """An input function: all documents of the collection, of which MS MARCO's own reader keeps the judged ones alone."""
    table = "collection" if DATASETS[wildcards.dataset]["reader"] == "msmarco" else "documents"
    return f"results/{{dataset}}/raw/{table}.parquet"


def run_of_negatives(wildcards):
    """An input function: BM25's ranking of the corpus, or of all documents of the collection."""
    whole = recipe_value("negatives.collection")(wildcards) == "whole"
    return f"results/{{dataset}}/bm25/{'collection/' if whole else ''}{{split}}.run.parquet"


def learns_from_documents(wildcards):
    """Whether the recipe makes pairs of the documents' own words."""
    return "documents" in recipe_value("negatives.queries")(wildcards)


def table_of_pairs(table):
    """An input function: queries or qrels that have all whose pairs DDRO learns from."""
    from_documents = f"results/{{dataset}}/documents/{table}.parquet"
    return branch(learns_from_documents, then=from_documents, otherwise=training_table(table))


def pairs_to_learn(wildcards):
    """An input function: the pairs of the queries that the recipe names."""
    return [f"results/<experiment>/negatives/{name}.parquet" for name in recipe_value("negatives.queries")(wildcards)]


def file_entry(wildcards):
    """The description of a file of a data set."""
    return next(file for file in DATASETS[wildcards.dataset]["files"] if file["name"] == wildcards.file)


def checksums(wildcards):
    """A params function: size and checksums of a file, as options."""
    return shlex.join(options(file_entry(wildcards), ["size", "md5"]))


def source(wildcards, output):
    """A params function: where a file comes from, as an option.

    It asks for ``output`` so that Snakemake takes it for derived: another mirror fetches nothing again.
    """
    downloads = {"mirror": None, "files": {}, **config.get("downloads", {})}
    if file := downloads["files"].get(wildcards.file):
        return shlex.join(["--file", file])
    mirror = downloads["mirror"]
    return shlex.join(["--url", mirror + wildcards.file if mirror else file_entry(wildcards)["url"]])


def has_codebook(wildcards):
    """An input function: whether the docids are codes of the document vectors, and not those of a published table."""
    return wildcards.docid in ("pq", "rq") and not recipe_value("docids.table")(wildcards)


def ranks_by_training_queries(wildcards):
    """Whether documents that share a docid are ranked by their training queries."""
    return recipe_value("docids.order")(wildcards) == "training_queries"


def input_options(*names):
    """A params function: these inputs as options, as far as the job has them."""

    def command_line(wildcards, input):
        there = {name: path for name in names if (path := input.get(name))}
        return shlex.join(options(there, there))

    return command_line


def in_report(path, caption, **labels):
    """An output of an experiment, with its place in the report: the category that has the name of its caption."""
    return report(
        path,
        caption=f"../report/{caption}.rst",
        category=caption.capitalize(),
        subcategory="{dataset}/{docid}/{recipe}",
        labels=labels,
    )


def project_path(name):
    """A params function: where a file of the project is, as a word of a command line.

    It asks for ``output`` so that Snakemake takes it for derived: a project that has moved reruns nothing.
    """
    return lambda wildcards, output: shlex.quote(str(ROOT / name))


def script(name):
    """Two params: the script's path, and a hash of all code that it runs, for Snakemake itself doesn't look into it."""
    try:
        return {"script": project_path(f"scripts/{name}.py"), "code": code_hash(ROOT / f"scripts/{name}.py")}
    except UserError as error:
        raise WorkflowError(str(error)) from None


def pages_of(experiment):
    """What a person looks at beside the table; the table tells of the cost of these, too."""
    return [
        f"results/{experiment.dataset}/pseudo_queries/quality.json",
        f"results/{experiment.dataset}/{experiment.docid}/docids.svg",
        f"results/{experiment.name}/figures/loss.svg",
        f"results/{experiment.name}/samples.html",
    ]


def run_of(experiment, system):
    """The ranking of the test queries."""
    if system in ("sft", "ddro"):
        return f"results/{experiment.name}/runs/{system}.test.trec.gz"
    return f"results/{experiment.dataset}/{system}/test.run.parquet"


def size_of(experiment, system):
    """What tells of a system's size, and mostly of its speed: Lucene's index, or what the search measured."""
    if system in ("sft", "ddro"):
        return f"results/{experiment.name}/runs/{system}.test.timing.json"
    return f"results/{experiment.dataset}/{system}/{'test.timing.json' if system == 'dense' else 'index'}"


@cache
def jobs_behind(path):
    """The jobs that make a file: the cost file of each, after those of the jobs that it needs, and its rule's place."""
    for place, made_by in enumerate(workflow.rules):
        if "cost" in made_by.output.keys() and any(output.match(path) for output in made_by.output):
            wildcards = Wildcards(fromdict=made_by.get_wildcards(path))
            before = (jobs_behind(str(needed)) for needed in made_by.expand_input(wildcards)[0])
            own = {str(made_by.expand_output(wildcards)[0].cost): place}
            return {cost: place for jobs in before for cost, place in jobs.items()} | own
    return {}


def cost_files(wildcards):
    """An input function: what each job of the experiments cost, in the order of the rules, each stage after the other."""
    costs = {}
    for experiment in EXPERIMENTS:
        wanted = [*pages_of(experiment), f"results/{experiment.name}/metrics/comparison.test.json"]
        jobs = {cost: place for path in wanted for cost, place in jobs_behind(path).items()}
        costs |= dict.fromkeys(sorted(jobs, key=jobs.get))
    return list(costs)


def costs_by_system(wildcards, input):
    """A params function: which of the inputs ``costs`` made each system's ranking of the test queries, as JSON."""
    numbers = {cost: number for number, cost in enumerate(input.costs)}
    return json.dumps(
        {
            experiment.name: {
                system: [numbers[cost] for cost in jobs_behind(run_of(experiment, system))]
                for system in systems_of(experiment)
            }
            for experiment in EXPERIMENTS
        }
    )
