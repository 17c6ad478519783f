"""The configuration: what it resolves to, and the words for each mistake in it."""

import copy
import math
import shutil
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from ddro.config.configuration import Experiment, disagreements, load_experiments, merge, options
from ddro.core.command import UserError

ROOT = Path(__file__).resolve().parents[3]
SOURCE = "config/config.yaml"
DATASETS = ("awscli", "ansible", "msmarco", "nq", "nq_ddro", "nq_in_corpus", "nq_by_id", "nq_by_id_in_corpus")
DOCIDS = ("pq", "rq", "tu", "atomic")
SCOPES = ", ".join([*DATASETS, *DOCIDS, *(f"{dataset}/{docid}" for dataset in DATASETS for docid in DOCIDS)])
DEMO = {"dataset": "awscli", "docid": "pq", "recipe": "demo"}


def load(*experiments: dict, root: Path = ROOT, **recipes: dict) -> list[Experiment]:
    return load_experiments({"experiments": list(experiments), "recipes": recipes}, SOURCE, root)


def settings_of(dataset: str, docid: str, recipe: str = "paper", **recipes: dict) -> dict:
    (experiment,) = load({"dataset": dataset, "docid": docid, "recipe": recipe}, **recipes)
    return experiment.settings


def mistake(recipe: dict, **experiment: str) -> str:
    """The message for a recipe that goes on top of demo, without its beginning, which names the place."""
    with pytest.raises(UserError) as caught:
        load(DEMO | {"recipe": "mine"} | experiment, mine={"extends": "demo"} | recipe)
    place = "config/config.yaml: recipes.mine."
    assert str(caught.value).startswith(place)
    return str(caught.value).removeprefix(place)


# --- what a configuration resolves to ---


def test_an_empty_configuration_is_the_default_experiment():
    (experiment,) = load_experiments({}, SOURCE, ROOT)
    assert (experiment.dataset, experiment.docid, experiment.recipe) == ("awscli", "pq", "demo")
    assert experiment.settings["corpus"]["top_k"] == 2000


def test_missing_keys_of_an_experiment_have_defaults():
    (experiment,) = load({"docid": "tu"})
    assert (experiment.dataset, experiment.docid, experiment.recipe) == ("awscli", "tu", "demo")


@pytest.mark.parametrize(
    ("dataset", "docid", "top_k", "per_query", "k1", "tied", "rate", "beams"),
    [
        ("msmarco", "pq", 319927, 16, 2.16, False, 5e-6, 80),
        ("msmarco", "tu", 319927, 16, 2.16, True, 1e-5, 15),
        ("nq", "pq", 109739, 8, 0.82, False, 5e-6, 100),
        ("nq", "tu", 109739, 8, 0.82, True, 1e-5, 50),
    ],
)
def test_the_paper_has_its_own_values_for_each_pair(dataset, docid, top_k, per_query, k1, tied, rate, beams):
    settings = settings_of(dataset, docid)
    assert settings["corpus"]["top_k"] == top_k
    assert settings["negatives"]["per_query"] == per_query
    assert settings["bm25"]["ranking"]["k1"] == k1
    assert settings["sft"]["tied_head"] is tied
    assert settings["ddro"]["learning_rate"] == rate
    assert settings["decoding"]["beams"] == beams


def test_overrides_go_from_data_set_to_docid_to_both():
    recipe = {
        "extends": "demo",
        "decoding": {"beams": 11},
        "overrides": {
            "awscli/pq": {"decoding": {"beams": 14}},
            "pq": {"decoding": {"beams": 13}, "ddro": {"beta": 0.3}},
            "awscli": {"decoding": {"beams": 12}, "ddro": {"beta": 0.2, "epochs": 7}},
        },
    }
    settings = settings_of("awscli", "pq", "mine", mine=recipe)
    assert settings["decoding"] == {"beams": 14, "length_penalty": 0, "max_query_tokens": 32, "precision": "float32"}
    assert (settings["ddro"]["beta"], settings["ddro"]["epochs"]) == (0.3, 7)
    assert settings_of("awscli", "tu", "mine", mine=recipe)["decoding"]["beams"] == 12


def test_a_recipe_that_extends_another_goes_on_top_of_its_overrides():
    mine = {"extends": "paper", "decoding": {"beams": 5}, "negatives": {"strata": [10, 20]}}
    yours = {"extends": "mine", "overrides": {"nq": {"decoding": {"beams": 6}}}}
    settings = settings_of("msmarco", "tu", "mine", mine=mine)
    assert settings["decoding"] == {"beams": 5, "length_penalty": 1, "max_query_tokens": 64, "precision": "float32"}
    assert settings["negatives"] == settings_of("msmarco", "tu", "paper")["negatives"] | {"strata": [10, 20]}
    assert settings["ddro"]["learning_rate"] == 1e-5
    assert settings_of("nq", "tu", "yours", mine=mine, yours=yours)["decoding"]["beams"] == 6


def test_a_recipe_that_leaves_out_keys_has_defaults():
    assert settings_of("msmarco", "pq", "short", short={"ddro": {"beta": 0.2}}) == merge(
        settings_of("msmarco", "pq", "none", none={}), {"ddro": {"beta": 0.2}}
    )
    assert settings_of("msmarco", "pq", "none", none={})["sft"]["stages"]["search_pretrain"] == {
        "epochs": 20,
        "learning_rate": 1e-3,
        "replay": [],
    }


def test_settings_hold_no_key_that_only_resolves_them():
    assert {"extends", "overrides"}.isdisjoint(settings_of("msmarco", "pq"))


def test_the_configuration_itself_stays_as_it_is():
    config = {"experiments": [{"docid": "tu"}], "recipes": {"mine": {"extends": "demo"}}}
    before = copy.deepcopy(config)
    load_experiments(config, SOURCE, ROOT)
    assert config == before


def test_merge_goes_into_sections_and_takes_everything_else_whole():
    low = {"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": {"f": 1}}
    high = {"a": {"c": [3]}, "d": {"g": 2}, "e": None}
    assert merge(low, high) == {"a": {"b": 1, "c": [3]}, "d": {"g": 2}, "e": None}
    assert low == {"a": {"b": 1, "c": [1, 2]}, "d": 1, "e": {"f": 1}}


# --- options for a command line ---


def test_options():
    settings = {"bm25": {"depth": 10, "mining": {"k1": 0.82, "b": 5e-6}}, "seed": 3}
    assert options(settings, ["bm25.mining", "bm25.depth", "seed"]) == (
        ["--k1", "0.82", "--b", "5e-06", "--depth", "10", "--seed", "3"]
    )


def test_options_of_lists_switches_and_nothing():
    settings = {"x": {"top_ks": [1, 2], "tied_head": True, "other": False, "revision": None, "name": "two words"}}
    assert options(settings, ["x"]) == ["--top-ks", "1", "2", "--tied-head", "--no-other", "--name", "two words"]
    assert options(settings, []) == []


# --- mistakes in the configuration ---


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"experiment": []},
            "config/config.yaml: experiment: unknown key. Did you mean experiments? Known here: experiments, recipes, "
            "datasets, downloads.",
        ),
        ({"experiments": []}, "config/config.yaml: experiments: is empty. Write at least one entry."),
        ({"experiments": {}}, "config/config.yaml: experiments: expected a list, found {}."),
        ({"experiments": ["nq"]}, "config/config.yaml: experiments[0]: expected a section with keys, found 'nq'."),
        (
            {"experiments": [DEMO, DEMO]},
            "config/config.yaml: experiments: the same entry stands there twice. Remove one.",
        ),
        (
            {"experiments": [{"docid": "tu"}, {"dataset": "awscli", "docid": "tu"}]},
            "config/config.yaml: experiments: awscli/tu/demo stands there twice. Remove one.",
        ),
        (
            {"experiments": [{"dataset": "ms-marco"}]},
            "config/config.yaml: experiments[0].dataset: 'ms-marco' is not known. Did you mean msmarco? "
            "Write one of awscli, ansible, msmarco, nq, nq_ddro, nq_in_corpus, nq_by_id, nq_by_id_in_corpus, or "
            "describe yours under datasets (config/README.md).",
        ),
        (
            {"experiments": [{"docid": "xyz"}]},
            "config/config.yaml: experiments[0].docid: 'xyz' is not known. Write one of pq, rq, tu, atomic.",
        ),
        (
            {"experiments": [{"recipe": "demmo"}]},
            "config/config.yaml: unknown recipe 'demmo'. Did you mean demo? Known: authors_code, demo, paper, scratch.",
        ),
        (
            {"experiments": [{"recipe": "../demo"}]},
            "config/config.yaml: experiments[0].recipe: '../demo' becomes part of a path. "
            "Write letters, digits, and . _ + - only.",
        ),
        (
            {"recipes": {"demo": {"extends": "paper"}}},
            "config/config.yaml: recipes.demo: config/recipes/demo.yaml has this name. Choose another.",
        ),
        (
            {"datasets": {2019: {"folder": "x"}}},
            "config/config.yaml: 2019: a key must be text. Write it in quotes.",
        ),
        ({"recipes": {"mine": 3}}, "config/config.yaml: recipes.mine: expected a section with keys, found 3."),
    ],
)
def test_mistakes_in_the_configuration(config, message):
    with pytest.raises(UserError) as caught:
        load_experiments(config, SOURCE, ROOT)
    assert str(caught.value) == message


def test_all_mistakes_are_told_one_a_line():
    with pytest.raises(UserError) as caught:
        load_experiments({"experiments": [{"dataset": 1}, {"docid": "b"}], "extra": 1}, SOURCE, ROOT)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["extra", "experiments[0].dataset", "experiments[1].docid"]


# --- mistakes in a recipe ---


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"bm25": {"dept": 10}},
            "bm25.dept: unknown key. Did you mean depth? Known here: text, depth, mining, ranking.",
        ),
        (
            {"negatives": {"loss_type": "ipo"}},
            "negatives.loss_type: unknown key. Did you mean ddro.loss_type? "
            "Known here: per_query, strata, remainder, collection, positives, beams, queries.",
        ),
        ({"ddro": {"beta": "high"}}, "ddro.beta: expected a number, found 'high'."),
        ({"ddro": {"beta": "1e-3"}}, "ddro.beta: expected a number, found '1e-3'. Write 0.001 without quotes."),
        ({"ddro": {"batch_size": 0.5}}, "ddro.batch_size: expected a whole number, found 0.5."),
        ({"ddro": {"batch_size": True}}, "ddro.batch_size: expected a whole number, found True."),
        ({"corpus": {"top_k": 1e6}}, "corpus.top_k: expected a whole number, found 1000000.0."),
        ({"ddro": {"beta": math.nan}}, "ddro.beta: expected a number, found nan."),
        ({"ddro": None}, "ddro: expected a section with keys, found None."),
        ({"sft": {"tied_head": "yes"}}, "sft.tied_head: expected true or false, found 'yes'."),
        ({"model": {"revision": 5}}, "model.revision: expected text or null, found 5."),
        ({"model": {"source": ""}}, "model.source: is empty. Write at least one character."),
        ({"ddro": {"beta": 0}}, "ddro.beta: must be above 0, found 0."),
        ({"corpus": {"top_k": 0}}, "corpus.top_k: must be at least 1 (documents), found 0."),
        ({"split": {"test_share": 1}}, "split.test_share: must be below 1 (share of all queries), found 1."),
        ({"bm25": {"mining": {"b": 1.5}}}, "bm25.mining.b: must be at most 1, found 1.5."),
        ({"negatives": {"strata": [0]}}, "negatives.strata[0]: must be at least 1, found 0."),
        (
            {"sft": {"shared": {"schedule": "cosin"}}},
            "sft.shared.schedule: 'cosin' is not known. Did you mean cosine? Write one of linear, cosine, constant.",
        ),
        (
            {"sft": {"stages": {"search_pretrain": {"replay": ["finetune"]}}}},
            "sft.stages.search_pretrain.replay[0]: 'finetune' is not known. Write one of pretrain.",
        ),
        (
            {"overrides": {"nqq": {}}},
            f"overrides.nqq: no such data set or docid scheme. Did you mean nq? Write one of {SCOPES}.",
        ),
        (
            {"overrides": {"tu/nq": {}}},
            f"overrides.tu/nq: no such data set or docid scheme. Write one of {SCOPES}.",
        ),
        (
            {"overrides": {"pq": {"extends": "paper"}}},
            "overrides.pq.extends: not possible here. Move it to the top of the recipe.",
        ),
        ({"overrides": {"nq": {"ddro": {"beta": -1}}}}, "overrides.nq.ddro.beta: must be above 0, found -1."),
    ],
)
def test_mistakes_in_a_recipe(recipe, message):
    assert mistake(recipe) == message


def test_a_recipe_cannot_extend_itself():
    with pytest.raises(UserError, match=r"recipes\.b\.extends: .* extends itself \(a -> b -> a\)|a -> b -> a"):
        load(DEMO | {"recipe": "a"}, a={"extends": "b"}, b={"extends": "a"})


def test_a_recipe_that_extends_an_unknown_one():
    with pytest.raises(UserError, match=r"unknown recipe 'papre'. Did you mean paper\? Known: authors_code, "):
        load(DEMO | {"recipe": "mine"}, mine={"extends": "papre"})


@pytest.fixture
def copy_of_project(tmp_path):
    for folder in ("config", "workflow/schemas"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_a_mistake_in_a_recipe_file_names_the_file(copy_of_project):
    path = copy_of_project / "config/recipes/demo.yaml"
    path.write_text(path.read_text().replace("loss_type: sigmoid", "loss_type: sigmoit"))
    with pytest.raises(UserError, match=r"^config/recipes/demo.yaml: ddro.loss_type: 'sigmoit' is not known. Did you"):
        load(DEMO, root=copy_of_project)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ddro:\n  beta: [1\n", r"demo.yaml:\d+: not YAML"),
        ("- ddro\n", r"demo.yaml: expected keys with values, found \['ddro'\]"),
        ("", "demo.yaml: expected keys with values, found None"),
    ],
)
def test_a_recipe_file_that_is_no_recipe(copy_of_project, text, message):
    (copy_of_project / "config/recipes/demo.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        load(DEMO, root=copy_of_project)


# --- contradictions ---


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            {"pq": {"subspaces": 10, "components": 48}},
            "pq.subspaces is 10, which doesn't divide pq.components 48. Write one of 1, 2, 3, 4, 6, 8, 12, 16, 24, 48.",
        ),
        (
            {"pq": {"components": 400}},
            "pq.components is 400, more than embedding.dimension 384 or the 2000 documents of corpus.top_k. "
            "Write a smaller one, or null to quantise the vectors themselves.",
        ),
        (
            {"pq": {"subspaces": 10, "components": None}, "embedding": {"dimension": 384}},
            "pq.subspaces is 10, which doesn't divide embedding.dimension 384. "
            "Write one of 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128.",
        ),
        (
            {"doc2query": {"beams": 4, "per_document": 5}},
            "doc2query.beams is 4, fewer than doc2query.per_document 5. Write as many or more, or null to sample.",
        ),
        (
            {"doc2query": {"engine": "ctranslate2"}},
            "doc2query.engine is ctranslate2, which can't run a model without encoder layers (model.layers is 0). "
            "Write transformers.",
        ),
        (
            {"pq": {"centroids": 256}, "corpus": {"top_k": 255}},
            "pq.centroids is 256, more than the 255 documents of corpus.top_k. Write a smaller one.",
        ),
        (
            {"split": {"test_share": 0.6, "validation_share": 0.4}},
            "split.test_share and split.validation_share add up to 1 or more, which leaves no training query.",
        ),
        (
            {"negatives": {"strata": [100, 100]}},
            "negatives.strata must rise, found [100, 100]. Write the last rank of each stratum: [100, 500, 1000].",
        ),
        (
            {"negatives": {"strata": [100, 500]}, "bm25": {"depth": 200}},
            "negatives.strata ends at rank 500, but bm25.depth is 200. Raise bm25.depth or end sooner.",
        ),
        (
            {"model": {"source": "scratch", "revision": "main"}},
            "model.revision has no meaning with model.source scratch. Remove it or name a model.",
        ),
        (
            {"model": {"source": "package:x"}, "doc2query": {"source": "base"}},
            "doc2query.source is base, but the model on package:x writes docids alone, no queries. Write scratch, or a "
            "model that writes queries.",
        ),
        (
            {"embedding": {"model": "package:x", "revision": "main"}},
            "embedding.revision has no meaning with embedding.model package:x. Write null.",
        ),
    ],
)
def test_contradictions(recipe, message):
    with pytest.raises(UserError) as caught:
        load(DEMO | {"recipe": "mine"}, mine={"extends": "demo"} | recipe)
    assert str(caught.value) == f"config/config.yaml: recipe mine for awscli/pq: {message}"


def test_only_a_pretrained_t5_writes_docids():
    generated = {"tu": {"rule": "generated"}}
    assert settings_of("nq", "tu", "mine", mine={"extends": "paper", **generated})["tu"]["rule"] == "generated"
    with pytest.raises(UserError, match="tu.rule is generated, but the model of model.source package:.* Write another"):
        load(DEMO | {"docid": "tu", "recipe": "mine"}, mine={"extends": "demo", **generated})


def test_only_natural_questions_have_a_content_beside_an_abstract():
    for dataset in ("nq", "nq_by_id", "nq_ddro"):
        for recipe in ("paper", "authors_code"):
            assert settings_of(dataset, "tu", recipe)["bm25"]["text"] == "content"
    with pytest.raises(UserError) as caught:
        load(DEMO | {"recipe": "mine"}, mine={"extends": "demo", "bm25": {"text": "content"}})
    assert str(caught.value) == (
        "config/config.yaml: recipe mine for awscli: bm25.text is content, but nothing tells abstract and content of "
        "these documents apart. Write body or title_body."
    )


def test_quantisation_that_is_not_used_may_contradict_itself():
    settings = settings_of("awscli", "tu", "mine", mine={"extends": "demo", "pq": {"subspaces": 7}})
    assert settings["pq"]["subspaces"] == 7


# --- experiments that share files ---


def test_experiments_that_share_a_data_set_must_agree_on_it():
    other = {"extends": "demo", "bm25": {"ranking": {"k1": 2.0}}, "ddro": {"beta": 0.2}}
    with pytest.raises(UserError) as caught:
        load(DEMO, DEMO | {"recipe": "other"}, other=other)
    assert str(caught.value) == (
        "config/config.yaml: two experiments share results/awscli/ but not bm25.ranking.k1: it is 0.82 in recipe demo "
        "for docid pq and 2.0 in recipe other for docid pq. Write the same value in both, or run them in two copies of "
        "the project."
    )


def test_experiments_may_differ_in_what_they_do_not_share():
    other = {"extends": "demo", "ddro": {"beta": 0.2}, "overrides": {"tu": {"tu": {"max_tokens": 20}}}}
    assert len(load(DEMO, DEMO | {"recipe": "other"}, DEMO | {"recipe": "other", "docid": "tu"}, other=other)) == 3


def test_experiments_that_share_docids_must_agree_on_them():
    other = {"extends": "demo", "tu": {"max_tokens": 20}}
    experiments = [DEMO | {"docid": "tu"}, DEMO | {"docid": "tu", "recipe": "other"}]
    with pytest.raises(UserError, match=r"share results/awscli/tu/ but not tu.max_tokens: it is 99 .* and 20 "):
        load(*experiments, other=other)


def test_data_sets_have_nothing_in_common():
    one = Experiment("nq", "pq", "paper", settings_of("nq", "pq"))
    two = Experiment("msmarco", "pq", "paper", settings_of("msmarco", "pq"))
    assert list(disagreements([one, two])) == []


# --- what is shipped ---

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


def test_numbers_that_no_typed_array_holds_are_refused():
    for recipe, message in (
        ({"corpus": {"top_k": 2**31}}, "corpus.top_k: must be at most 2147483647"),
        ({"negatives": {"strata": [10, 10**30]}}, "negatives.strata[1]: must be at most 2147483647"),
        ({"sft": {"shared": {"max_grad_norm": 10**400}}}, "sft.shared.max_grad_norm: expected a number"),
    ):
        assert mistake(recipe).startswith(message)
