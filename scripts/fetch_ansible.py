"""Read the data set ansible from the installed package of that name."""

import argparse
import importlib.metadata
import importlib.util
from pathlib import Path

from ddro.core.command import UserError, call_main, log, progress
from ddro.corpora.ansible import INSTALL, VERSION, module_files, read_package
from ddro.corpora.collection import add_options
from ddro.corpora.information_needs import write_collection


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--collections", type=Path, help="folder ansible_collections (default: the installed one)")
    add_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    folder = arguments.collections or installed_collections()
    files = module_files(folder)
    documents, needs, left_out = read_package(folder, progress(files, description="modules", unit="files"))
    write_collection(
        documents,
        needs,
        left_out,
        "installed package",
        output=arguments.output,
        report=arguments.report,
        expected=arguments.expected,
    )


def installed_collections() -> Path:
    """The folder of the installed package, found without importing it; another version than the usual is told."""
    spec = importlib.util.find_spec("ansible_collections")
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the package ansible is not installed. {INSTALL}")
    found = importlib.metadata.version("ansible")
    if found != VERSION:
        log.warning("ansible %s is installed; the numbers in the docs are of %s.", found, VERSION)
    return Path(next(iter(spec.submodule_search_locations)))


if __name__ == "__main__":
    call_main(parser(), main)
