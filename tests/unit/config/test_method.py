"""The table of hyper-parameters in docs/method.md says what the recipes say."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
METHOD = (ROOT / "docs/method.md").read_text(encoding="utf-8")
RECIPES = {
    name: yaml.safe_load((ROOT / f"config/recipes/{name}.yaml").read_text(encoding="utf-8"))
    for name in ("paper", "authors_code", "demo")
}


def leaves(part, path=()):
    """The dotted paths of all settings below a part of the schema."""
    inner = part.get("properties", {}).items()
    return [leaf for key, value in inner for leaf in leaves(value, (*path, key))] or [".".join(path)]


SCHEMA = yaml.safe_load((ROOT / "workflow/schemas/recipe.schema.yaml").read_text(encoding="utf-8"))
SETTINGS = [path for path in leaves(SCHEMA) if path not in ("extends", "overrides")]


def shown(value):
    """A value as a cell shows it: 1e-6, [1, 2], true, null; of a commit the beginning."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, float):
        return re.sub(r"e([+-])0*", r"e\1", f"{value:g}")
    names = {"None": "null", "True": "true", "False": "false"}
    text = names.get(str(value), str(value))
    return text[:7] if re.fullmatch("[0-9a-f]{40}", text) else text


def values_at(recipe, path):
    """The value at a dotted path, in a list; an empty one where there is none."""
    for key in path.split("."):
        if not isinstance(recipe, dict) or key not in recipe:
            return []
        recipe = recipe[key]
    return [recipe]


def cell(recipe, path):
    """A recipe's value, then those of its overrides behind their names."""
    parts = [shown(value) for value in values_at(recipe, path)]
    for scope, changes in recipe.get("overrides", {}).items():
        parts += [f"{scope}: {shown(value)}" for value in values_at(changes, path)]
    return "; ".join(parts)


def rows_of_table():
    """For each setting of the table the cells of the three recipes."""
    rows = re.findall(r"^\| `([a-z][\w.]*)` \|(.*)\|$", METHOD, flags=re.MULTILINE)
    cells = [(path, [part.strip() for part in rest.split("|")]) for path, rest in rows]
    return [(path, parts[-3:]) for path, parts in cells if len(parts) == 6]


def test_each_setting_has_one_row():
    assert [path for path, _ in rows_of_table()] == SETTINGS  # in the order of the schema


@pytest.mark.parametrize("path", SETTINGS)
def test_the_table_says_what_the_recipes_say(path):
    assert dict(rows_of_table()).get(path) == [cell(recipe, path) for recipe in RECIPES.values()]


def test_each_of_the_twenty_differences_names_its_setting():
    part = METHOD.partition("## Where the sources differ")[2].partition("What is left different")[0]
    rows = [row.split("|")[1:-1] for row in re.findall(r"^\| .*\|$", part, flags=re.MULTILINE)][1:]
    assert len(rows) == 20
    names = {name for path in SETTINGS for name in (path, path.split(".")[-1])}
    for point, _, setting in rows:
        first = re.search(r"`([a-z0-9_.]+)", setting)
        assert first and first[1] in names, point


def test_a_setting_that_a_recipe_leaves_to_its_default_belongs_to_a_model_from_scratch():
    left_out = {path for path in SETTINGS for recipe in RECIPES.values() if not cell(recipe, path)}
    assert {path.split(".")[0] for path in left_out} <= {"model"}


def test_cells():
    assert [shown(value) for value in (1e-6, 0.4, 1.0, 3, 0, True, False, None, [1, "a"], "0" * 40)] == (
        ["1e-6", "0.4", "1", "3", "0", "true", "false", "null", "[1, a]", "0000000"]
    )
    recipe = {"a": {"b": 1}, "overrides": {"tu": {"a": {"b": True}}, "nq": {"a": {"c": 2}}}}
    assert [cell(recipe, path) for path in ("a.b", "a.c", "a.d")] == ["1; tu: true", "nq: 2", ""]
