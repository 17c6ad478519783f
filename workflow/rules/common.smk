"""What all chapters share: the experiments, wildcard constraints, and functions that give params and inputs."""

import json
import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir).parent
SCRIPTS = ROOT / "scripts"
sys.path.insert(0, str(SCRIPTS))

from ddro.core.code_hash import code_hash
from ddro.core.command import UserError
from ddro.config.configuration import load_experiments, options
from ddro.config.catalogue import load_datasets, qrels_of
from ddro.config.schema import read_yaml
from ddro.core.tables import QUERY_SETS, STAGES, SYSTEMS

CHAPTERS = ["corpus", "docids", "pseudo_queries", "sft", "bm25", "ddro", "evaluation"]

# Where the configuration stands, for messages: what the command line names, else the default.
SOURCE = [os.path.relpath(path) for path in workflow.overwrite_configfiles or workflow.configfiles]
SOURCE += ["--config"] if workflow.config_settings.overwrite_config else []

try:
    EXPERIMENTS = load_experiments(config, ", ".join(SOURCE), ROOT)
    DATASETS = load_datasets(config, ", ".join(SOURCE), ROOT)
except UserError as error:
    raise WorkflowError(str(error)) from None


NAMES = [f"{experiment.dataset}/{experiment.docid}/{experiment.recipe}" for experiment in EXPERIMENTS]
FROM_SCRATCH = {experiment.dataset for experiment in EXPERIMENTS if experiment.settings["model"]["source"] == "scratch"}
PRETRAINED = {experiment.dataset for experiment in EXPERIMENTS} - FROM_SCRATCH
PUBLISHED = {experiment.dataset for experiment in EXPERIMENTS if experiment.settings["doc2query"]["published"]}
WRITTEN = {experiment.dataset for experiment in EXPERIMENTS} - PUBLISHED


def one_of(names):
    """A wildcard constraint: one of these names, or nothing at all where there are none."""
    return "|".join(sorted({re.escape(name) for name in names})) or "(?!)"


wildcard_constraints:
    dataset=one_of(experiment.dataset for experiment in EXPERIMENTS),
    docid=one_of(experiment.docid for experiment in EXPERIMENTS),
    recipe=one_of(experiment.recipe for experiment in EXPERIMENTS),
    scatteritem=r"\d+-of-\d+",
    split=one_of(QUERY_SETS),
    stage=one_of(STAGES),
    system=one_of(SYSTEMS),


def experiment_of(wildcards):
    """The first experiment that a job works for; all of them agree on what the job takes."""
    return next(
        experiment
        for experiment in EXPERIMENTS
        if all(getattr(experiment, name, value) == value for name, value in wildcards.items())
    )


def setting(path):
    """An input function: the recipe's value at this path."""

    def of_job(wildcards):
        section, key = path.split(".")
        return experiment_of(wildcards).settings[section][key]

    return of_job


def embedding_model_is_here(wildcards):
    """Whether the recipe names an embedding model on this machine, and not one of the hub."""
    model = setting("embedding.model")(wildcards)
    return model.startswith("package:") or Path(model).is_dir()


def pseudo_queries_to_learn(wildcards):
    """An input function: all pseudo queries, or those that BM25's filter keeps."""
    if setting("doc2query.keep_within")(wildcards) is None:
        return f"results/{wildcards.dataset}/pseudo_queries.parquet"
    return f"results/{wildcards.dataset}/pseudo_queries/kept.parquet"


def settings(*paths):
    """A params function: the recipe's settings at these paths (with wildcards) as options of a command line.

    One text, not a list: Snakemake compares the items of a list as a set, in which two exchanged values go unseen.
    """

    def of_job(wildcards):
        filled = (path.format(**dict(wildcards.items())) for path in paths)
        return shlex.join(options(experiment_of(wildcards).settings, filled))

    return of_job


def read_by(reader):
    """The data sets of this run that a rule reads, as a wildcard constraint."""
    return one_of(dataset for dataset in {e.dataset for e in EXPERIMENTS} if DATASETS[dataset]["reader"] == reader)


MADE_WITH = {"sft": ["seed", "instances", "sft", "decoding.max_query_tokens"]}
MADE_WITH["ddro"] = [*MADE_WITH["sft"], "negatives", "ddro"]


def maker(own, system):
    """The first experiment with the same documents, docids and settings for this model: it trains, others take it."""

    def made_with(experiment):
        return options(experiment.settings, MADE_WITH[system])

    return next(
        experiment
        for experiment in EXPERIMENTS
        if (experiment.dataset, experiment.docid) == (own.dataset, own.docid)
        and made_with(experiment) == made_with(own)
    )


def sft_stages(experiment):
    """The stages of supervised fine-tuning that the recipe doesn't leave out."""
    return [stage for stage in STAGES if experiment.settings["sft"]["stages"][stage]["epochs"]]


def model_before(wildcards):
    """An input function: the model that a stage of supervised fine-tuning starts from."""
    stages = sft_stages(experiment_of(wildcards))
    place = stages.index(wildcards.stage) if wildcards.stage in stages else 0
    if not place:
        return f"results/{wildcards.dataset}/model"
    return f"results/{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}/sft/{stages[place - 1]}"


def instances_to_learn(wildcards):
    """An input function: the instances of a stage, and of those that it replays."""
    folder = f"results/{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}/instances"
    replayed = experiment_of(wildcards).settings["sft"]["stages"][wildcards.stage].get("replay", [])
    return [f"{folder}/{stage}.parquet" for stage in STAGES if stage == wildcards.stage or stage in replayed]


def model_of(system=None):
    """An input function: the folder of the system's model; without a name, of the wildcard ``system``."""

    def of_job(wildcards):
        return f"results/{model_folder(experiment_of(wildcards), system or wildcards.system)}"

    return of_job


def model_folder(experiment, system):
    """The folder of an experiment's model, below results."""
    made = maker(experiment, system)
    return f"{made.dataset}/{made.docid}/{made.recipe}/{'sft/finetune' if system == 'sft' else system}"


def settings_of_all():
    """The settings of each experiment by its name, and where its models are, as JSON."""
    return json.dumps(
        {
            f"{experiment.dataset}/{experiment.docid}/{experiment.recipe}": experiment.settings
            | {"models": {system: model_folder(experiment, system) for system in ("sft", "ddro")}}
            for experiment in EXPERIMENTS
        }
    )


def trained_models(wildcards):
    """An input function: the model after each stage of supervised fine-tuning, and after DDRO."""
    made = maker(experiment_of(wildcards), "sft")
    folder = f"results/{made.dataset}/{made.docid}/{made.recipe}/sft"
    return [*(f"{folder}/{stage}" for stage in sft_stages(made)), model_of("ddro")(wildcards)]


def dataset_settings(*keys):
    """A params function: these keys of the data set as options, as far as it has them."""

    def of_job(wildcards):
        dataset = dict(DATASETS[wildcards.dataset])
        if "expected" in dataset:
            dataset["expected"] = [f"{name}={count}" for name, count in dataset["expected"].items()]
        return shlex.join(options(dataset, (key for key in keys if key in dataset)))

    return of_job


def folder_of(wildcards):
    """An input function: the files of the user's own corpus."""
    folder = Path(DATASETS[wildcards.dataset]["folder"])
    qrels = [str(path) for path in qrels_of(folder).values()]
    return {"corpus": str(folder / "corpus.jsonl"), "queries": str(folder / "queries.jsonl"), "qrels": qrels}


def training(table):
    """An input function: queries or qrels with what trains, which is pseudo queries where the data set has none."""

    def of_job(wildcards):
        trained = DATASETS[wildcards.dataset]["training"] == "pseudo" and wildcards.get("split", "train") == "train"
        return f"results/{wildcards.dataset}/{'training/' if trained else ''}{table}.parquet"

    return of_job


def queries_of_split(table):
    """An input function: queries or qrels that have those of the wildcard ``split``."""
    of_documents = f"results/{{dataset}}/documents/{table}.parquet"
    return branch(evaluate("{split} == 'documents'"), then=of_documents, otherwise=training(table))


def learns_from_documents(wildcards):
    """Whether the recipe makes pairs of the documents' own words."""
    return "documents" in setting("negatives.queries")(wildcards)


def queries_of_pairs(table):
    """An input function: queries or qrels that have all whose pairs DDRO learns from."""
    of_documents = f"results/{{dataset}}/documents/{table}.parquet"
    return branch(learns_from_documents, then=of_documents, otherwise=training(table))


def pairs_to_learn(wildcards):
    """An input function: the pairs of the queries that the recipe names."""
    folder = f"results/{wildcards.dataset}/{wildcards.docid}/{wildcards.recipe}/negatives"
    return [f"{folder}/{queries}.parquet" for queries in setting("negatives.queries")(wildcards)]


def file_of(wildcards):
    """The description of a file of a data set."""
    return next(file for file in DATASETS[wildcards.dataset]["files"] if file["name"] == wildcards.file)


def checksums(wildcards):
    """A params function: size and checksums of a file, as options."""
    return shlex.join(options(file_of(wildcards), ["size", "md5"]))


def source(wildcards, output):
    """A params function: where a file comes from, as an option.

    It asks for ``output`` so that Snakemake takes it for derived: another mirror fetches nothing again.
    """
    downloads = {"mirror": None, "files": {}, **config.get("downloads", {})}
    if file := downloads["files"].get(wildcards.file):
        return shlex.join(["--file", file])
    mirror = downloads["mirror"]
    return shlex.join(["--url", mirror + wildcards.file if mirror else file_of(wildcards)["url"]])


def has_codebook(wildcards):
    """An input function: whether the docids are codes of the document vectors, and not those of a published table."""
    return wildcards.docid in ("pq", "rq") and not setting("docids.table")(wildcards)


def optional(*names):
    """A params function: these inputs as options, as far as the job has them."""

    def of_job(wildcards, input):
        there = ((name, path) for name in names if (path := input.get(name)))
        return shlex.join(word for name, path in there for word in (f"--{name.replace('_', '-')}", path))

    return of_job


def in_report(path, caption, **labels):
    """An output of an experiment, with its place in the report: the category that has the name of its caption."""
    return report(
        path,
        caption=f"../report/{caption}.rst",
        category=caption.capitalize(),
        subcategory="{dataset}/{docid}/{recipe}",
        labels=labels,
    )


def code(script):
    """The hash of all code that the script runs, as a param: Snakemake itself doesn't look into it."""
    try:
        return code_hash(SCRIPTS / f"{script}.py")
    except UserError as error:
        raise WorkflowError(str(error)) from None
