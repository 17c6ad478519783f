from xml.etree import ElementTree

import plot_ablation
from ddro.config.configuration import load_experiments
from ddro.config.schema import read_yaml
from ddro.core.files import write_json
from ddro.report.ablation import panels_of

BASE = ("awscli", "pq", "demo")
POINT = (0.5, 0.45, 0.55)


def test_panels():
    measured = {
        (*BASE, "ddro"): POINT,
        (*BASE, "sft"): (0.4, 0.3, 0.5),
        ("awscli", "pq", "beta-0.2", "ddro"): (0.6, 0.5, 0.7),
        ("awscli", "pq", "beta-0.2", "sft"): (0.4, 0.3, 0.5),
        ("awscli", "tu", "demo", "ddro"): (0.7, 0.6, 0.8),
        ("awscli", "pq", "mine", "ddro"): (0.8, 0.7, 0.9),
    }
    base, panels = panels_of(measured)
    assert base == POINT
    assert panels == {
        "without": {"ddro": (0.4, 0.3, 0.5)},
        "beta": {"0.2": (0.6, 0.5, 0.7)},
        "docid": {"tu": (0.7, 0.6, 0.8)},
        "other": {"mine": (0.8, 0.7, 0.9)},
    }


def test_script_draws_each_value(tmp_path):
    paths = []
    for docid, recipe, system in (("pq", "demo", "ddro"), ("pq", "demo", "sft"), ("pq", "beta-0.2", "ddro")):
        paths.append(tmp_path / "awscli" / docid / recipe / f"metrics/{system}.test.json")
        write_json({"groups": {"all": {"MRR@10": 0.5, "intervals": {"MRR@10": [0.4, 0.6]}}}}, paths[-1])
    options = ["--metrics", *map(str, paths), "--output", str(tmp_path / "ablation.svg")]
    plot_ablation.main(plot_ablation.parser().parse_args(options))
    drawn = ElementTree.parse(tmp_path / "ablation.svg").getroot()
    panels = [element for element in drawn.iter() if element.get("id", "").startswith("axes_")]
    assert len(panels) == 2  # without, beta


def test_the_shipped_ablations_each_change_one_setting(root):
    experiments = load_experiments(read_yaml(root / "config/ablation.yaml"), "config/ablation.yaml", root)

    def flat(value, path=""):
        if isinstance(value, dict):
            return {key: leaf for name, part in value.items() for key, leaf in flat(part, f"{path}.{name}").items()}
        return {path: value}

    base = experiments[0]
    for experiment in experiments[1:]:
        if experiment.docid == base.docid:
            ours, theirs = flat(experiment.settings), flat(base.settings)
            assert len([key for key in ours if ours[key] != theirs[key]]) == 1, experiment.recipe
