"""The training log of a stage: JSON lines as the Hugging Face Trainer logs them, each with ``stage`` and ``step``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ddro.core.command import UserError

Record = dict[str, Any]
LOG = "training_log.jsonl"  # tells times, which differ from run to run


def read_training_log(path: Path | str) -> list[Record]:
    """Return the records of the log in file order.

    Raises:
        UserError: no file, no record, or a line that is not an object with a text ``stage`` and a whole ``step``.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run snakemake to make it.")
    records = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            is_record = isinstance(record["stage"], str) and isinstance(record["step"], int)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise UserError(f"{path}:{number}: not a JSON object with stage and step: {line[:100]!r}.") from error
        if not is_record:
            raise UserError(f"{path}:{number}: stage must be text and step a whole number: {line[:100]!r}.")
        records.append(record)
    if not records:
        raise UserError(f"{path}: the log is empty. Delete the folder that it is in and run its rule again.")
    return records


def by_stage(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Return the records of each stage, stages in the order in which they come first."""
    stages: dict[str, list[Record]] = {}
    for record in records:
        stages.setdefault(record["stage"], []).append(record)
    return stages


def curve(records: Iterable[Record], key: str) -> tuple[list[int], list[float]]:
    """Return the steps at which ``key`` was logged, ascending, and its values; of a step logged twice the last counts.

    A run that was stopped logs some steps again after it resumes.
    """
    values = {record["step"]: float(record[key]) for record in records if key in record}
    return sorted(values), [values[step] for step in sorted(values)]
