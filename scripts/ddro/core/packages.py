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
