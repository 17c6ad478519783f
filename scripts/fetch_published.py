"""Fetch a published model with its docids and its test set from the Hugging Face hub, as a folder that needs no hub."""

import argparse
import shutil
from pathlib import Path

from ddro.core.command import call_main, log
from ddro.core.files import write_whole


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", required=True, help="folder, or repository OWNER/MODEL of the hub")
    options.add_argument("--docids", required=True, help="file, or OWNER/DATA:PATH of a data set of the hub")
    options.add_argument("--tests", required=True, help="file, or OWNER/DATA:PATH of a data set of the hub")
    options.add_argument("--revision", help="a commit of the model's repository")
    options.add_argument("--output", type=Path, required=True, help="folder of model, docids.txt, tests.jsonl")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.models.hub import fetch

    model = fetch(arguments.model, arguments.revision)
    docids, tests = fetch(arguments.docids), fetch(arguments.tests)
    with write_whole(arguments.output) as folder:
        shutil.copytree(model, folder / "model")
        shutil.copyfile(docids, folder / "docids.txt")
        shutil.copyfile(tests, folder / "tests.jsonl")
    log.info("%s: a model, its docids, its test set", arguments.output)


if __name__ == "__main__":
    call_main(parser(), main, hub=True)
