"""Published results, and how far ours are from them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ddro.core.command import UserError
from ddro.core.tables import MEASURES

VERDICTS = ("OK", "close")


class Difference(NamedTuple):
    """One measure, ours and theirs as fractions; ``points`` is ours - theirs in hundredths."""

    measure: str
    ours: float
    theirs: float
    points: float
    verdict: str


def read_expected(path: Path) -> dict[str, Any]:
    """Read config/expected.yaml: ``bounds``, and ``published``: data set -> docid -> system -> measure -> percent.

    Raises:
        UserError: another form, an unknown measure, or a number that is no percentage.
    """
    try:
        expected = yaml.safe_load(path.read_text(encoding="utf-8"))
        bounds = [expected["bounds"][verdict] for verdict in VERDICTS]
        if not 0 <= bounds[0] <= bounds[1]:
            raise UserError(f"{path}: bounds: expected 0 <= OK <= close, found {bounds}.")
        for dataset, schemes in expected["published"].items():
            for scheme, systems in schemes.items():
                for system, percent in systems.items():
                    for measure in percent.keys() - {"significant"}:
                        if measure not in MEASURES or not 0 <= percent[measure] <= 100:
                            raise UserError(f"{path}: {dataset}, {scheme}, {system}, {measure}: not a percentage.")
    except (OSError, yaml.YAMLError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{path}: expected bounds, and data set, docid, system, measure: percent ({error}).") from error
    return expected


def published_result(expected: Mapping[str, Any], dataset: str, docid: str, system: str) -> dict[str, float]:
    """Return the published measures of a system as fractions, or nothing; BM25 stands under the docid ``any``."""
    schemes = expected["published"].get(dataset, {})
    percent = schemes.get("any", {}).get(system) or schemes.get(docid, {}).get(system) or {}
    return {name: percent[name] / 100 for name in MEASURES if name in percent}


def differences(
    ours: Mapping[str, float], theirs: Mapping[str, float], bounds: Mapping[str, float]
) -> list[Difference]:
    """Compare each measure of ``theirs`` with ours; the verdict is OK, close or FAIL by ``bounds``, in points.

    A difference is rounded to a hundredth of a point, the precision of what is published, before it is judged.
    """
    result = []
    for measure, value in theirs.items():
        points = round(100 * (ours[measure] - value), 2)
        verdict = next((verdict for verdict in VERDICTS if abs(points) <= bounds[verdict]), "FAIL")
        result.append(Difference(measure, ours[measure], value, points, verdict))
    return result
