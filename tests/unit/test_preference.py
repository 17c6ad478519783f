"""DDRO against its published formula, computed from plain forward passes, and the parts of TRL that it leans on."""

import math

import datasets
import pytest
import torch
import trl
from trl import DPOConfig

from ddro.decoding import constrained_beam_search
from ddro.preference import DdroTrainer, PairCollator, docid_states
from ddro.seq2seq import initialise_t5, load, pad, save, train_tokenizer
from ddro.training import ValidationRetrieval
from ddro.trie import DocidTrie

BETA = 0.4
PAIRS = {
    "prompt_ids": [[5, 6, 7, 1], [8, 1], [9, 10, 1]],
    "chosen_ids": [[20, 25, 30], [21, 26, 31], [20, 26, 32]],
    "rejected_ids": [[21, 25, 30], [20, 27, 33], [22, 25, 30]],
}


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["to create a stack", "to delete a queue", "describe instances"], 40)


def small_t5(seed=0):
    """Without dropout, as DDRO trains."""
    return initialise_t5(40, d_model=16, d_kv=8, d_ff=32, layers=1, decoder_layers=2, heads=2, seed=seed).eval()


def plain_log_probability(model, query, docid):
    """log p(docid | query) from transformers' own forward pass: the sum over the docid's tokens."""
    logits = model(input_ids=torch.tensor([query]), labels=torch.tensor([docid])).logits[0]
    return torch.log_softmax(logits, -1)[torch.arange(len(docid)), torch.tensor(docid)].sum()


def make_trainer(model, tokenizer, folder, **settings):
    retrieval = ValidationRetrieval(DocidTrie.build([[20, 25, 30], [21, 25, 30]]), [[5, 6, 1]], [{0}], num_beams=2)
    arguments = {
        "beta": BETA,
        "loss_type": ["sigmoid"],
        "precompute_ref_log_probs": True,
        "max_length": None,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 3,
        "per_device_eval_batch_size": 3,
        "remove_unused_columns": False,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
    }
    return DdroTrainer(
        model,
        args=DPOConfig(str(folder), **(arguments | settings)),
        data_collator=PairCollator(model.config.decoder_start_token_id),
        train_dataset=datasets.Dataset.from_dict(PAIRS),
        eval_dataset=datasets.Dataset.from_dict(PAIRS),
        processing_class=tokenizer,
        retrieval=retrieval,
    )


def published_loss(policy, reference):
    """METHOD 1: the mean over the pairs of -log sigmoid(beta * (ratio of chosen - ratio of rejected))."""
    losses = []
    for query, chosen, rejected in zip(*PAIRS.values(), strict=True):
        ratio = [
            plain_log_probability(policy, query, docid) - plain_log_probability(reference, query, docid).detach()
            for docid in (chosen, rejected)
        ]
        losses.append(-torch.log(torch.sigmoid(BETA * ratio[0] - BETA * ratio[1])))
    return torch.stack(losses).mean()


def test_the_bridge_was_written_for_this_trl():
    assert trl.__version__.startswith("1.16."), "read preference.py against the new TRL, then change this line"


def move(model):
    """Other weights, always the same."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def test_loss_and_gradient_are_the_published_formula(tokenizer, tmp_path):
    trainer = make_trainer(small_t5(), tokenizer, tmp_path)  # computes the reference log-probabilities
    move(trainer.model)
    policy = move(small_t5())
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(list(trainer.train_dataset)))
    expected = published_loss(policy, reference=small_t5())
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert not math.isclose(loss.item(), math.log(2), abs_tol=1e-3)  # what it is where nothing has moved

    loss.backward()
    expected.backward()
    wanted = dict(policy.named_parameters())
    for name, parameter in trainer.model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name].grad, atol=1e-6, rtol=1e-4)


def test_the_reference_is_the_initial_model(tokenizer, tmp_path):
    model = small_t5(3)
    trainer = make_trainer(model, tokenizer, tmp_path)
    plain = small_t5(3)
    for row, (query, chosen, rejected) in zip(trainer.train_dataset, zip(*PAIRS.values(), strict=True), strict=True):
        assert row["ref_chosen_logps"] == pytest.approx(plain_log_probability(plain, query, chosen).item(), abs=1e-5)
        assert row["ref_rejected_logps"] == pytest.approx(
            plain_log_probability(plain, query, rejected).item(), abs=1e-5
        )


def test_a_step_with_a_still_policy_costs_log_two(tokenizer, tmp_path):
    trainer = make_trainer(small_t5(), tokenizer, tmp_path)
    batch = trainer.data_collator(list(trainer.train_dataset))
    assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(math.log(2), abs=1e-6)


def test_training_moves_the_margin_and_the_saved_model_is_plain(tokenizer, tmp_path):
    trainer = make_trainer(
        small_t5(), tokenizer, tmp_path / "run", learning_rate=1e-2, num_train_epochs=20, save_strategy="no"
    )
    trainer.train()
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] < math.log(2) / 2
    assert 0 <= metrics["eval_mrr@10"] <= 1
    assert any("rewards/margins" in record for record in trainer.state.log_history)

    model = trainer.plain_model()
    save(model, tokenizer, tmp_path / "model")
    loaded, _ = load(tmp_path / "model")
    assert type(loaded).__name__ == "T5ForConditionalGeneration"
    query, docid = PAIRS["prompt_ids"][0], PAIRS["chosen_ids"][0]
    assert plain_log_probability(loaded, query, docid).item() == plain_log_probability(model, query, docid).item()


@pytest.mark.parametrize("tied", [True, False])
def test_docid_states_are_those_of_the_model(tied):
    model = small_t5().eval()
    model.config.scale_decoder_outputs = tied
    query, docid = [5, 6, 7, 1], [20, 25, 30]
    states = docid_states(
        model, torch.tensor([[0, *docid]] * 2), torch.ones(2, 4).long(), torch.tensor([query]), torch.ones(1, 4).long()
    ).last_hidden_state
    expected = model(input_ids=torch.tensor([query]), labels=torch.tensor([docid])).logits[0]
    for row in states:
        torch.testing.assert_close(model.lm_head(row[:-1]), expected)


def test_dropout_is_off(tmp_path, tokenizer):
    save(small_t5(), tokenizer, tmp_path)
    model, _ = load(tmp_path, dropout_rate=0.0)
    model.train()
    query, docid = PAIRS["prompt_ids"][0], PAIRS["chosen_ids"][0]
    assert plain_log_probability(model, query, docid).item() == plain_log_probability(model, query, docid).item()


def test_pairs_are_padded_and_the_start_token_is_no_completion():
    batch = PairCollator(0)(
        [
            {"prompt_ids": [5, 1], "chosen_ids": [20, 21], "rejected_ids": [22]},
            {"prompt_ids": [6, 7, 1], "chosen_ids": [23], "rejected_ids": [24, 25]},
        ]
    )
    assert batch["input_ids"].tolist() == [[0, 20, 21], [0, 23, 0], [0, 22, 0], [0, 24, 25]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert batch["completion_mask"].tolist() == [[0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 1, 1]]
    assert batch["prompt_ids"].tolist() == [[5, 1, 0], [6, 7, 1]]
    assert batch["prompt_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_the_bridged_model_still_generates(tokenizer, tmp_path):
    model = small_t5().eval()
    trie = DocidTrie.build([[20, 25, 30], [21, 25, 30], [21, 26, 31]])
    tokens, mask = pad([[5, 6, 1]])
    before = constrained_beam_search(model, trie, tokens, mask, 3)
    bridged = make_trainer(model, tokenizer, tmp_path).model.eval()
    after = constrained_beam_search(bridged, trie, tokens, mask, 3)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])
