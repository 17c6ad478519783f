"""Compiled training steps: one graph for all lengths, with the plain step's losses."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration, TrainingArguments

from ddro.core.command import UserError
from ddro.training import compiled
from ddro.training.batches import LABEL_PAD, InstanceCollator, instance_dataset
from ddro.training.compiled import MULTIPLE, compile_for_gpu
from ddro.training.ddro import GroupCollator, score_docids
from ddro.training.trainer import SftTrainer

WORDS = 50
DOCIDS = [[50 + (row * 7 + place * 3) % 20 for place in range(3 + row % 4)] for row in range(15)]  # of several lengths


def new_model() -> T5ForConditionalGeneration:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=70, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.0,
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


@pytest.mark.parametrize(
    ("make", "loss"),
    [(sft_batch, lambda model, batch: [model(**batch).loss]), (ddro_batch, scores_of)],
    ids=["sft", "ddro"],
)
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


def test_the_operations_of_a_plain_step(monkeypatch):
    """T5-base's layers: what a GPU is asked for without compile."""
    from project import ROOT

    monkeypatch.syspath_prepend(ROOT / "tests/benchmarks")
    from operations import counted

    config = T5Config(
        vocab_size=70, d_model=8, d_kv=4, d_ff=8, num_layers=12, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    with counted() as counts:
        model(**sft_batch(20, 1)).loss.backward()
    assert counts.operations < 4_500, counts.operations


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


def losses(folder, *, use_compile: bool) -> list[float]:
    """Of each step of a short training on the GPU, with texts of two lengths."""
    model = new_model()
    multiple = compile_for_gpu(model) if use_compile else 1
    inputs = texts(40, 12) + texts(40, 30)
    trainer = SftTrainer(
        model,
        TrainingArguments(
            str(folder), max_steps=12, per_device_train_batch_size=8, learning_rate=1e-2, logging_steps=1,
            report_to="none", save_strategy="no", seed=3, remove_unused_columns=False,
        ),
        data_collator=InstanceCollator(DOCIDS, multiple),
        train_dataset=instance_dataset(inputs, [row % len(DOCIDS) for row in range(len(inputs))]),
    )  # fmt: skip
    trainer.train()
    return [record["loss"] for record in trainer.state.log_history if "loss" in record]


@pytest.mark.gpu
def test_a_compiled_training_has_the_plain_losses(tmp_path):
    plain, ours = (losses(tmp_path / str(use), use_compile=use) for use in (False, True))
    assert len(plain) == 12 and plain[-1] < plain[0]
    assert ours == pytest.approx(plain, abs=2e-3)
