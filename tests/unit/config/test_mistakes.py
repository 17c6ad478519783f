"""The words for each mistake in a configuration or a recipe."""

import math
import shutil

import pytest

from ddro.config.configuration import load_experiments
from ddro.core.command import UserError
from experiments import DATASETS, DEMO, DOCIDS, SOURCE, load, settings_of
from project import ROOT

SCOPES = ", ".join([*DATASETS, *DOCIDS, *(f"{dataset}/{docid}" for dataset in DATASETS for docid in DOCIDS)])


def mistake(recipe: dict, **experiment: str) -> str:
    """The message for a recipe that goes on top of demo, without its beginning, which names the place."""
    with pytest.raises(UserError) as caught:
        load(DEMO | {"recipe": "mine"} | experiment, mine={"extends": "demo"} | recipe)
    place = "config/config.yaml: recipes.mine."
    assert str(caught.value).startswith(place)
    return str(caught.value).removeprefix(place)


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
    with pytest.raises(UserError, match=r"recipes\.a\.extends: the recipe extends itself \(a -> b -> a\)"):
        load(DEMO | {"recipe": "a"}, a={"extends": "b"}, b={"extends": "a"})


def test_a_recipe_that_extends_an_unknown_one():
    with pytest.raises(UserError, match=r"unknown recipe 'papre'. Did you mean paper\? Known: authors_code, "):
        load(DEMO | {"recipe": "mine"}, mine={"extends": "papre"})


def test_numbers_that_no_typed_array_holds_are_refused():
    for recipe, message in (
        ({"corpus": {"top_k": 2**31}}, "corpus.top_k: must be at most 2147483647"),
        ({"negatives": {"strata": [10, 10**30]}}, "negatives.strata[1]: must be at most 2147483647"),
        ({"sft": {"shared": {"max_grad_norm": 10**400}}}, "sft.shared.max_grad_norm: expected a number"),
    ):
        assert mistake(recipe).startswith(message)


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
            {"instances": {"crop_words": [8, 2]}},
            "instances.crop_words is [8, 2]. Write the fewest words of a crop first, then the most.",
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
