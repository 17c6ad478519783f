"""What the trainers share: batches, loss, validation by retrieval, and the log."""

import json
from types import SimpleNamespace

import pytest
import torch
from transformers import TrainingArguments

from ddro.command import UserError
from ddro.seq2seq import initialise_t5
from ddro.training import (
    BatchesOfLikeLength,
    InstanceCollator,
    SftTrainer,
    StopWhenNotANumber,
    ValidationRetrieval,
    add_callbacks,
    instance_dataset,
    trainer_arguments,
    write_training_log,
)
from ddro.trie import DocidTrie

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
    sampler = BatchesOfLikeLength(lengths, 4, torch.Generator().manual_seed(0))
    first, second = list(sampler), list(sampler)
    assert len(sampler) == 203
    assert sorted(first) == sorted(second) == list(range(203))
    assert first != second
    assert list(BatchesOfLikeLength(lengths, 4, torch.Generator().manual_seed(0))) == first
    batches = [[lengths[index] for index in first[start : start + 4]] for start in range(0, 200, 4)]
    assert all(max(batch) - min(batch) <= 1 for batch in batches)
    means = [sum(batch) for batch in batches]
    assert means != sorted(means) and means != sorted(means, reverse=True)


def test_a_trainer_sees_each_instance_once_an_epoch(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    rows = [row for batch in trainer.get_train_dataloader() for row in batch["labels"][:, 1].tolist()]
    assert sorted(rows) == [25, 26, 26]


def test_mrr_is_the_mean_of_reciprocal_ranks(monkeypatch):
    trie = DocidTrie.build([[20], [21], [22], [21]])  # documents 1 and 3 share a docid
    ranked = {5: [2, 1, 0], 6: [0, 1, 2]}  # rows of the trie's docids, best first, for a query of that first token

    def beam_search(model, trie, tokens, mask, beams):
        found = torch.tensor([ranked[int(query[0])] for query in tokens])
        return found, torch.zeros(found.shape)

    monkeypatch.setattr("ddro.training.constrained_beam_search", beam_search)
    model = SimpleNamespace(device="cpu")
    # Query 5 ranks documents 2, 1, 3, 0; query 6 ranks 0, 1, 3, 2.
    retrieval = ValidationRetrieval(trie, [[5, 1], [6, 1], [5, 1]], [{3}, {0, 2}, {9}], num_beams=3, batch_size=2)
    assert retrieval.mrr_at_10(model) == pytest.approx((1 / 3 + 1 + 0) / 3)


def make_trainer(folder, **settings):
    arguments = {
        "epochs": 60,
        "learning_rate": 1e-2,
        "batch_size": 2,
        "schedule": "linear",
        "warmup": 0.1,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "evaluations": 3,
        "seed": 1,
        "best": "eval_mrr@10",
    }
    inputs = [[5, 1], [6, 1], [7, 8, 1]]
    return SftTrainer(
        small_t5(),
        TrainingArguments(**trainer_arguments(folder, **(arguments | settings))),
        data_collator=InstanceCollator(DOCIDS),
        train_dataset=instance_dataset(inputs, [0, 1, 2]),
        eval_dataset=instance_dataset(inputs, [0, 1, 2]),
        retrieval=ValidationRetrieval(DocidTrie.build(DOCIDS), inputs, [{0}, {1}, {2}], num_beams=3),
    )


def test_a_model_learns_three_docids_and_the_log_tells_it(tmp_path):
    trainer = make_trainer(tmp_path / "run")
    add_callbacks(trainer, "finetune")
    trainer.train()
    write_training_log(trainer, "finetune", tmp_path)
    records = [json.loads(line) for line in (tmp_path / "training_log.jsonl").read_text().splitlines()]
    evaluations = [record for record in records if "eval_loss" in record]
    assert [record["step"] for record in evaluations] == [40, 80, 120]
    assert evaluations[-1]["eval_mrr@10"] == 1.0
    assert evaluations[-1]["eval_loss"] < 0.5
    assert {record["stage"] for record in records} == {"finetune"}
    assert trainer.retrieval.mrr_at_10(trainer.model.eval()) == 1.0


def test_the_same_seed_gives_the_same_weights(tmp_path):
    trained = []
    for name in ("a", "b"):
        torch.manual_seed(0)
        trainer = make_trainer(tmp_path / name, epochs=3, best=None, evaluations=1)
        trainer.train()
        trained.append(torch.cat([parameter.flatten() for parameter in trainer.model.parameters()]))
    assert torch.equal(*trained)


def test_a_loss_that_is_no_number_ends_the_run():
    with pytest.raises(UserError, match="step 7.*learning rate"):
        StopWhenNotANumber().on_log(None, SimpleNamespace(global_step=7), None, {"loss": float("nan")})
