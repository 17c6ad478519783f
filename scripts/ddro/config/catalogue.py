"""The data sets that a run may use: those of config/datasets.yaml, and the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddro.config.schema import did_you_mean, problems, read_yaml
from ddro.core.command import UserError

VARIANT = ("by", "dev_queries")
"""Keys that an entry with `like` may change: only Natural Questions has variants."""

READERS_OF_CONTENT = ("nq", "nq_ddro")
"""Readers that tell where a page's content begins (`ddro.core.tables.CONTENT_START`)."""

DEFAULTS = {"files": [], "keep": "all", "max_invalid": 0.001, "training": "queries"}


def load_published(root: Path, path: str = "config/published.yaml") -> dict[str, dict[str, Any]]:
    """The published checkpoints by name, each with all keys of workflow/schemas/published.schema.yaml.

    Raises:
        UserError: an unknown key, one that is missing, or a value that can't be.
    """
    schema = read_yaml(root / "workflow/schemas/published.schema.yaml")
    checkpoints = read_yaml(root / path)
    if mistakes := problems(checkpoints, schema):
        raise UserError("\n".join(f"{path}: {mistake}" for mistake in mistakes))
    defaults = {key: part.get("default") for key, part in schema["additionalProperties"]["properties"].items()}
    return {name: defaults | entry for name, entry in checkpoints.items()}


def load_datasets(config: Mapping[str, Any], source: str, root: Path) -> dict[str, dict[str, Any]]:
    """The data sets of config/datasets.yaml and of ``config["datasets"]``, by name.

    An entry that is `like` another has that one's keys under its own, except what was published about it: the counts
    of `expected` hold for one variant. Each entry gets its ``reader`` (the rule that reads it) and ``family`` (itself
    and what it is like or has the `settings_of`, for overrides).

    A folder without training judgements gets `training` pseudo: pseudo queries then train in place of queries.

    Raises:
        UserError: a name that is taken or unknown, or a folder without the files of a corpus.
    """
    table = read_yaml(root / "config/datasets.yaml")
    own = config.get("datasets", {})
    entries = {**table, **own}
    datasets: dict[str, dict[str, Any]] = {}
    for name, entry in entries.items():
        where = f"{source}: datasets.{name}"
        if name in own and name in table:
            raise UserError(f"{where}: config/datasets.yaml has this name. Choose another.")
        origins = [key for key in ("folder", "ir_datasets", "like") if key in entry]
        if name in own and len(origins) != 1:
            raise UserError(f"{where}: write exactly one of folder, ir_datasets, like.")
        if "like" in entry:
            base = table.get(entry["like"], {})
            if not any(key in base for key in VARIANT):
                raise UserError(f"{where}.like: {entry['like']!r} has no variants. Write nq.")
            shared = {key: value for key, value in base.items() if key != "expected"}
            datasets[name] = {**DEFAULTS, **shared, **entry, "family": (entry["like"], name)}
        else:
            reader = entry.get("reader") or origins[0]
            origin = (entry["settings_of"],) if "settings_of" in entry else ()
            datasets[name] = {**DEFAULTS, **entry, "reader": reader, "family": (*origin, name)}
        if "folder" in entry:
            judged = _check_folder(Path(entry["folder"]), f"{where}.folder")
            if "train" not in judged:
                datasets[name]["training"] = "pseudo"
    return datasets


def known_dataset(name: str, datasets: Mapping[str, Any], where: str) -> None:
    """Raise a `UserError` unless ``name`` is one of ``datasets``."""
    if name not in datasets:
        raise UserError(
            f"{where}: {name!r} is not known.{did_you_mean(name, datasets)} Write one of {', '.join(datasets)}, or "
            "describe yours under datasets (config/README.md)."
        )


def qrels_of(folder: Path) -> dict[str, Path]:
    """The judgements of a corpus folder that are there: train, dev, test -> file."""
    paths = {kind: folder / "qrels" / f"{kind}.tsv" for kind in ("train", "dev", "test")}
    return {kind: path for kind, path in paths.items() if path.is_file()}


def _check_folder(folder: Path, where: str) -> dict[str, Path]:
    """The judgements of a folder that has all that it needs."""
    for name in ("corpus.jsonl", "queries.jsonl"):
        if not (folder / name).is_file():
            raise UserError(f"{where}: {folder / name} is not there. The layout is that of BEIR: config/README.md.")
    judged = qrels_of(folder)
    if "test" not in judged and "dev" not in judged:
        raise UserError(f"{where}: {folder}/qrels has neither test.tsv nor dev.tsv, so nothing can be measured.")
    return judged
