"""The project's scripts, called in this process."""

from types import ModuleType


def call(script: ModuleType, *words: object) -> None:
    """Run ``script`` with the words of a command line, which may be paths and numbers."""
    script.main(script.parser().parse_args(list(map(str, words))))
