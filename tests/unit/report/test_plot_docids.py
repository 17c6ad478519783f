import json

import plot_docids
from ddro.report.figures import docid_figure
from in_process import call


def test_the_figure_of_a_report_is_the_same_bytes_each_time(tmp_path):
    report = {
        "documents": 9,
        "collisions": {"groups": 2, "documents": 5, "groups_of_size": {"2": 1, "3": 1}},
        "centroids": 4,
        "relative_distortion": 0.25,
        "entropy_bits": [2.0, 1.5],
    }
    contents = []
    for name in ("one.svg", "two.svg"):
        (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
        call(plot_docids, "--report", tmp_path / "report.json", "--output", tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_the_figure_shows_groups_and_entropy():
    none = {"groups": 0, "documents": 0, "groups_of_size": {}}
    (panel,) = docid_figure({"documents": 9, "collisions": none}).axes
    assert (panel.get_title(loc="left"), len(panel.patches)) == ("0 of 9 documents share a docid (0.0 %)", 0)
    some = {"groups": 3, "documents": 8, "groups_of_size": {"2": 1, "3": 2}}
    codes = {"centroids": 4, "relative_distortion": 0.25, "entropy_bits": [2.0, 1.5]}
    left, right = docid_figure({"documents": 16, "collisions": some, **codes}).axes
    assert [(bar.get_center()[0], bar.get_height()) for bar in left.patches] == [(2, 1), (3, 2)]
    assert [bar.get_height() for bar in right.patches] == [2.0, 1.5]
    assert right.get_title(loc="left") == "25.0 % of the variance is lost"
