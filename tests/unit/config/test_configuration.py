"""What a configuration resolves to, what its experiments may share, and the options of a command line."""

import copy

import pytest

from ddro.config.configuration import Experiment, disagreements, load_experiments, merge, options
from ddro.core.command import UserError
from experiments import DEMO, SOURCE, load, settings_of
from project import ROOT

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
