"""Compiled training steps: one graph for all lengths, with the plain step's losses."""

import datasets
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration, TrainingArguments
from trl import DPOConfig

from ddro.core.command import UserError
from ddro.models.tokenizer import train_tokenizer
from ddro.training import compiled
from ddro.training.batches import LABEL_PAD, InstanceCollator, instance_dataset
from ddro.training.compiled import MULTIPLE, compile_for_gpu
from ddro.training.ddro import DdroTrainer, GroupCollator, score_docids
from ddro.training.trainer import SftTrainer
from project import ROOT

WORDS = 50
DOCIDS = [[50 + (row * 7 + place * 3) % 20 for place in range(3 + row % 4)] for row in range(15)]  # of several lengths


def new_model(layers: int = 2) -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=70, d_model=16, d_kv=8, d_ff=32, num_layers=layers, num_heads=2, dropout_rate=0.0,
        decoder_start_token_id=0, pad_token_id=0, eos_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    return T5ForConditionalGeneration(config)


def texts(count: int, longest: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(longest)
    lengths = [longest - row % 3 for row in range(count)]
    return [torch.randint(2, WORDS, (length,), generator=generator).tolist() for length in lengths]


def sft_batch(longest: int, multiple: int) -> dict[str, torch.Tensor]:
    return InstanceCollator(DOCIDS, multiple)([
        {"input_ids": ids, "document": row} for row, ids in enumerate(texts(5, longest))
    ])  # fmt: skip


def ddro_batch(longest: int, multiple: int) -> dict[str, torch.Tensor]:
    rejected = [list(range(3, 10)), list(range(4, 9)), list(range(5, 15))]
    features = [
        {"prompt_ids": ids, "chosen": row, "rejected": rejected[row]} for row, ids in enumerate(texts(3, longest))
    ]
    batch = GroupCollator(0, DOCIDS, multiple)(features)
    return batch | {"labels": batch["input_ids"].masked_fill(batch["completion_mask"] == 0, LABEL_PAD)}


def scores_of(model, batch) -> list[torch.Tensor]:
    """The sum of each docid's log-probabilities, and of what is only logged."""
    found = score_docids(model, **batch)
    return [found.log_probs.sum(1), found.entropy.sum(1), found.mean_logits.sum(1), found.is_top1.sum(1).float()]


SFT, DDRO = (sft_batch, lambda model, batch: [model(**batch).loss]), (ddro_batch, scores_of)


@pytest.mark.parametrize(("make", "loss"), [SFT, DDRO], ids=["sft", "ddro"])
def test_one_graph_serves_all_lengths_and_gives_the_plain_numbers(make, loss):
    model, graphs = new_model().train(), []
    torch._dynamo.reset()
    traced = torch.compile(
        lambda batch: loss(model, batch), dynamic=True, backend=lambda graph, _: graphs.append(graph) or graph.forward
    )
    for longest in (20, 9, 41):  # equal lengths at first would be taken for one
        found, plain = traced(make(longest, MULTIPLE)), loss(model, make(longest, 1))
        for ours, expected in zip(found, plain, strict=True):
            assert torch.allclose(ours, expected, atol=1e-4), longest
        found[0].sum().backward()
        of_graph = [parameter.grad.clone() for parameter in model.parameters()]
        model.zero_grad()
        plain[0].sum().backward()
        for ours, parameter in zip(of_graph, model.parameters(), strict=True):
            assert torch.allclose(ours, parameter.grad, rtol=1e-3, atol=1e-5), longest
        model.zero_grad()
    assert len(graphs) == 1


@pytest.mark.parametrize(("make", "loss", "most", "waits"), [(*SFT, 3_500, 2), (*DDRO, 3_500, 7)], ids=["sft", "ddro"])
def test_the_operations_of_a_plain_step(make, loss, most, waits, monkeypatch):
    """T5-base's layers: what a GPU is asked for without compile."""
    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    from operations import counted

    model, batch = new_model(layers=12).train(), make(20, 1)
    with counted() as counts:
        loss(model, batch)[0].sum().backward()
    assert counts.operations <= most and counts.waits <= waits, (counts.operations, counts.waits)


def test_a_processor_compiles_nothing():
    model = new_model()
    assert compile_for_gpu(model) == 1
    assert model._compiled_call_impl is None


def test_without_a_c_compiler_it_says_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(UserError, match="compile: false"):
        compile_for_gpu(new_model())


def sft_trainer(folder, model, multiple, **settings) -> SftTrainer:
    inputs = texts(12, 12) + texts(13, 30)
    return SftTrainer(
        model,
        TrainingArguments(**SETTINGS, **settings, output_dir=str(folder)),
        data_collator=InstanceCollator(DOCIDS, multiple),
        train_dataset=instance_dataset(inputs, [row % len(DOCIDS) for row in range(len(inputs))]),
    )


def ddro_trainer(folder, model, multiple, **settings) -> DdroTrainer:
    inputs = texts(12, 12) + texts(13, 30)
    groups = datasets.Dataset.from_dict({
        "prompt_ids": inputs,
        "chosen": [row % 3 for row in range(len(inputs))],
        "rejected": [list(range(3, 7 + row % 4)) for row in range(len(inputs))],
        "length": list(map(len, inputs)),
    })  # fmt: skip
    return DdroTrainer(
        model,
        args=DPOConfig(
            **SETTINGS, **settings, output_dir=str(folder), precompute_ref_log_probs=True, max_length=None,
            gradient_checkpointing=False, disable_dropout=False,
        ),
        data_collator=GroupCollator(0, DOCIDS, multiple),
        train_dataset=groups,
        eval_dataset=groups.select([0]),
        processing_class=train_tokenizer(["some words"], 20),
        cache=folder,
    )  # fmt: skip


SETTINGS = {
    "num_train_epochs": 1, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "logging_steps": 1,
    "report_to": "none", "save_strategy": "no", "seed": 3, "remove_unused_columns": False, "disable_tqdm": True,
}  # fmt: skip


def losses(trainer) -> list[float]:
    """Of each step of a training: six of four texts or queries, of two lengths, and one of the last alone."""
    trainer.train()
    return [record["loss"] for record in trainer.state.log_history if "loss" in record]


@pytest.mark.parametrize(("make", "expected"), [(sft_trainer, 1), (ddro_trainer, 2)], ids=["sft", "ddro"])
def test_the_trainers_own_steps_are_one_graph(make, expected, tmp_path, monkeypatch):
    """In bfloat16, with what accelerate and TRL put around the model. DDRO's other graph scores the reference."""
    graphs = []
    how = {"dynamic": True, "fullgraph": True, "backend": lambda graph, _: graphs.append(graph) or graph.forward}
    monkeypatch.setattr(compiled, "HOW", how)
    torch._dynamo.reset()
    model = new_model(layers=1)
    with monkeypatch.context() as on_gpu:
        on_gpu.setattr(torch.cuda, "is_available", lambda: True)
        on_gpu.setenv("CC", "cc")
        assert compile_for_gpu(model) == MULTIPLE
    ours = losses(make(tmp_path / "ours", model, MULTIPLE, bf16=True, use_cpu=True))
    assert len(graphs) == expected
    plain = losses(make(tmp_path / "plain", new_model(layers=1), 1, bf16=True, use_cpu=True))
    assert len(plain) == 7 and ours == pytest.approx(plain, rel=1e-2)  # as exact as bfloat16


@pytest.mark.gpu
@pytest.mark.parametrize("make", [sft_trainer, ddro_trainer], ids=["sft", "ddro"])
def test_a_compiled_training_has_the_plain_losses(make, tmp_path):
    model = new_model()
    ours = losses(make(tmp_path / "ours", model, compile_for_gpu(model)))
    plain = losses(make(tmp_path / "plain", new_model(), 1))
    assert ours == pytest.approx(plain, abs=2e-3)
