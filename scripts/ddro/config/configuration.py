"""From the configuration and its recipes to the settings of each experiment, or to a message that says what to mend."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ddro.config.catalogue import READERS_OF_CONTENT, known_dataset, load_datasets
from ddro.config.schema import Settings, did_you_mean, fill_defaults, problems, read_yaml, show
from ddro.core.command import UserError

DATASET_SECTIONS = ("seed", "corpus", "split", "model", "embedding", "pq", "rq", "doc2query", "bm25")
"""Sections whose results lie in results/{dataset}/ and are shared by all experiments on that data set."""

DOCID_SECTIONS = ("tu", "docids")
"""Sections whose results lie in results/{dataset}/{docid}/."""


@dataclass(frozen=True)
class Experiment:
    """One data set, docid scheme and recipe, and the recipe's settings for the two (all overrides applied)."""

    dataset: str
    docid: str
    recipe: str
    settings: Settings

    @property
    def name(self) -> str:
        """DATASET/DOCID/RECIPE: its folder below results, too."""
        return f"{self.dataset}/{self.docid}/{self.recipe}"


def load_experiments(config: Mapping[str, Any], source: str, root: Path) -> list[Experiment]:
    """Check a configuration and resolve the recipe of each of its experiments.

    Args:
        config: the configuration as read; defaults are filled in, ``config`` itself isn't changed.
        source: the name of its file or files, for messages.
        root: the root of the project: schemas in workflow/schemas/, recipes in config/recipes/.

    Raises:
        UserError: one line for each mistake, naming file and key and saying what to write instead.
    """
    schema = read_yaml(root / "workflow/schemas/config.schema.yaml")
    _raise(f"{source}: {problem}" for problem in problems(config, schema))
    config = fill_defaults(config, schema)
    entries = schema["properties"]["experiments"]["items"]
    datasets, docids = load_datasets(config, source, root), entries["properties"]["docid"]["enum"]
    for index, entry in enumerate(config["experiments"]):
        known_dataset(fill_defaults(entry, entries)["dataset"], datasets, f"{source}: experiments[{index}].dataset")
    families = {name: dataset["family"] for name, dataset in datasets.items()}
    resolve = recipe_resolver(
        config["recipes"],
        source,
        root / "config/recipes",
        read_yaml(root / "workflow/schemas/recipe.schema.yaml"),
        families,
        docids,
    )
    experiments: list[Experiment] = []
    for entry in (fill_defaults(entry, entries) for entry in config["experiments"]):
        experiment = Experiment(**entry, settings=resolve(entry["recipe"], entry["dataset"], entry["docid"]))
        if experiment in experiments:
            raise UserError(f"{source}: experiments: {experiment.name} stands there twice. Remove one.")
        experiments.append(experiment)
    _raise(
        f"{source}: recipe {experiment.recipe} for {experiment.dataset}/{experiment.docid}: {problem}"
        for experiment in experiments
        for problem in contradictions(experiment)
    )
    _raise(
        f"{source}: recipe {experiment.recipe} for {experiment.dataset}: the data set has no training queries, so no "
        "model can learn from them to write queries. Write doc2query.epochs: 0, and as doc2query.source a model that "
        "writes queries already."
        for experiment in experiments
        if datasets[experiment.dataset]["training"] == "pseudo" and experiment.settings["doc2query"]["epochs"]
    )
    _raise(
        f"{source}: recipe {experiment.recipe} for {experiment.dataset}: bm25.text is content, but nothing tells "
        "abstract and content of these documents apart. Write body or title_body."
        for experiment in experiments
        if experiment.settings["bm25"]["text"] == "content"
        and datasets[experiment.dataset]["reader"] not in READERS_OF_CONTENT
    )
    _raise(f"{source}: {problem}" for problem in disagreements(experiments))
    return experiments


def recipe_resolver(
    inline: Mapping[str, Settings],
    source: str,
    folder: Path,
    schema: Settings,
    families: Mapping[str, tuple[str, ...]],
    docids: list[str],
) -> Callable[[str, str, str], Settings]:
    """Return a function (recipe, dataset, docid) -> all settings.

    A recipe is a key of ``inline`` or else a file of ``folder``. Its settings are those of the recipe that it extends
    (resolved in the same way), then its own, then its overrides for the data set, the docid scheme, and the two
    together; last come the defaults of ``schema``. Overrides for a data set hold for those that are like it, too:
    ``families`` has, for each data set, the names that its overrides may have, the weakest first.
    """
    scopes = [*families, *docids, *(f"{dataset}/{docid}" for dataset in families for docid in docids)]

    def read(name: str) -> tuple[Settings, str]:
        path = folder / f"{name}.yaml"
        if name in inline:
            if path.is_file():
                raise UserError(f"{source}: recipes.{name}: config/recipes/{name}.yaml has this name. Choose another.")
            return inline[name], f"{source}: recipes.{name}."
        if not path.is_file():
            known = sorted({*inline, *(path.stem for path in folder.glob("*.yaml"))})
            hint = did_you_mean(name, known)
            raise UserError(f"{source}: unknown recipe {name!r}.{hint} Known: {', '.join(known)}.")
        return read_yaml(path), f"{path.relative_to(folder.parent.parent)}: "

    def layer(name: str, dataset: str, docid: str, seen: tuple[str, ...]) -> Settings:
        recipe, where = read(name)
        if name in seen:
            raise UserError(f"{where}extends: the recipe extends itself ({' -> '.join([*seen, name])}).")
        _raise(where + problem for problem in problems(recipe, schema) or _override_problems(recipe, scopes))
        base = layer(recipe["extends"], dataset, docid, (*seen, name)) if recipe.get("extends") else {}
        own = {key: value for key, value in recipe.items() if key not in ("extends", "overrides")}
        overrides = recipe.get("overrides", {})
        family = families[dataset]
        order = [*family, docid, *(f"{name}/{docid}" for name in family)]
        return merge(base, own, *(overrides.get(scope, {}) for scope in order))

    def resolve(name: str, dataset: str, docid: str) -> Settings:
        settings = fill_defaults(layer(name, dataset, docid, ()), schema)
        del settings["extends"], settings["overrides"]
        return settings

    return resolve


def merge(*layers: Mapping[str, Any]) -> Settings:
    """Put mappings on top of each other: sections key by key, every other value (lists too) as a whole."""
    merged: Settings = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            both = isinstance(old, Mapping) and isinstance(value, Mapping)
            merged[key] = merge(old, value) if both else value
    return merged


def contradictions(experiment: Experiment) -> Iterator[str]:
    """Yield a message for each pair of settings that can't go together."""
    settings = experiment.settings
    corpus, split, strata = settings["corpus"]["top_k"], settings["split"], settings["negatives"]["strata"]
    depth = settings["bm25"]["depth"]
    if experiment.docid == "pq":
        subspaces, dimension = settings["pq"]["subspaces"], settings["embedding"]["dimension"]
        components = settings["pq"]["components"]
        name, width = ("embedding.dimension", dimension) if components is None else ("pq.components", components)
        if components is not None and components > min(dimension, corpus):
            yield (
                f"pq.components is {components}, more than embedding.dimension {dimension} or the {corpus} documents "
                "of corpus.top_k. Write a smaller one, or null to quantise the vectors themselves."
            )
        if width % subspaces:
            divisors = [str(number) for number in range(1, min(width, 128) + 1) if width % number == 0]
            yield (
                f"pq.subspaces is {subspaces}, which doesn't divide {name} {width}. Write one of {', '.join(divisors)}."
            )
    if experiment.docid in ("pq", "rq"):
        section, points = experiment.docid, settings[experiment.docid]["training_points"]
        if (centroids := settings[section]["centroids"]) > corpus:
            yield (
                f"{section}.centroids is {centroids}, more than the {corpus} documents of corpus.top_k. "
                "Write a smaller one."
            )
        if points is not None and points < centroids:
            yield (
                f"{section}.training_points is {points}, fewer than the {centroids} of {section}.centroids. "
                "Write a larger one, or null to learn from all documents."
            )
    if split["test_share"] + split["validation_share"] >= 1:
        yield "split.test_share and split.validation_share add up to 1 or more, which leaves no training query."
    least, most = settings["instances"]["crop_words"]
    if least > most:
        yield f"instances.crop_words is [{least}, {most}]. Write the fewest words of a crop first, then the most."
    if any(lower >= upper for lower, upper in pairwise(strata)):
        yield f"negatives.strata must rise, found {strata}. Write the last rank of each stratum: [100, 500, 1000]."
    if max(strata) > depth:
        yield f"negatives.strata ends at rank {max(strata)}, but bm25.depth is {depth}. Raise bm25.depth or end sooner."
    doc2query = settings["doc2query"]
    if (beams := doc2query["beams"]) is not None and beams < doc2query["per_document"]:
        yield (
            f"doc2query.beams is {beams}, fewer than doc2query.per_document {doc2query['per_document']}. "
            "Write as many or more, or null to sample."
        )
    if (
        (doc2query["source"] == "scratch" or doc2query["source"] == "base" and settings["model"]["source"] == "scratch")
        and doc2query["engine"] == "ctranslate2"
        and settings["model"]["layers"] == 0
        and doc2query["published"] is None
    ):
        yield (
            "doc2query.engine is ctranslate2, which can't run a model without encoder layers (model.layers is 0). "
            "Write transformers."
        )
    model = settings["model"]
    frozen = model["source"].startswith("package:")
    if (model["source"] == "scratch" or frozen) and model["revision"] is not None:
        yield f"model.revision has no meaning with model.source {model['source']}. Remove it or name a model."
    if frozen and doc2query["source"] == "base" and doc2query["published"] is None:
        yield (
            f"doc2query.source is base, but the model on {model['source']} writes docids alone, no queries. Write "
            "scratch, or a model that writes queries."
        )
    if (
        experiment.docid == "tu"
        and settings["tu"]["rule"] == "generated"
        and (frozen or model["source"] == "scratch")
        and settings["docids"]["table"] is None
    ):
        yield (
            f"tu.rule is generated, but the model of model.source {model['source']} has learned no language, so "
            "it writes no docids. Write another rule, or name a pretrained T5."
        )
    if (padding := settings["docids"]["padding"]) is not None and experiment.docid != "tu":
        yield f"docids.padding is {padding}, but only docids of words (tu) are padded. Write null."
    if padding is not None and experiment.docid == "tu" and padding < settings["tu"]["max_tokens"]:
        yield (
            f"docids.padding is {padding}, less than tu.max_tokens {settings['tu']['max_tokens']}. Write as many or "
            "more."
        )
    if (model := settings["embedding"])["model"].startswith("package:") and model["revision"] is not None:
        yield f"embedding.revision has no meaning with embedding.model {model['model']}. Write null."


def disagreements(experiments: Iterable[Experiment]) -> Iterator[str]:
    """Yield a message for each setting that two experiments share files about but don't agree on."""
    first: dict[tuple[str, ...], Experiment] = {}
    for experiment in experiments:
        for place, sections in (
            ((experiment.dataset,), DATASET_SECTIONS),
            ((experiment.dataset, experiment.docid), DOCID_SECTIONS),
        ):
            other = first.setdefault(place, experiment)
            for path, mine, theirs in _differences(experiment.settings, other.settings, sections):
                yield (
                    f"two experiments share results/{'/'.join(place)}/ but not {path}: it is {show(theirs)} in recipe "
                    f"{other.recipe} for docid {other.docid} and {show(mine)} in recipe {experiment.recipe} for docid "
                    f"{experiment.docid}. Write the same value in both, or run them in two copies of the project."
                )


def options(settings: Mapping[str, Any], paths: Iterable[str]) -> list[str]:
    """Turn settings into command-line options.

    Args:
        settings: the settings of an experiment.
        paths: dotted paths of sections (each key becomes an option) or of single keys.

    Returns:
        ``{"top_k": 3}`` as ``["--top-k", "3"]``, a list with all its items, true as ``--key``, false as ``--no-key``,
        and nothing for null.
    """
    words = []
    for path in paths:
        value: Any = settings
        for part in path.split("."):
            value = value[part]
        for key, item in value.items() if isinstance(value, Mapping) else [(path.split(".")[-1], value)]:
            name = key.replace("_", "-")
            if isinstance(item, bool):
                words.append(f"--{name}" if item else f"--no-{name}")
            elif item is not None:
                words += [f"--{name}", *(str(part) for part in (item if isinstance(item, list) else [item]))]
    return words


def _raise(messages: Iterable[str]) -> None:
    if lines := list(dict.fromkeys(messages)):
        raise UserError("\n".join(lines))


def _override_problems(recipe: Settings, scopes: list[str]) -> Iterator[str]:
    """Check what the schema can't: the keys of ``overrides``, and that there is no recipe within the recipe."""
    for scope, changes in recipe.get("overrides", {}).items():
        if scope not in scopes:
            yield (
                f"overrides.{scope}: no such data set or docid scheme.{did_you_mean(str(scope), scopes)} "
                f"Write one of {', '.join(scopes)}."
            )
        for key in {"extends", "overrides"} & set(changes):
            yield f"overrides.{scope}.{key}: not possible here. Move it to the top of the recipe."


def _differences(left: Any, right: Any, keys: Iterable[str], path: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key in keys:
        if isinstance(left[key], Mapping):
            yield from _differences(left[key], right[key], left[key], f"{path}{key}.")
        elif left[key] != right[key]:
            yield f"{path}{key}", left[key], right[key]
