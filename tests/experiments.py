"""Experiments of configurations that a test writes, resolved by the project's own recipes and schemas."""

from pathlib import Path

from ddro.config.configuration import Experiment, load_experiments
from project import ROOT

SOURCE = "config/config.yaml"
DATASETS = ("awscli", "ansible", "msmarco", "nq", "nq_ddro", "nq_in_corpus", "nq_by_id", "nq_by_id_in_corpus")
DOCIDS = ("pq", "rq", "tu", "atomic")
DEMO = {"dataset": "awscli", "docid": "pq", "recipe": "demo"}


def load(*experiments: dict, root: Path = ROOT, **recipes: dict) -> list[Experiment]:
    return load_experiments({"experiments": list(experiments), "recipes": recipes}, SOURCE, root)


def settings_of(dataset: str, docid: str, recipe: str = "paper", **recipes: dict) -> dict:
    (experiment,) = load({"dataset": dataset, "docid": docid, "recipe": recipe}, **recipes)
    return experiment.settings
