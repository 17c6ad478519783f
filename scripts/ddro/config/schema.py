"""YAML files checked against a JSON schema, with messages that say what to write instead."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError

from ddro.core.command import UserError

Settings = dict[str, Any]

_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a section with keys",
    "string": "text",
}

# As the programs that get the numbers: 3.0 is no whole number, and .nan or .inf is none at all.
_VALIDATOR = validators.extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(
        {
            "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
            "number": lambda _, value: (
                isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
            ),
        }
    ),
)

_BOUNDS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}


def read_yaml(path: Path) -> Settings:
    """Read a YAML file that holds a mapping; a `UserError` names the line of a mistake."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file.") from error
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror or error}).") from error
    # The others: of a date that is none, of more digits than Python reads, of a tag that doesn't fit, of deep nesting.
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not YAML ({getattr(error, 'problem', None) or error}).") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys with values, found {show(content)}.")
    return content


def fill_defaults(value: Mapping[str, Any], schema: Mapping[str, Any]) -> Settings:
    """Return ``value`` with the schema's default for each missing key, in sections of sections too."""
    filled = dict(value)
    for key, part in schema["properties"].items():
        if "properties" in part:
            filled[key] = fill_defaults(value.get(key, {}), part)
        else:
            filled.setdefault(key, part["default"])
    return filled


def problems(value: Mapping[str, Any], schema: Mapping[str, Any]) -> list[str]:
    """Check against a JSON schema (Draft 2020-12); one message for each mistake: ``key.path: what to write``."""
    if names := list(_keys_that_are_no_text(value)):
        return [f"{name}: a key must be text. Write it in quotes." for name in names]
    errors = sorted(_VALIDATOR(schema).iter_errors(value), key=lambda error: str(error.json_path))
    of_wrong_type = {error.json_path for error in errors if error.validator == "type"}
    return [
        message
        for error in errors
        if error.validator == "type" or error.json_path not in of_wrong_type  # 0.5 isn't also too small a whole number
        for message in _describe(error, schema)
    ]


def _keys_that_are_no_text(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            if not isinstance(key, str):
                yield str(key)
            yield from _keys_that_are_no_text(part)


def _describe(error: ValidationError, schema: Mapping[str, Any]) -> Iterator[str]:
    """Say in words what is wrong and what to write, for one error of jsonschema."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    where, rule, value = path or "top level", error.validator_value, error.instance
    match error.validator:
        case "additionalProperties":
            known = list(error.schema["properties"])
            for key in (key for key in value if key not in known):
                hint = did_you_mean(str(key), known) or _elsewhere(str(key), schema)
                yield f"{path + '.' if path else ''}{key}: unknown key.{hint} Known here: {', '.join(known)}."
        case "type":
            kinds = " or ".join(_KINDS[kind] for kind in ([rule] if isinstance(rule, str) else rule))
            yield f"{where}: expected {kinds}, found {show(value)}.{_number_hint(value, rule)}"
        case "enum":
            hint = did_you_mean(str(value), [str(item) for item in rule])
            yield f"{where}: {show(value)} is not known.{hint} Write one of {', '.join(map(str, rule))}."
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            unit = error.schema.get("unit", "none")
            bound = f"{_BOUNDS[error.validator]} {rule}" + ("" if unit == "none" else f" ({unit})")
            yield f"{where}: must be {bound}, found {value}."
        case "minItems" | "minLength":
            yield f"{where}: is empty. Write at least one {'entry' if isinstance(value, list) else 'character'}."
        case "uniqueItems":
            yield f"{where}: the same entry stands there twice. Remove one."
        case "required":
            for key in (key for key in rule if key not in value):
                yield f"{path + '.' if path else ''}{key}: is missing. Write it."
        case "pattern" if "examples" in error.schema:
            yield f"{where}: {show(value)} can't be read. Write it as {error.schema['examples'][0]}."
        case "pattern":
            yield f"{where}: {show(value)} becomes part of a path. Write letters, digits, and . _ + - only."
        case _:
            yield f"{where}: {error.message}."


def _elsewhere(key: str, schema: Mapping[str, Any]) -> str:
    """Point to the section that has a key of this name, if another one has."""
    places = [path for path in _paths(schema) if path.split(".")[-1] == key]
    return f" Did you mean {' or '.join(places)}?" if places else ""


def _paths(schema: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, part in schema.get("properties", {}).items():
        yield prefix + key
        yield from _paths(part, f"{prefix}{key}.")


def _number_hint(value: Any, rule: str | list[str]) -> str:
    """YAML reads 1e-3 as text, because it wants a dot in the number."""
    if isinstance(value, str) and rule in ("number", "integer"):
        try:
            return f" Write {float(value) if rule == 'number' else int(value)} without quotes."
        except ValueError:
            pass
    return ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def show(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
