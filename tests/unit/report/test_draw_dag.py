import io
import itertools
import xml.etree.ElementTree as ElementTree

import networkx as nx
import pytest

import draw_dag
from ddro.core.command import UserError
from ddro.report.rule_graph import BOX_HEIGHT, BOX_WIDTH, arrange, essential, parse_dot, place, read_chapters, rules_of
from ddro.report.rule_graph_figure import rulegraph_figure

DOT = """Building DAG of jobs...
digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    node[shape=box, style=rounded, fontname=sans, fontsize=10, penwidth=2];
    edge[penwidth=2, color=grey];
\t0[label = "all", color = "0.00 0.6 0.85", style="rounded"];
\t1[label = "train_sft", color = "0.22 0.6 0.85", style="rounded"];
\t2[label = "fetch", color = "0.44 0.6 0.85", style="rounded"];
\t10[label = "draw", color = "0.44 0.6 0.85", style="rounded"];
\t1 -> 0
\t10 -> 0
\t2 -> 0
\t1 -> 1
\t2 -> 1
}
"""
EDGES = {("train_sft", "all"), ("draw", "all"), ("fetch", "all"), ("train_sft", "train_sft"), ("fetch", "train_sft")}
CHAPTERS = {"corpus": ["fetch", "unused"], "sft": ["train_sft"], "evaluation": ["draw"]}
LANE_OF = {"fetch": 0, "train_sft": 1, "draw": 2, "all": 2}


def test_graph_of_what_snakemake_prints():
    graph = parse_dot(DOT)
    assert set(graph) == {"all", "train_sft", "fetch", "draw"}
    assert set(graph.edges) == EDGES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rule"),
        ("Error in Snakefile\n", "has no rule"),
        (DOT.replace('\t2[label = "fetch"', "\t"), "cut off: node 2"),
        (DOT + "\t0 -> 2\n", "the rules .*fetch.* need each other"),
    ],
)
def test_bad_graphs(text, message):
    with pytest.raises(UserError, match=message):
        parse_dot(text)


def test_essential_leaves_out_loops_and_implied_arrows():
    assert set(essential(parse_dot(DOT)).edges) == {("train_sft", "all"), ("draw", "all"), ("fetch", "train_sft")}


def test_rules_of_a_snakemake_file():
    text = (
        'rule one:\n    shell: "rule two:"\n    rule three:\ncheckpoint four :\nuse rule one as five with:\nrules = 1\n'
    )
    assert rules_of(text) == ["one", "four", "five"]


def test_chapters_keep_their_order_and_files_without_rules_are_none(tmp_path):
    for name, text in (("sft", "rule a:\nrule b:\n"), ("common", "x = 1\n"), ("bm25", "rule c:\n")):
        (tmp_path / f"{name}.smk").write_text(text)
    chapters = read_chapters(tmp_path / f"{name}.smk" for name in ("sft", "common", "bm25"))
    assert list(chapters.items()) == [("sft", ["a", "b"]), ("bm25", ["c"])]


def test_rows_by_hand():
    assert place(essential(parse_dot(DOT)), LANE_OF) == {"fetch": 0, "train_sft": 1, "draw": 1, "all": 2}


def test_one_rule_alone():
    graph = nx.DiGraph()
    graph.add_node("all")
    assert place(graph, {"all": 0}) == {"all": 0}
    assert arrange(graph, {"all": 0}).arrows == {}


def random_graphs():
    for seed in range(20):
        full = nx.gnp_random_graph(16, 0.25, seed=seed, directed=True)
        graph = nx.DiGraph((f"r{a:02}", f"r{b:02}") for a, b in full.edges if a < b)
        yield essential(graph), {rule: (7 * int(rule[1:]) + seed) % 5 for rule in graph}


@pytest.mark.parametrize(("graph", "lane_of"), list(random_graphs()))
def test_arrows_point_down_and_cross_no_box_and_hide_no_other_line(graph, lane_of):
    lane_of = {rule: sorted(set(lane_of.values())).index(lane) for rule, lane in lane_of.items()}
    rows = place(graph, lane_of)
    assert all(rows[source] < rows[target] for source, target in graph.edges)
    assert len({(lane_of[rule], rows[rule]) for rule in graph}) == len(graph)

    layout = arrange(graph, lane_of)
    assert set(layout.arrows) == set(graph.edges)
    pieces = []
    for (source, target), corners in layout.arrows.items():
        assert corners[0] == pytest.approx((layout.boxes[source][0], layout.boxes[source][1] + BOX_HEIGHT / 2))
        assert corners[-1][1] == pytest.approx(layout.boxes[target][1] - BOX_HEIGHT / 2)
        assert abs(corners[-1][0] - layout.boxes[target][0]) < BOX_WIDTH / 2
        for (x1, y1), (x2, y2) in itertools.pairwise(corners):
            assert x1 == pytest.approx(x2) or y1 == pytest.approx(y2)
            low, high = (min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2))
            pieces.append((source, target, low, high))
            for x, y in layout.boxes.values():
                within = low[0] < x + BOX_WIDTH / 2 - 1e-9 and high[0] > x - BOX_WIDTH / 2 + 1e-9
                assert not (within and low[1] < y + BOX_HEIGHT / 2 - 1e-9 and high[1] > y - BOX_HEIGHT / 2 + 1e-9)
    for one, two in itertools.combinations(pieces, 2):
        if one[0] == two[0]:
            continue  # arrows of one rule share their line
        for axis in (0, 1):
            flat = [abs(piece[3][axis] - piece[2][axis]) < 1e-9 for piece in (one, two)]
            same_line = all(flat) and abs(one[2][axis] - two[2][axis]) < 1e-9
            other = 1 - axis
            overlap = min(one[3][other], two[3][other]) - max(one[2][other], two[2][other])
            assert not (same_line and overlap > 1e-9), (one, two)


def test_every_rule_and_chapter_is_named_in_the_picture():
    figure = rulegraph_figure(parse_dot(DOT), CHAPTERS, ["a/pq/b", "c/tu/d"])
    line = "Experiments:  a/pq/b   ·   c/tu/d"
    names = {text.get_text() for text in figure.axes[0].texts}
    assert names == {"all", "train_sft", "fetch", "draw", "corpus", "sft", "evaluation", line}


def start(folder, monkeypatch, text):
    for chapter, rules in CHAPTERS.items():
        (folder / f"{chapter}.smk").write_text("".join(f"rule {rule}:\n" for rule in rules))
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    chapters = [str(folder / f"{chapter}.smk") for chapter in CHAPTERS]
    draw_dag.main(
        draw_dag.parser().parse_args(
            ["--chapters", *chapters, "--experiments", "a/pq/b", "--output", str(folder / "dag.svg")]
        )
    )
    return (folder / "dag.svg").read_bytes()


def test_script_draws_the_same_bytes_each_time(tmp_path, monkeypatch):
    picture = start(tmp_path, monkeypatch, DOT)
    assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert start(tmp_path, monkeypatch, DOT) == picture


def test_script_refuses_bad_input(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no rule"):
        start(tmp_path, monkeypatch, "")
    arguments = [
        "--chapters",
        str(tmp_path / "gone.smk"),
        "--experiments",
        "a/pq/b",
        "--output",
        str(tmp_path / "dag.svg"),
    ]
    with pytest.raises(UserError, match="gone.smk"):
        draw_dag.main(draw_dag.parser().parse_args(arguments))
    assert not (tmp_path / "dag.svg").exists()
