"""The model on a frozen encoder: saved, extended, trained, searched, and its kept states."""

import os
import subprocess

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from ddro.core.command import UserError
from ddro.docids.trie import DocidTrie
from ddro.models.frozen_encoder import FrozenEncoderT5, initialise_decoder
from ddro.models.hub import Reading
from ddro.models.probe import mean_log_probabilities
from ddro.models.t5 import docid_strings, extend_vocabulary, load, pad, save_whole
from ddro.models.tokenizer import encode
from ddro.retrieval.beam_search import constrained_beam_search
from ddro.training import states
from ddro.training.instances import window_passages
from ddro.training.processes import launch_command
from ddro.training.states import keep_states

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "stack", "queue", "delete", "create", "the", "a"]
TEXTS = ["create a stack", "delete the queue", "the queue"]
DOCIDS = [[2, 6], [2, 7], [3, 6], [4, 8], [5, 9]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of a small BERT with random weights and its tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40}
    BertModel(BertConfig(vocab_size=len(WORDS), hidden_size=16, **sizes)).save_pretrained(folder)
    words = Tokenizer(WordLevel(dict(zip(WORDS, range(len(WORDS)), strict=True)), unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=words, **special).save_pretrained(folder)
    return folder


@pytest.fixture
def made(encoder):
    """A model that knows the tokens of `DOCIDS`, and its tokenizer."""
    settings = {"d_kv": 8, "d_ff": 32, "decoder_layers": 2, "heads": 2, "embedding_std": 1.0}
    model, tokenizer = initialise_decoder(encoder, seed=1, **settings)
    extend_vocabulary(model, tokenizer, 10, tied_head=False, seed=1)
    return model.eval(), tokenizer


def batch(tokenizer):
    ids, mask = pad(encode(tokenizer, TEXTS, 32))
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor(DOCIDS[:3])}


def test_the_states_are_those_of_the_pretrained_encoder(encoder, made):
    model, tokenizer = made
    inputs = batch(tokenizer)
    with torch.no_grad():
        expected = BertModel.from_pretrained(encoder)(inputs["input_ids"], inputs["attention_mask"]).last_hidden_state
    mask = inputs["attention_mask"].bool()
    assert torch.equal(model.encoder.compute(inputs["input_ids"], mask.long())[mask], expected[mask].half())


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_model_gives_the_same_logits(encoder, tmp_path, tied):
    model, tokenizer = initialise_decoder(
        encoder, d_kv=8, d_ff=32, decoder_layers=1, heads=2, embedding_std=0.1, seed=1
    )
    extend_vocabulary(model, tokenizer, 10, tied_head=tied, seed=1)
    save_whole(model, tokenizer, tmp_path / "model")
    loaded, its_tokenizer = load(tmp_path / "model")
    assert isinstance(loaded, FrozenEncoderT5)
    assert (loaded.lm_head.weight is loaded.shared.weight) == loaded.config.tie_word_embeddings == tied
    inputs = batch(tokenizer)
    assert torch.equal(loaded.eval()(**inputs).logits, model.eval()(**inputs).logits)
    assert encode(its_tokenizer, TEXTS, 32) == encode(tokenizer, TEXTS, 32)
    assert str(encoder) not in (tmp_path / "model/config.json").read_text()


def test_docid_tokens_are_the_decoders_alone(made):
    model, tokenizer = made
    assert len(model.shared.weight) == len(model.lm_head.weight) == model.config.vocab_size == 10
    assert model.decoder.embed_tokens.weight is model.shared.weight
    assert len(tokenizer) == len(WORDS) and tokenizer.eos_token_id == 3
    extend_vocabulary(model, tokenizer, 10, tied_head=False, seed=1)  # as the next stage does
    with pytest.raises(UserError, match="docid token 11 is beyond the model's vocabulary"):
        extend_vocabulary(model, tokenizer, 12, tied_head=False, seed=1)


def test_docid_tokens_are_numbered_from_the_first(made):
    assert docid_strings(*made, [2, 6]) == ["<docid_0>", "<docid_4>"]


def test_a_text_that_is_too_long_for_the_encoder_is_refused(made):
    ids = torch.full((1, 41), 4)
    with pytest.raises(UserError, match="a text of 41 tokens, but the encoder reads at most 40"):
        made[0].encoder(ids, torch.ones_like(ids))


def test_the_encoder_stays_as_it_is(made, tmp_path):
    save_whole(*made, tmp_path / "model")
    model, tokenizer = load(tmp_path / "model", dropout_rate=0.0)
    model.train()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    inputs = batch(tokenizer)
    assert torch.equal(model(**inputs).logits, model(**inputs).logits)  # the encoder's own dropout is off
    model(**inputs).loss.backward()
    torch.optim.AdamW(model.parameters(), 0.1).step()
    moved = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert {name for name in before if not name.startswith("encoder.pretrained")} == moved


def test_beam_search_finds_what_scores_best(made):
    model, tokenizer = made
    inputs = batch(tokenizer)
    docids, scores = constrained_beam_search(
        model, DocidTrie.build(DOCIDS), inputs["input_ids"], inputs["attention_mask"], 5
    )
    trie = DocidTrie.build(DOCIDS)
    for column, docid in enumerate(trie.docid(row).tolist() for row in range(5)):
        labels = torch.tensor([docid] * 3)
        logits = model(**inputs | {"labels": labels}).logits.log_softmax(-1)
        expected = logits.gather(-1, labels[..., None]).sum((1, 2))
        torch.testing.assert_close(scores[docids == column], expected)


def test_kept_states_change_nothing(made, tmp_path, monkeypatch):
    model, tokenizer = made
    monkeypatch.setattr(states, "TEXTS_AT_A_TIME", 2)
    inputs = batch(tokenizer)
    with torch.no_grad():
        expected = model(**inputs).logits
        keep_states(model, encode(tokenizer, [*TEXTS, *TEXTS], 32), tmp_path / "states.npy", "float32")
        monkeypatch.setattr(model.encoder, "compute", None)  # nothing is computed any more
        torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-3, rtol=0)
    tokens = sum(map(len, encode(tokenizer, TEXTS, 32)))
    assert np.load(tmp_path / "states.npy").shape == (tokens, 16)


def test_a_training_in_bfloat16_keeps_what_it_would_compute(made, tmp_path, monkeypatch):
    model, tokenizer = made
    monkeypatch.setattr(states, "trains_in_bfloat16", lambda precision: precision == "bfloat16")
    tokens, mask = pad(encode(tokenizer, TEXTS, 32))

    def found() -> torch.Tensor:
        return model.encoder(tokens, mask).last_hidden_state[mask.bool()]

    exactly = found()
    with torch.autocast("cpu", torch.bfloat16):  # as the Trainer does
        computed = found()
    keep_states(model, encode(tokenizer, TEXTS, 32), tmp_path / "states.npy", "bfloat16")
    monkeypatch.setattr(model.encoder, "compute", None)
    torch.testing.assert_close(found(), computed, atol=1e-4, rtol=0)
    assert (computed - exactly).abs().max() > 5e-4  # random weights: what is added to an embedding is small


def test_states_are_computed_once(made, tmp_path, monkeypatch):
    model, tokenizer = made
    texts = encode(tokenizer, TEXTS, 32)
    keep_states(model, texts, tmp_path / "states.npy", "float32")
    monkeypatch.setattr(model.encoder, "compute", None)
    keep_states(model, texts[::-1], tmp_path / "states.npy", "float32")  # as a training does that goes on
    assert model.encoder.kept_states(*pad(texts)) is not None
    assert model.encoder.kept_states(*pad([*texts, [2, 9, 3]])) is None  # of a text that wasn't there


TWO_PROCESSES = """
from pathlib import Path
from accelerate import PartialState
from ddro.models.t5 import load
from ddro.training.states import keep_states
model, _ = load(Path("model"))
keep_states(model, [[2, 8, 5, 3], [2, 9, 3]], Path("states.npy"), "float32")
Path(f"{PartialState().process_index}-of-{PartialState().num_processes}").touch()
"""


def test_two_processes_without_a_gpu_keep_the_same_states(made, root, tmp_path):
    save_whole(*made, tmp_path / "model")
    (tmp_path / "keep.py").write_text(TWO_PROCESSES)
    environment = os.environ | {"PYTHONPATH": str(root / "scripts"), "OMP_NUM_THREADS": "1"}
    command = launch_command(2, ["keep.py"], environment)
    done = subprocess.run(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert np.load(tmp_path / "states.npy").shape == (7, 16)
    assert (tmp_path / "0-of-2").exists() and (tmp_path / "1-of-2").exists()


def test_a_passage_begins_as_the_tokenizer_begins_a_text(made):
    _, tokenizer = made
    passages = window_passages(tokenizer, "d", "the queue", "create a stack delete a", passage_tokens=7, max_passages=9)
    assert [passage.input_ids for passage in passages] == [[2, 8, 5, 7, 9, 4, 3], [2, 8, 5, 6, 9, 3]]


def test_its_gold_docids_can_be_probed(made):
    model, tokenizer = made
    queries = encode(tokenizer, TEXTS, 32)
    ending = [[*docid, 1] for docid in DOCIDS[:3]]
    ids, mask = pad(queries)
    with torch.no_grad():
        loss = model(input_ids=ids, attention_mask=mask, labels=torch.tensor(ending)).loss
    reading = Reading(scaled_output=model.config.scale_decoder_outputs, end_token=True, leading_zero=False)
    means = mean_log_probabilities(model, list(zip(queries, ending, strict=True)), closed=True)
    assert means[reading] == pytest.approx(-3 * float(loss), abs=1e-4)
