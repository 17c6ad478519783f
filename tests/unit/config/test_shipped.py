"""What is shipped: schemas, recipes and configurations."""

import pytest
import yaml
from jsonschema import Draft202012Validator

from ddro.config.configuration import load_experiments
from experiments import DATASETS, DOCIDS, settings_of
from project import ROOT

SCHEMAS = {
    name: yaml.safe_load((ROOT / f"workflow/schemas/{name}.schema.yaml").read_text()) for name in ("config", "recipe")
}
RECIPES = sorted(path.stem for path in (ROOT / "config/recipes").glob("*.yaml"))


def keys(schema: dict, path: str = ""):
    """(dotted path, schema) of each key."""
    if "items" in schema:
        yield from keys(schema["items"], path)
    for name, part in schema.get("properties", {}).items():
        yield f"{path}{name}", part
        yield from keys(part, f"{path}{name}.")


@pytest.mark.parametrize(("path", "part"), [item for schema in SCHEMAS.values() for item in keys(schema)])
def test_every_key_has_a_description_a_fitting_default_and_bounds(path, part):
    assert part["description"].strip().endswith(".")
    assert "default" in part
    if "$ref" not in str(part):
        Draft202012Validator(part).validate(part["default"])
    if part["type"] in ("number", "integer"):
        assert {"minimum", "exclusiveMinimum", "enum"} & part.keys(), path
        assert "unit" in part, path
    if part["type"] == "object" and path not in ("recipes", "overrides", "datasets", "downloads.files"):
        assert part["additionalProperties"] is False


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_are_schemas(name):
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("docid", DOCIDS)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_recipe_resolves_for_every_pair(dataset, docid, recipe):
    settings = settings_of(dataset, docid, recipe)
    assert settings.keys() == SCHEMAS["recipe"]["properties"].keys() - {"extends", "overrides"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_value_of_a_recipe_has_its_source_beside_it(recipe):
    lines = (ROOT / f"config/recipes/{recipe}.yaml").read_text().splitlines()
    values = [line for line in lines if not line.startswith("#") and ":" in line.split("#")[0]]
    bare = [line for line in values if not line.split("#")[0].rstrip().endswith(":") and "#" not in line]
    assert bare == []


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path):
    content = yaml.safe_load(path.read_text())
    if "experiments" in content:
        assert load_experiments(content, path.name, ROOT)
