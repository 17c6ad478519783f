"""Whatever stands in a configuration: experiments or a `UserError`.

Some seconds; longer with, for example, FUZZ_EXAMPLES=100000 in the environment.
"""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddro.config.catalogue import load_datasets
from ddro.config.configuration import load_experiments
from ddro.config.schema import read_yaml
from ddro.core.command import UserError

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 100))
RARELY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LINES = st.sampled_from(
    [
        *(b"a: 1", b"a: &x [*x]", b"&a b: *a", b"? [a]: b", b"a: 2026-13-45", b"a: !!python/object:os.system x"),
        *(
            b"a: " + b"9" * 5000,
            b"[" * 3000,
            b"\t",
            b"\xff\xfe",
            b"a: \x01",
            b"- a",
            b"%YAML 9",
            b"<<: 3",
            b"1e400: .nan",
        ),
        *(
            b"a: 12:30:45",
            b"a: !!bool x",
            b"a: !!int x",
            b"a: {b: }",
            b"- - -",
            b"--- x",
            b"a: |",
            b"a: !!binary _",
            b"a: !!timestamp 7",
            b"? : ?",
        ),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        [10**400, -(2**63), 2**31, "awscli", "pq", "tu", "demo", "paper", "mine", "../x", "a b", "", "\0"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3),
    max_leaves=4,
)


def paths_of(schema: dict, place: tuple = ()) -> list[tuple]:
    found = [place] if place else []
    for key, part in schema.get("properties", {}).items():
        found += paths_of(part, (*place, key))
    return found


PATHS = paths_of(yaml.safe_load((ROOT / "workflow/schemas/recipe.schema.yaml").read_text()))


@pytest.mark.timeout(0)
@given(content=st.lists(LINES | st.binary(max_size=20), max_size=5).map(b"\n".join))
@RARELY
def test_any_bytes_are_keys_with_values_or_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(read_yaml(path), dict)
    except UserError as error:
        assert str(path) in str(error)


def loaded(config: dict) -> None:
    try:
        experiments = load_experiments(config, "mine.yaml", ROOT)
        load_datasets(config, "mine.yaml", ROOT)
    except UserError as error:
        assert "\0" not in str(error)
    else:
        assert all(experiment.name for experiment in experiments)


@pytest.mark.timeout(0)
@given(places=st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=2))
@RARELY
def test_any_value_of_a_recipe_is_taken_or_refused(places: list) -> None:
    recipe: dict = {"extends": "demo"}
    for path, value in places:
        section = recipe
        for key in path[:-1]:
            section = section.setdefault(key, {})
            if not isinstance(section, dict):
                break
        else:
            section[path[-1]] = value
    loaded({"experiments": [{"dataset": "awscli", "docid": "pq", "recipe": "mine"}], "recipes": {"mine": recipe}})


@pytest.mark.timeout(0)
@given(
    config=st.dictionaries(st.sampled_from(["experiments", "recipes", "datasets", "downloads", "x"]), VALUES)
    | st.fixed_dictionaries(
        {
            "experiments": st.lists(
                st.dictionaries(st.sampled_from(["dataset", "docid", "recipe", "x"]), VALUES, max_size=3), max_size=2
            ),
            "datasets": st.dictionaries(
                st.text(max_size=4),
                st.dictionaries(st.sampled_from(["folder", "ir_datasets", "training", "max_invalid", "keep"]), VALUES),
                max_size=2,
            ),
            "recipes": st.dictionaries(
                st.sampled_from(["mine", "demo", "a/b"]),
                st.dictionaries(st.sampled_from(["extends", "overrides", "seed", "sft"]), VALUES),
                max_size=2,
            ),
        }
    )
)
@RARELY
def test_any_configuration_is_taken_or_refused(config: dict) -> None:
    loaded(config)
