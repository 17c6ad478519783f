"""What the trainers share: batches, loss, validation by retrieval, and the log."""

import json
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event
from transformers import TrainingArguments
from transformers.trainer_pt_utils import LabelSmoother

from ddro.core.command import UserError
from ddro.corpora.judgements import JudgedQuery
from ddro.docids.trie import DocidTrie
from ddro.models.t5 import initialise_t5
from ddro.training.batches import BatchesOfLikeLength, InstanceCollator, instance_dataset, share_of_device
from ddro.training.callbacks import add_callbacks
from ddro.training.checkpoints import Checkpoints
from ddro.training.log import read_training_log
from ddro.training.processes import launch_command
from ddro.training.throughput import Throughput, peak_of, training_operations
from ddro.training.trainer import (
    SftTrainer,
    finish,
    train_with_checkpoints,
    trainer_arguments,
    write_training_log,
)
from ddro.training.validation import ValidationRetrieval, sample_queries

DOCIDS = [[20, 25], [21, 26], [20, 26, 30]]


def small_t5(seed=0):
    return initialise_t5(40, d_model=16, d_kv=8, d_ff=32, layers=1, decoder_layers=1, heads=2, seed=seed)


def test_labels_are_padded_with_what_the_loss_ignores():
    batch = InstanceCollator(DOCIDS)([{"input_ids": [5, 1], "document": 0}, {"input_ids": [6, 7, 1], "document": 2}])
    assert batch["input_ids"].tolist() == [[5, 1, 0], [6, 7, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [[20, 25, -100], [20, 26, 30]]


def test_padding_changes_no_loss():
    model = small_t5().eval()
    collate = InstanceCollator(DOCIDS)
    features = [{"input_ids": [5, 1], "document": 0}, {"input_ids": [6, 7, 8, 9, 1], "document": 2}]
    alone = [model(**collate([feature])).loss.item() for feature in features]
    together = model(**collate(features)).loss.item()
    assert together == pytest.approx((2 * alone[0] + 3 * alone[1]) / 5, abs=1e-6)


def test_instances_know_their_length():
    dataset = instance_dataset([[5, 1], [6, 7, 1]], [0, 2])
    assert dataset[1] == {"input_ids": [6, 7, 1], "document": 2, "length": 3}


def test_batches_are_of_like_length_in_random_order():
    lengths = [index % 10 + 1 for index in range(203)]
    sampler = BatchesOfLikeLength(lengths, 4, seed=0)
    first = list(sampler)
    assert len(sampler) == 203
    assert list(sampler) == first
    sampler.epoch = 1
    assert list(sampler) != first
    assert sorted(sampler) == sorted(first) == list(range(203))
    batches = [[lengths[index] for index in first[start : start + 4]] for start in range(0, 200, 4)]
    assert all(max(batch) - min(batch) <= 1 for batch in batches)
    means = [sum(batch) for batch in batches]
    assert means != sorted(means) and means != sorted(means, reverse=True)


def test_a_trainer_sees_each_instance_once_an_epoch(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    rows = [row for batch in trainer.get_train_dataloader() for row in batch["labels"][:, 1].tolist()]
    assert sorted(rows) == [25, 26, 26]


def test_on_a_frozen_encoder_docids_of_like_length_come_together_and_then_texts(monkeypatch, tmp_path):
    dataset = instance_dataset([[5, 1], [6, 7, 8, 1], [7, 1]], [2, 0, 1])  # their docids have 3, 2 and 2 tokens
    trainer = make_trainer(tmp_path / "run", dataset)
    assert np.argsort(trainer.lengths(dataset), kind="stable").tolist() == [0, 2, 1]
    monkeypatch.setattr("ddro.training.trainer.FrozenEncoderT5", type(trainer.model))
    assert np.argsort(trainer.lengths(dataset), kind="stable").tolist() == [2, 1, 0]


@pytest.mark.parametrize(("bfloat16", "attention"), [(False, "sdpa"), (True, "eager")])
def test_attention_is_plain_in_bfloat16_on_a_processor(monkeypatch, tmp_path, bfloat16, attention):
    monkeypatch.setattr("ddro.training.trainer.trains_in_bfloat16", lambda precision: bfloat16)
    model = make_trainer(tmp_path / "run").model
    assert {part.config._attn_implementation for part in (model, model.encoder, model.decoder)} == {attention}
    model.save_pretrained(tmp_path / "model")
    assert "attn" not in (tmp_path / "model/config.json").read_text()  # whoever loads it has the usual one


def test_mrr_is_the_mean_of_reciprocal_ranks(monkeypatch):
    trie = DocidTrie.build([[20], [21], [22], [21]])  # documents 1 and 3 share a docid
    ranked = {5: [2, 1, 0], 6: [0, 1, 2]}  # rows of the trie's docids, best first, for a query of that first token

    def beam_search(model, trie, tokens, mask, beams, *, length_penalty, last):
        assert length_penalty == 1
        found = torch.tensor([ranked[int(query[0])] for query in tokens])
        return found, torch.zeros(found.shape)

    monkeypatch.setattr("ddro.retrieval.beam_search.constrained_beam_search", beam_search)
    model = SimpleNamespace(device="cpu")
    # Query 5 ranks documents 2, 1, 3, 0; query 6 ranks 0, 1, 3, 2.
    queries, relevant = [[5, 1], [6, 1], [5, 1]], [{3}, {0, 2}, {9}]
    retrieval = ValidationRetrieval(
        trie, ["a", "b", "c"], queries, relevant, num_beams=3, length_penalty=1, batch_size=2
    )
    assert list(retrieval.reciprocal_ranks(model)) == pytest.approx([1 / 3, 1, 0])
    assert list(retrieval.reciprocal_ranks(model, slice(1, None, 2))) == pytest.approx([1])


def test_the_validation_sample_is_fixed_and_no_larger_than_what_there_is(tmp_path):
    judged = [JudgedQuery(str(number), "text", ("d",)) for number in range(20)]
    sample = sample_queries(judged, 5, tmp_path)
    assert len(sample) == 5
    assert sample_queries(judged[::-1], 5, tmp_path) == sample[::-1]
    assert sample_queries(judged, None, tmp_path) == judged
    with pytest.raises(UserError, match="20 validation queries .* 21 are asked for. Lower validation_queries"):
        sample_queries(judged, 21, tmp_path)


def make_trainer(folder, dataset=None, model=None, label_smoothing=0.0, **settings):
    options = {
        "epochs": 60,
        "learning_rate": 1e-2,
        "batch_size": 2,
        "schedule": "linear",
        "weight_decay": 0.0,
        "epsilon": 1e-8,
        "precision": "float32",
        "max_grad_norm": 1.0,
        "evaluations": 3,
        "seed": 1,
        "device_batch_size": 0,
    }
    best, evaluation_steps = settings.pop("best", "eval_mrr@10"), settings.pop("evaluation_steps", None)
    options = SimpleNamespace(**(options | settings))
    inputs = [[5, 1], [6, 1], [7, 8, 1]]
    return SftTrainer(
        model or small_t5(),
        TrainingArguments(
            **trainer_arguments(options, folder, warmup=0.1, best=best, evaluation_steps=evaluation_steps),
            label_smoothing_factor=label_smoothing,
        ),
        data_collator=InstanceCollator(DOCIDS),
        train_dataset=dataset or instance_dataset(inputs, [0, 1, 2]),
        eval_dataset=instance_dataset(inputs, [0, 1, 2]),
        retrieval=ValidationRetrieval(DocidTrie.build(DOCIDS), ["a", "b", "c"], inputs, [{0}, {1}, {2}], num_beams=3),
    )


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_a_model_learns_three_docids_and_the_log_tells_it(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    add_callbacks(trainer, "finetune")
    trainer.train()
    write_training_log(trainer, "finetune", tmp_path)
    records = [json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text().splitlines()]
    evaluations = [record for record in records if "eval_loss" in record]
    assert [record["step"] for record in evaluations] == [0, 40, 80, 120]
    assert evaluations[-1]["eval_mrr@10"] == 1.0
    assert evaluations[-1]["eval_loss"] < 0.5
    assert {record["stage"] for record in records} == {"finetune"}
    steps = [record for record in records if "loss" in record]
    assert all(record["learning_rate"] >= 0 and record["grad_norm"] > 0 for record in steps)
    assert all(record["examples_per_second"] > 0 and record["memory_mib"] > 1 for record in steps)
    assert all(0 <= record["padding"] < 0.5 for record in steps)
    assert sum(trainer.retrieval.reciprocal_ranks(trainer.model.eval())) == 3


def events(path):
    """The records of TensorBoard's event file: a length, its checksum, the content, its checksum."""
    content, start = path.read_bytes(), 0
    while start < len(content):
        (length,) = struct.unpack_from("<Q", content, start)
        yield Event.FromString(content[start + 12 : start + 12 + length])
        start += 16 + length


@pytest.mark.parametrize("best", ["eval_mrr@10", "eval_loss"])
def test_a_run_that_gets_no_better_ends_early(tmp_path, best):
    trainer = make_trainer(tmp_path / "run", epochs=12, evaluations=6, learning_rate=0.0, best=best)
    add_callbacks(trainer, "ddro", patience=2)
    trainer.train()
    assert (trainer.state.global_step, trainer.state.max_steps) == (12, 24)


@pytest.mark.parametrize("best", ["eval_mrr@10", "eval_loss"])
def test_a_training_at_an_absurd_rate_ends_with_the_model_it_began_with(tmp_path, best, caplog):
    learned = make_trainer(tmp_path / "first", best=best)
    add_callbacks(learned, "finetune")
    learned.train()
    start = weights(learned.model).clone()

    spoiled = make_trainer(tmp_path / "run", model=learned.model, epochs=12, learning_rate=10.0, best=best)
    add_callbacks(spoiled, "finetune")
    checkpoints = Checkpoints(tmp_path / "model", {})
    spoiled.args.output_dir = str(checkpoints.folder)
    train_with_checkpoints(spoiled, checkpoints)
    at_start, *later = [record[best] for record in spoiled.state.log_history if best in record]
    assert len(later) == 3 and all((value < at_start) == (best == "eval_mrr@10") for value in later)
    assert spoiled.kept_step() == 0 and torch.equal(weights(spoiled.model), start)

    # Killed after the last checkpoint, before the model was written: the same end.
    again = make_trainer(checkpoints.folder, epochs=12, learning_rate=10.0, best=best)
    train_with_checkpoints(again, checkpoints)
    assert torch.equal(weights(again.model), start)
    tokenizer = SimpleNamespace(save_pretrained=lambda folder: None)
    told = finish(again, tokenizer, "finetune", tmp_path / "model", checkpoints)
    assert told == {"kept_step": 0}
    assert read_training_log(tmp_path / "model/training_log.jsonl")[-1] == {
        "stage": "finetune",
        "step": 24,
        "kept_step": 0,
    }
    assert "finetune: kept the model that it began with, since no validation was better" in caplog.text


def test_validation_before_the_first_step_changes_no_dropout(tmp_path):
    trained = []
    for best in ("eval_loss", None):  # with validation at the start, and without
        torch.manual_seed(0)
        trainer = make_trainer(tmp_path / str(best), epochs=1, evaluations=1, best=best)
        assert trainer.model.config.dropout_rate > 0
        trainer.train()
        trained.append(weights(trainer.model))
    assert torch.equal(*trained)


def test_tensorboard_sees_what_is_logged_where_its_variable_points(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    monkeypatch.chdir(tmp_path)
    trainer = make_trainer(Path("results/sft/checkpoints"), epochs=2)
    add_callbacks(trainer, "finetune")
    trainer.train()
    (path,) = (tmp_path / "board/results/sft/finetune").iterdir()
    found = {(event.step, value.tag) for event in events(path) for value in event.summary.value}
    assert found >= {(step, f"train/{name}") for step in (1, 2, 3, 4) for name in ("loss", "tokens_per_second")}
    assert found >= {(step, "eval/mrr_10") for step in (2, 4)}  # "@" is not a letter of a tag


def test_the_loss_is_that_of_t5(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    batch = trainer.data_collator(list(trainer.train_dataset))
    tokens = (batch["labels"] != -100).sum()
    ours = trainer.compute_loss(trainer.model.eval(), batch, num_items_in_batch=tokens)
    assert ours.item() == small_t5().eval()(**batch).loss.item()


def test_smoothed_labels_are_those_of_transformers_and_of_training_alone(tmp_path):
    trainer = make_trainer(tmp_path / "run", label_smoothing=0.3)
    model = type(trainer.model)(type(trainer.model.config)(**(small_t5().config.to_dict() | {"dropout_rate": 0.0})))
    batch = trainer.data_collator(list(trainer.train_dataset))
    tokens, outputs = (batch["labels"] != -100).sum(), model(**batch)
    smoothed = LabelSmoother(epsilon=0.3)({"logits": outputs.logits}, batch["labels"])
    plain = outputs.loss.item()
    trained = trainer.compute_loss(model.train(), batch, num_items_in_batch=tokens)
    evaluated = trainer.compute_loss(model.eval(), batch, num_items_in_batch=tokens)
    assert trained.item() == pytest.approx(smoothed.item())
    assert evaluated.item() == plain
    assert abs(smoothed.item() - plain) > 0.01


def test_the_log_says_that_a_loss_is_of_smoothed_labels(tmp_path):
    for smoothing in (0.0, 0.3):
        trainer = make_trainer(tmp_path / str(smoothing), label_smoothing=smoothing, epochs=1)
        trainer.train()
        said = [record.get("label_smoothing", 0) for record in trainer.state.log_history if "loss" in record]
        assert said and set(said) == {smoothing}
        assert not any("label_smoothing" in record for record in trainer.state.log_history if "eval_loss" in record)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_rate_rises_first_whatever_the_schedule(tmp_path, schedule):
    trainer = make_trainer(tmp_path / "run", schedule=schedule, learning_rate=0.01)
    trainer.create_optimizer_and_scheduler(100)
    rates = []
    for _ in range(12):
        rates.append(trainer.lr_scheduler.get_last_lr()[0])
        trainer.lr_scheduler.step()
    assert rates[:11] == pytest.approx([step / 1000 for step in range(11)])
    assert rates[11] == pytest.approx(0.01, rel=0.02)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_accumulation_changes_nothing_but_rounding(tmp_path, smoothing):
    """A batch of 4 docids of unlike lengths at once, in halves, or one by one."""
    dataset = instance_dataset([[5, 1], [6, 9, 1], [7, 8, 1], [9, 1]] * 6, [0, 1, 2, 2] * 6)
    trained = {}
    for most in (4, 2, 1):
        model = small_t5()
        model = type(model)(type(model.config)(**(model.config.to_dict() | {"dropout_rate": 0.0})))
        model.load_state_dict(small_t5().state_dict())
        settings = {"epochs": 2, "batch_size": 4, "device_batch_size": most, "best": None, "evaluations": 1}
        trainer = make_trainer(tmp_path / str(most), dataset, model, label_smoothing=smoothing, **settings)
        assert trainer.args.gradient_accumulation_steps == 4 // most
        trainer.train()
        assert trainer.state.global_step == 12
        trained[most] = weights(trainer.model)
    start = weights(small_t5())
    assert (trained[4] - start).abs().max() > 0.02
    for most in (2, 1):
        assert (trained[most] - trained[4]).abs().max() < 1e-4  # of a movement of more than 0.02


def test_the_shares_of_a_batch():
    assert share_of_device(128, 1, 0) == (128, 1)
    assert share_of_device(128, 8, 0) == (16, 1)
    assert share_of_device(128, 2, 24) == (16, 4)
    assert share_of_device(6, 1, 4) == (3, 2)
    with pytest.raises(UserError, match="128 has no equal shares for 3 GPUs"):
        share_of_device(128, 3, 0)
    with pytest.raises(UserError, match="a batch of 64 in groups of 16 has no equal shares for 8 GPUs"):
        share_of_device(4, 8, 0, 16)


def test_the_same_seed_gives_the_same_weights(tmp_path):
    trained = []
    for name in ("a", "b"):
        torch.manual_seed(0)
        trainer = make_trainer(tmp_path / name, epochs=3, best=None, evaluations=1)
        trainer.train()
        trained.append(weights(trainer.model))
    assert torch.equal(*trained)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path):
    trainer = make_trainer(tmp_path / "run", learning_rate=1e38)
    add_callbacks(trainer, "pretrain")
    with pytest.raises(UserError, match="the loss is nan. Lower the learning rate"):
        trainer.train()


def test_rates_are_of_what_was_trained_since_they_were_asked_for():
    now = [0.0]
    throughput = Throughput(small_t5(), processes=2, clock=lambda: now[0])
    assert throughput.rates() == {}
    throughput.add(2, torch.tensor([[1, 1, 0], [1, 1, 1]]), torch.tensor([[True, True], [True, True]]))
    now[0] = 1.0
    throughput.pause()
    now[0] = 5.0
    throughput.go_on()
    now[0] = 6.0
    rates = throughput.rates()
    assert rates["examples_per_second"] == 2 * 2 / 2
    assert rates["tokens_per_second"] == 2 * 9 / 2
    assert rates["padding"] == pytest.approx(0.1)
    assert throughput.rates() == {}


def test_the_operations_of_a_token():
    # Width 16, two heads of 8, feed-forward 32, vocabulary 40; an attention has 4 x 16 x 16 weights.
    norms, bias = 16, 32 * 2
    encoder = 4 * 256 + 2 * 16 * 32 + 2 * norms + bias + norms
    decoder = 2 * 4 * 256 + 2 * 16 * 32 + 3 * norms + bias + norms
    assert training_operations(small_t5()) == (6 * encoder, 6 * (decoder + 40 * 16))


def test_the_peak_of_a_device_is_that_of_its_own_name():
    assert peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert peak_of("NVIDIA H100 PCIe") == 756e12
    assert peak_of("NVIDIA L40S") == 362e12
    assert peak_of("Some other device") is None


def test_each_machine_starts_its_part_of_the_processes():
    alone = launch_command(4, ["scripts/train_sft.py", "--seed", "1"], {})
    assert alone[1:4] == ["-m", "accelerate.commands.launch", "--multi_gpu"]
    assert {"--num_processes=4", "--num_machines=1", "--machine_rank=0"} <= set(alone)
    assert alone[-3:] == ["scripts/train_sft.py", "--seed", "1"]
    slurm = {
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_NODEID": "1",
        "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.7",
        "SLURM_JOB_ID": "4321",
    }
    second = launch_command(16, ["scripts/train_sft.py"], slurm)
    assert {
        "--num_processes=16",
        "--num_machines=2",
        "--machine_rank=1",
        "--main_process_ip=10.0.0.7",
        "--main_process_port=24321",
    } <= set(second)


def test_a_number_of_steps_between_validations_has_another_one_at_the_end(tmp_path):
    trainer = make_trainer(tmp_path / "run", epochs=7, evaluation_steps=5, best="eval_loss")
    add_callbacks(trainer, "sft")
    trainer.train()
    validated = [record["step"] for record in trainer.state.log_history if "eval_loss" in record]
    assert validated == [0, 5, 10, 14]
    assert trainer.kept_step() == 14  # the loss falls all along


def test_the_optimizer_is_what_the_recipe_says(tmp_path):
    trainer = make_trainer(tmp_path / "run", weight_decay=0.25, epsilon=1e-3)
    trainer.create_optimizer()
    groups = trainer.optimizer.param_groups
    assert {group["eps"] for group in groups} == {1e-3}
    assert {group["weight_decay"] for group in groups} == {0.25, 0.0}  # of norms there is none


@pytest.mark.parametrize(
    ("gpu", "precision", "expected"), [(True, "float32", False), (True, "bfloat16", True), (False, "bfloat16", False)]
)
def test_the_precision_of_training_holds_where_the_hardware_has_it(monkeypatch, tmp_path, gpu, precision, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    options = SimpleNamespace(
        **dict.fromkeys(["epochs", "learning_rate", "schedule", "weight_decay", "epsilon", "max_grad_norm", "seed"]),
        batch_size=2,
        device_batch_size=0,
        evaluations=1,
        precision=precision,
    )
    assert trainer_arguments(options, tmp_path, warmup=0, best=None)["bf16"] is expected
