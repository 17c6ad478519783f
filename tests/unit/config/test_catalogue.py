import re

import pytest
import yaml

from ddro.config.catalogue import DEFAULTS, load_datasets, load_published, qrels_of
from ddro.config.configuration import load_experiments
from ddro.core.command import UserError

KEYS = {"title", "source", "licence", "citation", "reader", "keep", "max_invalid", "files"}


def test_the_shipped_data_sets_are_described_whole(root):
    for name, dataset in yaml.safe_load((root / "config" / "datasets.yaml").read_text()).items():
        if "like" in dataset:
            assert set(dataset) == {"like", "by", "dev_queries"}, name
            continue
        assert set(dataset) - {"expected", "by", "dev_queries", "settings_of"} == KEYS, name
        for file in dataset["files"]:
            assert {"name", "url", "size", "md5"} == set(file), name
            assert file["url"].startswith("https://") and file["url"].endswith("/" + file["name"])
            assert file["md5"] is None or re.fullmatch("[0-9a-f]{32}", file["md5"])
            assert file["size"] is None or file["size"] > 0


def test_a_variant_has_the_files_of_its_data_set_but_not_its_published_counts(root):
    datasets = load_datasets({}, "c", root)
    assert datasets["nq_by_id"]["family"] == ("nq", "nq_by_id")
    assert datasets["nq_by_id"]["files"] == datasets["nq"]["files"]
    assert (datasets["nq"]["by"], datasets["nq_by_id"]["by"]) == ("title", "id")
    assert "expected" in datasets["nq"] and "expected" not in datasets["nq_by_id"]


def test_the_authors_nq_has_the_settings_and_the_published_results_of_nq(root):
    assert load_datasets({}, "c", root)["nq_ddro"]["family"] == ("nq", "nq_ddro")
    recipe = {"extends": "demo", "overrides": {"nq/pq": {"decoding": {"beams": 7}}}}
    experiment = {"dataset": "nq_ddro", "docid": "pq", "recipe": "mine"}
    (found,) = load_experiments({"experiments": [experiment], "recipes": {"mine": recipe}}, "c", root)
    assert found.settings["decoding"]["beams"] == 7
    published = yaml.safe_load((root / "config/expected.yaml").read_text())["published"]
    assert published["nq_ddro"] == published["nq"]


def test_the_defaults_are_those_of_the_schema(root):
    schema = yaml.safe_load((root / "workflow/schemas/config.schema.yaml").read_text())
    keys = schema["properties"]["datasets"]["additionalProperties"]["properties"]
    assert {name: keys[name]["default"] for name in DEFAULTS if name != "files"} == {
        name: value for name, value in DEFAULTS.items() if name != "files"
    }


def test_an_override_for_a_data_set_holds_for_its_variants(root):
    recipe = {
        "extends": "demo",
        "overrides": {
            "nq_by_id": {"ddro": {"beta": 0.3}},
            "nq": {"ddro": {"beta": 0.2}, "decoding": {"beams": 7}},
            "nq/tu": {"decoding": {"beams": 9}},
        },
    }
    config = {
        "experiments": [{"dataset": "nq_by_id", "docid": docid, "recipe": "mine"} for docid in ("pq", "tu")],
        "recipes": {"mine": recipe},
    }
    pq, tu = load_experiments(config, "c", root)
    assert (pq.settings["ddro"]["beta"], pq.settings["decoding"]["beams"], tu.settings["decoding"]["beams"]) == (
        0.3,
        7,
        9,
    )


@pytest.fixture
def folder(tmp_path):
    """A folder in the layout of BEIR, without content."""
    (tmp_path / "qrels").mkdir()
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (tmp_path / name).touch()
    return tmp_path


def test_data_sets_of_the_users_own(root, folder):
    own = {"mine": {"folder": str(folder)}, "facts": {"ir_datasets": "beir/scifact", "keep": "judged"}}
    datasets = load_datasets({"datasets": own}, "c", root)
    assert datasets["mine"] == {
        "folder": str(folder),
        "reader": "folder",
        "family": ("mine",),
        "files": [],
        "keep": "all",
        "max_invalid": 0.001,
        "training": "pseudo",
    }
    assert (datasets["facts"]["reader"], datasets["facts"]["keep"]) == ("ir_datasets", "judged")
    assert qrels_of(folder) == {"test": folder / "qrels/test.tsv"}
    (folder / "qrels/train.tsv").touch()
    assert load_datasets({"datasets": own}, "c", root)["mine"]["training"] == "queries"
    (experiment,) = load_experiments({"datasets": own, "experiments": [{"dataset": "mine"}]}, "c", root)
    assert experiment.dataset == "mine"


def test_no_model_learns_to_write_queries_without_training_queries(root, folder):
    config = {"datasets": {"mine": {"folder": str(folder)}}, "experiments": [{"dataset": "mine"}]}
    with pytest.raises(UserError, match="recipe demo for mine: the data set has no training .*doc2query.epochs: 0"):
        load_experiments(config, "c", root)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"nq": {"ir_datasets": "x"}}, "c: datasets.nq: config/datasets.yaml has this name"),
        ({"mine": {}}, "c: datasets.mine: write exactly one of folder, ir_datasets, like"),
        ({"mine": {"folder": "x", "like": "nq"}}, "c: datasets.mine: write exactly one of"),
        ({"mine": {"like": "awscli"}}, "c: datasets.mine.like: 'awscli' has no variants. Write nq"),
        ({"mine": {"folder": "/absent"}}, "c: datasets.mine.folder: /absent/corpus.jsonl is not there"),
    ],
)
def test_mistakes_are_named(root, entry, message):
    with pytest.raises(UserError, match=message):
        load_datasets({"datasets": entry}, "c", root)


def test_a_folder_without_judgements_to_measure_by_is_refused(root, folder):
    (folder / "qrels/test.tsv").rename(folder / "qrels/train.tsv")
    with pytest.raises(UserError, match="neither test.tsv nor dev.tsv, so nothing can be measured"):
        load_datasets({"datasets": {"mine": {"folder": str(folder)}}}, "c", root)


def test_unknown_keys_of_a_data_set_are_told(root):
    with pytest.raises(UserError, match=r"datasets.mine.fodler: unknown key. Did you mean folder\?"):
        load_experiments({"datasets": {"mine": {"fodler": "x"}}}, "c", root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  beams: 80\n", "  beam: 80\n", "beam: unknown key. Did you mean beams?"),
        ("  beams: 80\n", "  beams: 0\n", "beams: must be at least 1 (beams), found 0."),
        ("  beams: 80\n", "", "beams: is missing. Write it."),
        ("  of: msmarco/pq/ddro\n", "  of: msmarco\n", "of: 'msmarco' can't be read. Write it as msmarco/pq/ddro."),
    ],
)
def test_a_mistake_in_a_published_checkpoint_is_told(old, new, message, root, tmp_path):
    for name in ("config/published.yaml", "workflow/schemas/published.schema.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((root / name).read_text())
    assert load_published(tmp_path)["ddro-msmarco-pq"]["leading_zero"] is None
    path = tmp_path / "config/published.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_published(tmp_path)
    assert str(caught.value).startswith(f"config/published.yaml: ddro-msmarco-pq.{message}")
