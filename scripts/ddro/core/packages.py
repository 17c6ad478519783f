"""Folders of installed packages, found without importing them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ddro.core.command import UserError


def package_folder(package: str) -> Path:
    """The folder of an installed top-level package.

    Raises:
        UserError: the package is not installed.
    """
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the package {package!r} is not installed. Install envs/lock.txt (make demo does it).")
    return Path(spec.submodule_search_locations[0])


def model_folder(model: str) -> str:
    """The folder of a sentence-transformers model inside an installed package, ``package:NAME``; else ``model`` itself.

    Raises:
        UserError: the package isn't installed, or has none or several models.
    """
    scheme, _, name = model.partition(":")
    if scheme != "package":
        return model
    package = package_folder(name)
    found = sorted(package.rglob("modules.json"))  # every saved sentence-transformers model has this file
    if len(found) != 1:
        raise UserError(f"{model}: {len(found)} sentence-transformers models are in {package}; there must be 1.")
    return str(found[0].parent)
