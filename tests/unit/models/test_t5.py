"""Models and tokenizers: extended, saved, loaded."""

import copy

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, PreTrainedTokenizerFast

from ddro.core.command import UserError
from ddro.models.t5 import extend_vocabulary, initialise_t5, load, pad, save_whole
from ddro.models.tokenizer import encode, load_tokenizer, read_in_lower_case, train_tokenizer

TEXTS = ["Creates a stack from a template.", "Deletes the queue.", "Describes one or more instances."]
QUERY, LABELS = torch.tensor([[5, 6, 7, 1]]), torch.tensor([[9, 4, 1]])


@pytest.fixture
def tokenizer():
    return train_tokenizer(TEXTS, 60)


def small_t5(size):
    return initialise_t5(size, d_model=16, d_kv=8, d_ff=32, layers=1, decoder_layers=1, heads=2, seed=0).eval()


def logits(model):
    return model(input_ids=QUERY, labels=LABELS).logits


def test_the_tokenizer_has_t5s_special_tokens_and_ends_texts(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    (tokens,) = encode(tokenizer, ["Deletes the Queue."], 50)
    assert tokens[-1] == 1
    assert tokenizer.decode(tokens, skip_special_tokens=True) == "deletes the queue"
    (short,) = encode(tokenizer, ["Deletes the Queue."], 3)
    assert short == [*tokens[:2], 1]


def test_names_have_the_pieces_of_their_words(tokenizer):
    names = "DeleteQueue, delete-queue: `Delete queue`"
    assert tokenizer.tokenize(names) == 3 * tokenizer.tokenize("delete queue")


def test_training_a_tokenizer_leaves_nothing_to_chance():
    texts = [f"{text} {number}" for text in TEXTS for number in range(50)]
    first, second = (train_tokenizer(texts, 80)._tokenizer.to_str() for _ in range(2))
    assert first == second


def test_weights_depend_on_the_seed_alone():
    assert torch.equal(logits(small_t5(60)), logits(small_t5(60)))


@pytest.mark.parametrize(("tied", "head"), [(True, "copied"), (False, "copied"), (False, "new_scaled")])
def test_a_saved_model_gives_the_same_logits_with_plain_transformers(tokenizer, tmp_path, tied, head):
    model = small_t5(len(tokenizer))
    extend_vocabulary(model, tokenizer, len(tokenizer) + 8, tied_head=tied, seed=1, head=head)
    if not tied:
        with torch.no_grad():
            model.lm_head.weight += 0.1  # a head of its own
    expected = logits(model)
    save_whole(model, tokenizer, tmp_path / "model")

    plain = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "model").eval()
    assert torch.equal(logits(plain), expected)
    ours, _ = load(tmp_path / "model")
    assert torch.equal(logits(ours.eval()), expected)
    assert ours.config.tie_word_embeddings is tied

    save_whole(ours, tokenizer, tmp_path / "again")
    again, _ = load(tmp_path / "again")
    assert torch.equal(logits(again.eval()), expected)


@pytest.mark.parametrize("tied", [True, False])
def test_extending_leaves_the_old_tokens_as_they_were(tokenizer, tied):
    model = small_t5(len(tokenizer))
    old, expected = len(tokenizer), logits(model)
    extend_vocabulary(model, tokenizer, old + 8, tied_head=tied, seed=1)
    assert logits(model).shape[-1] == model.config.vocab_size == old + 8
    torch.testing.assert_close(logits(model)[..., :old], expected)
    assert (model.lm_head.weight is model.shared.weight) is tied


def test_a_new_head_is_a_random_linear_layer_behind_the_scaling(tokenizer):
    models = [small_t5(len(tokenizer)) for _ in range(3)]
    states = []
    for model, seed in zip(models, (1, 1, 2), strict=True):
        extend_vocabulary(
            model, copy.deepcopy(tokenizer), len(tokenizer) + 8, tied_head=False, seed=seed, head="new_scaled"
        )
        model.lm_head.register_forward_hook(lambda layer, inputs, output: states.append(inputs[0]))
    heads = [model.lm_head.weight for model in models]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    bound = 16**-0.5
    assert heads[0].abs().max() <= bound and heads[0].shape == (len(tokenizer) + 8, 16)
    assert heads[0].std().item() == pytest.approx(bound / 3**0.5, rel=0.1)  # uniform
    logits(models[0])
    hidden = models[0](input_ids=QUERY, labels=LABELS, output_hidden_states=True).decoder_hidden_states[-1]
    torch.testing.assert_close(states[0], hidden * bound)


def test_a_docid_is_also_a_string(tokenizer, tmp_path):
    model = small_t5(len(tokenizer) + 3)  # like T5, whose model has more rows than its tokenizer has tokens
    base = model.config.vocab_size
    extend_vocabulary(model, tokenizer, base + 8, tied_head=False, seed=1)
    save_whole(model, tokenizer, tmp_path / "model")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert loaded("<docid_2><docid_7>", add_special_tokens=False)["input_ids"] == [base + 2, base + 7]
    assert loaded.decode([base + 2, base + 7]).replace(" ", "") == "<docid_2><docid_7>"


def test_a_folder_that_holds_no_model_is_named(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        load(tmp_path)


def test_pad():
    padded, mask = pad([[3, 4], [5]], -100)
    assert padded.tolist() == [[3, 4], [5, -100]]
    assert mask.tolist() == [[1, 1], [1, 0]]


def test_a_tokenizer_goes_on_reading_in_lower_case_once_it_is_saved(tmp_path):
    words = Tokenizer(models.WordLevel({"<unk>": 0, "river": 1, "River": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    tokenizer.add_tokens(["<docid_0>"])
    assert tokenizer("River RIVER <docid_0>").input_ids == [2, 0, 3]
    read_in_lower_case(tokenizer)
    for _ in range(2):
        assert tokenizer("River RIVER <docid_0>").input_ids == [1, 1, 3]
        tokenizer.save_pretrained(tmp_path)
        tokenizer = load_tokenizer(tmp_path)


def test_marks_stay_with_their_letters_and_stray_ones_go():
    tokenizer = train_tokenizer(["हिन्दी भाषा"] * 9, 60)
    normalise = tokenizer.backend_tokenizer.normalizer.normalize_str
    assert normalise("हिन्दी, भाषा!") == "हिन्दी भाषा"
    assert normalise("❤\ufe0f a 👨\u200d👩 b") == "a b"
