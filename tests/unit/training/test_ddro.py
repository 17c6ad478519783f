"""DDRO against its formula, against TRL 0.28.0 (the last that knew encoder-decoders), and its contract with TRL."""

import inspect
import json
import math
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
import torch
import trl
from safetensors.torch import load_file
from trl import DPOConfig
from trl.trainer.utils import FusedCausalLMOutput

from ddro.core.tables import DOCIDS as DOCID_COLUMNS
from ddro.core.tables import NEGATIVES, QUERIES
from ddro.docids.trie import DocidTrie
from ddro.models.t5 import initialise_t5, load, pad, save
from ddro.models.tokenizer import TOKENS, TokenLists, train_tokenizer
from ddro.retrieval.beam_search import constrained_beam_search
from ddro.training.ddro import DdroTrainer, GroupCollator, score_docids
from ddro.training.pairs import group_pairs, group_size
from ddro.training.validation import ValidationRetrieval

TRL_0_28 = Path(__file__).parents[2] / "fixtures/trl_0_28"
BETA = 0.4
DOCIDS = [
    [20, 25, 30],
    [21, 26, 31],
    [20, 26, 32, 33],
    [21, 25, 30],
    [20, 25, 31],
    [20, 27, 33],
    [22, 25],
    [20, 26, 31],
]
GROUPS = {
    "prompt_ids": [[5, 6, 7, 1], [8, 1], [9, 10, 1]],
    "chosen": [0, 1, 2],
    "rejected": [[3, 4], [5], [6, 3, 7]],
    "length": [4, 2, 3],
}
PAIRS = [
    (query, DOCIDS[chosen], DOCIDS[rejected])
    for query, chosen, several in zip(*list(GROUPS.values())[:3], strict=True)
    for rejected in several
]


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


def make_trainer(model, tokenizer, folder, groups=GROUPS, cache=None, docids=DOCIDS, **settings):
    trie = DocidTrie.build([[20, 25, 30], [21, 25, 30]])
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
        data_collator=GroupCollator(model.config.decoder_start_token_id, docids),
        train_dataset=datasets.Dataset.from_dict(groups),
        eval_dataset=datasets.Dataset.from_dict(groups),
        processing_class=tokenizer,
        retrieval=ValidationRetrieval(trie, ["a"], [[5, 6, 1]], [{0}], num_beams=2),
        cache=cache or folder,
    )


def published_loss(policy, reference):
    """docs/method.md: the mean over the pairs of -log sigmoid(beta * (ratio of chosen - ratio of rejected))."""
    losses = []
    for query, chosen, rejected in PAIRS:
        ratio = [
            plain_log_probability(policy, query, docid) - plain_log_probability(reference, query, docid).detach()
            for docid in (chosen, rejected)
        ]
        losses.append(-torch.log(torch.sigmoid(BETA * ratio[0] - BETA * ratio[1])))
    return torch.stack(losses).mean()


def test_the_bridge_was_written_for_this_trl():
    """The contract: which fields TRL's loss reads of the model's answer, and how it calls the model."""
    assert trl.__version__.startswith("1.16."), "read preference.py against the new TRL, then change this line"
    source = inspect.getsource(trl.DPOTrainer._compute_loss)
    assert "outputs = model(**model_kwargs, labels=labels, fused_lm_head=True)" in source
    assert '_non_model_keys = {"completion_mask", "ref_chosen_logps", "ref_rejected_logps"}' in source
    fields = {name for name in FusedCausalLMOutput.__dataclass_fields__ if f"outputs.{name}" in source}
    assert fields - {"aux_loss", "log_sum_sq_probs"} == {"log_probs", "entropy", "mean_logits", "is_top1"}


def test_the_loss_of_literal_log_probabilities(tokenizer, tmp_path):
    """Two pairs: beta 0.4 x (0.5 + 0.25) = 0.3 and 0.4 x (-1 - 0.5) = -0.6, so (ln(1 + e^-0.3) + ln(1 + e^0.6)) / 2."""
    trainer = make_trainer(small_t5(), tokenizer, tmp_path)
    log_probs = torch.tensor(
        [[-1.5], [-3.0], [-4.25], [-2.5]], requires_grad=True
    )  # chosen, chosen, rejected, rejected
    zeros = torch.zeros(4, 1)
    trainer.model.forward = lambda **_: FusedCausalLMOutput(
        log_probs=log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
    )
    batch = {
        "input_ids": torch.tensor([[0, 20]] * 4),
        "attention_mask": torch.ones(4, 2).long(),
        "completion_mask": torch.tensor([[0, 1]] * 4),
        "ref_chosen_logps": torch.tensor([-2.0, -2.0]),
        "ref_rejected_logps": torch.tensor([-4.0, -3.0]),
    }
    loss = trainer.compute_loss(trainer.model, batch)
    assert loss.item() == pytest.approx((math.log(1 + math.exp(-0.3)) + math.log(1 + math.exp(0.6))) / 2, abs=1e-6)
    loss.backward()
    # d loss / d log pi(chosen) = -beta * sigmoid(-x) / 2 for x = 0.3 and -0.6; rejected: the same, positive.
    slopes = [0.2 / (1 + math.exp(0.3)), 0.2 / (1 + math.exp(-0.6))]
    assert log_probs.grad[:, 0].tolist() == pytest.approx([-slopes[0], -slopes[1], *slopes], abs=1e-6)


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


def test_the_reference_is_the_initial_model_and_is_computed_once(tokenizer, tmp_path):
    trainer = make_trainer(small_t5(3), tokenizer, tmp_path)
    plain = small_t5(3)
    for row in trainer.train_dataset:
        chosen = plain_log_probability(plain, row["prompt_ids"], DOCIDS[row["chosen"]]).item()
        assert row["ref_chosen"] == pytest.approx(chosen, abs=1e-5)
        rejected = [plain_log_probability(plain, row["prompt_ids"], DOCIDS[found]).item() for found in row["rejected"]]
        assert row["ref_rejected"] == pytest.approx(rejected, abs=1e-5)
    again = make_trainer(small_t5(4), tokenizer, tmp_path)  # another model, the same cache
    assert again.train_dataset["ref_chosen"][:] == trainer.train_dataset["ref_chosen"][:]


def test_only_what_is_trained_on_has_a_reference(tokenizer, tmp_path):
    groups = {name: values * 4 for name, values in GROUPS.items()}
    settings = {"num_train_epochs": 0.5, "per_device_train_batch_size": 3, "save_strategy": "no", "logging_steps": 1}
    trainer = make_trainer(small_t5(), tokenizer, tmp_path / "run", groups, cache=tmp_path, **settings)
    assert sum(not math.isnan(value) for value in trainer.train_dataset["ref_chosen"]) == 6
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize("loss_type", ["sigmoid", "hinge", "ipo"])
def test_loss_and_gradient_are_those_of_trl_0_28(loss_type, tokenizer, tmp_path):
    """Its DPOTrainer on the same T5 and batch, one query a row, a live reference: fixtures/trl_0_28/make.py."""
    recorded = json.loads((TRL_0_28 / "values.json").read_text())
    weights = load_file(TRL_0_28 / "weights.safetensors")
    assert recorded["trl"] == "0.28.0"

    def model(name):
        found = small_t5()
        found.load_state_dict({key.split("/")[1]: value for key, value in weights.items() if key.startswith(name)})
        return found.eval()

    groups = {name: list(values) for name, values in zip(GROUPS, ([], [], [], []), strict=True)}
    docids = []
    for query, *pair in recorded["pairs"]:
        chosen, rejected = len(docids), len(docids) + 1
        docids += pair
        for column, value in zip(groups.values(), (query, chosen, [rejected], len(query)), strict=True):
            column.append(value)
    settings = {"beta": recorded["beta"], "loss_type": [loss_type]}
    trainer = make_trainer(model("reference"), tokenizer, tmp_path, groups, docids=docids, **settings)
    trainer.model.load_state_dict(model("policy").state_dict())
    loss = trainer.compute_loss(trainer.model, trainer.data_collator(list(trainer.train_dataset)))
    assert loss.item() == pytest.approx(recorded["losses"][loss_type], abs=1e-6)
    loss.backward()
    for name, norm in recorded["gradient_norms"][loss_type].items():
        assert trainer.model.get_parameter(name).grad.norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-6)


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

    model = trainer.plain_model().eval()
    save(model, tokenizer, tmp_path / "model")
    loaded, _ = load(tmp_path / "model")
    assert type(loaded).__name__ == "T5ForConditionalGeneration"
    query, docid, _ = PAIRS[0]
    assert plain_log_probability(loaded, query, docid).item() == plain_log_probability(model, query, docid).item()


@pytest.mark.parametrize("tied", [True, False])
def test_docids_are_scored_as_the_model_scores_them(tied):
    model = small_t5().eval()
    model.config.scale_decoder_outputs = tied
    rows = [dict(zip(GROUPS, row, strict=True)) for row in zip(*GROUPS.values(), strict=True)]
    batch = GroupCollator(0, DOCIDS)(rows)
    passes = []
    hooks = [
        stack.register_forward_hook(lambda module, inputs, output: passes.append(len(output[0])))
        for stack in (model.get_encoder(), model.get_decoder())
    ]
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)
    output = score_docids(model, labels=labels, **batch)
    for hook in hooks:
        hook.remove()
    assert passes == [3, 9]  # 3 queries; 3 chosen and 6 rejected docids, though there are 6 pairs
    expected = [plain_log_probability(model, query, docid) for query, docid, _ in PAIRS]
    expected += [plain_log_probability(model, query, docid) for query, _, docid in PAIRS]
    torch.testing.assert_close(output.log_probs.sum(1), torch.stack(expected))

    query, docid, _ = PAIRS[0]
    logits = model(input_ids=torch.tensor([query]), labels=torch.tensor([docid])).logits[0]
    log_probs = logits.log_softmax(-1)
    torch.testing.assert_close(output.entropy[0, :3], -(log_probs.exp() * log_probs).sum(-1))
    torch.testing.assert_close(output.mean_logits[0, :3], logits.mean(-1))
    assert output.is_top1[0, :3].tolist() == (logits.argmax(-1) == torch.tensor(docid)).tolist()


def test_dropout_is_off(tmp_path, tokenizer):
    save(small_t5(), tokenizer, tmp_path)
    model, _ = load(tmp_path, dropout_rate=0.0)
    model.train()
    query, docid, _ = PAIRS[0]
    assert plain_log_probability(model, query, docid).item() == plain_log_probability(model, query, docid).item()


def test_a_batch_has_each_query_and_each_docid_once():
    batch = GroupCollator(0, TokenLists(pa.array([[20, 21], [22], [26, 27], [23], [24, 25]], TOKENS)))(
        [
            {"prompt_ids": [5, 1], "chosen": 0, "rejected": [1, 2]},
            {"prompt_ids": [6, 7, 1], "chosen": 3, "rejected": [4]},
        ]
    )
    assert batch["input_ids"].tolist() == [[0, 20, 21], [0, 20, 21], [0, 23, 0], [0, 22, 0], [0, 26, 27], [0, 24, 25]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 1, 1], [1, 1, 1]]
    assert batch["completion_mask"][:, 0].tolist() == [0] * 6
    assert batch["prompt_ids"].tolist() == [[5, 1, 0], [6, 7, 1]]
    assert batch["prompt_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["docid_row"].tolist() == [0, 2, 3, 4, 5]
    assert batch["docid_query"].tolist() == [0, 1, 0, 0, 1]
    assert batch["scored"].tolist() == [0, 0, 1, 2, 3, 4]


def test_groups_fill_a_batch_exactly():
    def pairs(*counts):
        rows = [(f"q{query}", str(row)) for query, count in enumerate(counts) for row in range(count)]
        return pa.Table.from_pylist([{"qid": q, "positive": "d", "negative": n, "rank": 1} for q, n in rows], NEGATIVES)

    assert [group_size(64, pairs(negatives)) for negatives in (1, 4, 10, 16, 32, 100)] == [1, 4, 2, 16, 32, 4]
    assert group_size(64, pairs(*[16] * 20, 3)) == 16  # few pairs aren't in full groups
    assert group_size(64, pairs(16, 3, 5, 9, 1)) == 1
    assert group_size(64, pairs(16, 4, 8, 2, 6)) == 2


def test_the_bridged_model_still_generates(tokenizer, tmp_path):
    model = small_t5().eval()
    trie = DocidTrie.build([[20, 25, 30], [21, 25, 30], [21, 26, 31]])
    tokens, mask = pad([[5, 6, 1]])
    before = constrained_beam_search(model, trie, tokens, mask, 3)
    bridged = make_trainer(model, tokenizer, tmp_path).model.eval()
    after = constrained_beam_search(bridged, trie, tokens, mask, 3)
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_pairs_stand_in_groups_of_rows(tokenizer):
    rows = ["b d2 d0", "a d1 d2", "b d2 d3", "a d3 d0", "b d2 d1", "c d0 d1", "a d1 d3"]
    pairs = pa.Table.from_pylist(
        [dict(zip(("qid", "positive", "negative"), row.split(), strict=True)) | {"rank": 1} for row in rows], NEGATIVES
    )
    queries = [
        {"qid": qid, "text": text, "split": "train"}
        for qid, text in zip("xabc", ["", "to", "a queue", "to"], strict=True)
    ]
    docids = [{"docno": f"d{row}", "tokens": [40 + row]} for row in range(4)]
    tables = pa.Table.from_pylist(queries, QUERIES), pa.Table.from_pylist(docids, DOCID_COLUMNS)

    def groups(only=None):
        found = group_pairs(pairs, *tables, tokenizer, 8, 2, only)
        assert found["length"][:] == [len(ids) for ids in found["prompt_ids"]]
        texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in found["prompt_ids"]]
        return list(zip(texts, found["chosen"], found["rejected"], strict=True))

    of_b, of_a, of_c = (
        [("a queue", 2, [0, 3]), ("a queue", 2, [1])],
        [("to", 1, [2, 3]), ("to", 3, [0])],
        ("to", 0, [1]),
    )
    assert groups() == [*of_b, *of_a, of_c]
    assert groups({"b", "c"}) == [*of_b, of_c]
    assert groups(set()) == []
