import json
import xml.etree.ElementTree as ElementTree

import pytest

import plot_training
from ddro.core.command import UserError
from ddro.report.figures import loss_figure, rates_figure, rewards_figure, save_svg, validation_mrr_figure
from ddro.training.log import by_stage, curve, read_training_log

PRETRAIN = [
    {"stage": "pretrain", "step": 10, "epoch": 0.5, "loss": 3.0, "learning_rate": 0.001},
    {"stage": "pretrain", "step": 20, "epoch": 1.0, "loss": 2.0},
    {"stage": "pretrain", "step": 20, "epoch": 1.0, "eval_loss": 2.5, "eval_mrr@10": 0.25},
    {"stage": "pretrain", "step": 20, "train_runtime": 9.0, "train_loss": 2.5},
]
FINETUNE = [{"stage": "finetune", "step": 5, "loss": 1.0}]
DDRO = [
    {"stage": "ddro", "step": 5, "loss": 0.69, "rewards/accuracies": 0.5, "rewards/margins": 0.0},
    {"stage": "ddro", "step": 10, "loss": 0.6, "rewards/accuracies": 0.75, "rewards/margins": 0.5},
    {"stage": "ddro", "step": 10, "eval_loss": 0.65, "eval_rewards/accuracies": 0.7, "eval_mrr@10": 0.5},
]
FIGURES = ("loss", "mrr", "rewards", "rates")
STAGES = {"pretrain": PRETRAIN, "finetune": FINETUNE}


def write_log(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def lines(panel):
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in panel.get_lines()}


def test_log_is_read_and_grouped(tmp_path):
    records = read_training_log(write_log(tmp_path / "log.jsonl", FINETUNE + DDRO))
    assert by_stage(records) == {"finetune": FINETUNE, "ddro": DDRO}
    assert list(by_stage(records)) == ["finetune", "ddro"]


def test_curve_of_a_resumed_run_has_each_step_once():
    records = [{"step": 10, "loss": 3}, {"step": 20, "loss": 9}, {"step": 15, "loss": 2}, {"step": 20, "loss": 1}]
    assert curve(records, "loss") == ([10, 15, 20], [3.0, 2.0, 1.0])
    assert curve(records, "eval_loss") == ([], [])


@pytest.mark.parametrize(
    "line", ["{", "[]", "3", '{"step": 1}', '{"stage": "a", "step": 1.5}', '{"stage": 1, "step": 1}', ""]
)
def test_bad_lines_are_named(tmp_path, line):
    (tmp_path / "log.jsonl").write_text(f'{{"stage": "pretrain", "step": 1}}\n{line}\n')
    with pytest.raises(UserError, match="log.jsonl:2: "):
        read_training_log(tmp_path / "log.jsonl")


def test_missing_and_empty_logs(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_training_log(tmp_path / "log.jsonl")
    (tmp_path / "log.jsonl").touch()
    with pytest.raises(UserError, match="the log is empty"):
        read_training_log(tmp_path / "log.jsonl")


def test_loss_figure_draws_what_was_logged():
    pretrain, finetune = loss_figure(STAGES).axes
    assert lines(pretrain) == {"training": ([10, 20], [3.0, 2.0]), "validation": ([20], [2.5])}
    assert lines(finetune) == {"training": ([5], [1.0])}
    assert pretrain.get_title("left") == "pretrain"
    (smoothed,) = loss_figure({"finetune": [{**FINETUNE[0], "label_smoothing": 0.1}]}).axes
    assert lines(smoothed) == {"training, labels smoothed": ([5], [1.0])}


def test_mrr_figure_says_the_last_value_and_what_is_missing():
    pretrain, finetune, ddro = validation_mrr_figure({**STAGES, "ddro": DDRO}).axes
    assert [text.get_text() for text in pretrain.texts] == ["0.250"]
    assert [text.get_text() for text in finetune.texts] == ["not logged"]
    assert [text.get_text() for text in ddro.texts] == ["0.500"]
    assert pretrain.get_ylim() == finetune.get_ylim() and pretrain.get_ylim()[0] == 0


def test_rewards_figure_draws_training_validation_and_the_starting_point():
    loss, accuracy, margin = rewards_figure(DDRO).axes
    assert lines(loss)["training"] == ([5, 10], [0.69, 0.6])
    assert lines(accuracy)["validation"] == ([10], [0.7])
    assert lines(margin)["training"] == ([5, 10], [0.0, 0.5])
    assert loss.get_lines()[-1].get_ydata()[0] == pytest.approx(0.6931472)


def test_rates_figure_draws_each_stage_from_its_start_to_its_end():
    rates = [{"step": step, "examples_per_second": 10 * step, "padding": 0.25} for step in (5, 10)]
    examples, tokens, padding, memory = rates_figure({"pretrain": rates, "finetune": FINETUNE, "ddro": rates[:1]}).axes
    assert lines(examples) == {"pretrain": ([0.5, 1.0], [50.0, 100.0]), "DDRO": ([1.0], [50.0])}
    assert [line.get_marker() for line in examples.get_lines()] == ["None", "o"]  # a line of one point is not seen
    assert lines(padding)["pretrain"] == ([0.5, 1.0], [0.25, 0.25])
    assert [text.get_text() for panel in (tokens, memory) for text in panel.texts] == ["not logged"] * 2
    assert len(rates_figure({"pretrain": [rates[0] | {"mfu": 0.4}]}).axes) == 5


def test_same_data_same_bytes(tmp_path):
    for name in ("one", "two"):
        save_svg(loss_figure(STAGES), tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert b"<dc:date>" not in (tmp_path / "one.svg").read_bytes()


def start(folder, *logs):
    outputs = [folder / f"{name}.svg" for name in FIGURES]
    options = ["--logs", *map(str, logs)]
    for name, path in zip(FIGURES, outputs, strict=True):
        options += [f"--output-{name}", str(path)]
    plot_training.main(plot_training.parser().parse_args(options))
    return outputs


def test_script_draws_four_pictures(tmp_path):
    logs = [
        write_log(tmp_path / f"{number}.jsonl", records) for number, records in enumerate((PRETRAIN, FINETUNE, DDRO))
    ]
    for path in start(tmp_path, *logs):
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_script_needs_both_phases(tmp_path):
    with pytest.raises(UserError, match="found the stages pretrain; expected"):
        start(tmp_path, write_log(tmp_path / "log.jsonl", PRETRAIN))
