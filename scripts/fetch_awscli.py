"""Read the embedded data set from the installed packages awscli and botocore."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main
from ddro.core.packages import package_folder
from ddro.corpora.awscli import read_packages
from ddro.corpora.collection import add_options
from ddro.corpora.information_needs import write_collection


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--awscli", type=Path, help="folder of the package awscli (default: the installed one)")
    options.add_argument("--botocore", type=Path, help="folder of the package botocore (default: the installed one)")
    add_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    documents, needs, left_out = read_packages(
        arguments.awscli or package_folder("awscli"), arguments.botocore or package_folder("botocore")
    )
    if not needs:
        raise UserError("the example files hold no heading that makes a query. Reinstall awscli (envs/lock.txt).")
    write_collection(
        documents,
        needs,
        left_out,
        "built in",
        output=arguments.output,
        report=arguments.report,
        expected=arguments.expected,
    )


if __name__ == "__main__":
    call_main(parser(), main)
