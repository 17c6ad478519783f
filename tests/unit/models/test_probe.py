"""A checkpoint that has learned its docids in one reading is told from all others."""

import json

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM

import retrieve_published
from ddro.core.command import UserError
from ddro.models.hub import Reading, are_closed, has_own_head, read_docids
from ddro.models.probe import READINGS, check_reading, mean_log_probabilities
from ddro.models.t5 import extend_vocabulary, initialise_t5, save
from ddro.models.tokenizer import train_tokenizer
from ddro.retrieval.runs import read_run
from learned import learn

TEXTS = ["rotate a key", "list all buckets"]
CODES = {"d1": (0, 2, 4), "d2": (0, 3, 4), "d3": (1, 2, 5), "d4": (1, 3, 5)}
ASKED = [("d1", 0)] * 3 + [("d2", 0)] + [("d3", 1)] * 3 + [("d4", 1)]
"""Docnos and the text that asks for them, three of four times for the first: a sharper model is a worse one."""


def checkpoint(folder, reading, tied_head=False):
    """A folder with a model that has learned in ``reading``, its docids and its tests; their lines as tuples."""
    tokenizer = train_tokenizer(TEXTS, 40)
    model = initialise_t5(len(tokenizer), d_model=16, d_kv=8, d_ff=16, layers=1, decoder_layers=1, heads=2, seed=1)
    base = model.config.vocab_size
    extend_vocabulary(model, tokenizer, base + 6, tied_head=tied_head, seed=2)
    model.config.scale_decoder_outputs = reading.scaled_output
    end = (1,) * reading.end_token
    docids = {docno: (*(base + code for code in codes), *end) for docno, codes in CODES.items()}
    queries = tokenizer(TEXTS)["input_ids"]
    learn(model, [(queries[text], reading.docid(docids[docno], reading.end_token)) for docno, text in ASKED])
    folder.mkdir(exist_ok=True)
    save(model, tokenizer, folder)
    written = {docno: ",".join(map(str, docid)) for docno, docid in docids.items()}
    (folder / "docids.txt").write_text("".join(f"[{docno}]\t{docid}\n" for docno, docid in written.items()))
    tests = [{"query_id": docno, "doc_id": written[docno], "input_ids": queries[text]} for docno, text in ASKED]
    (folder / "tests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in tests))
    return model, [(queries[text], docids[docno]) for docno, text in ASKED]


def retrieve(folder, *options):
    files = [f"--model={folder}", f"--docids={folder}/docids.txt", f"--tests={folder}/tests.jsonl"]
    words = [*files, "--beams=4", f"--output={folder}/out", *options]
    retrieve_published.main(retrieve_published.parser().parse_args(words))


@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_each_way_to_write_a_checkpoint_is_told_from_the_others(tmp_path, reading, caplog):
    model, lines = checkpoint(tmp_path / "model", reading)
    means = mean_log_probabilities(model, lines, reading.end_token)
    assert max(means, key=means.__getitem__) == reading
    caplog.set_level("INFO")
    assert model.config.scale_decoder_outputs == reading.scaled_output
    check_reading(means, reading, "model")
    assert caplog.text.count("gold docids: mean log-probability") == len(READINGS) == 8
    other = reading._replace(leading_zero=not reading.leading_zero)
    with pytest.raises(UserError, match=rf"as configured \({other}\), but -.* with {reading}\. Write that"):
        check_reading(means, other, "model")


def test_a_t5_gives_the_leading_zero_half_of_the_probability_at_two_places(tmp_path):
    model, lines = checkpoint(tmp_path / "model", Reading(scaled_output=True, end_token=True, leading_zero=True))
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([lines[0][0]]), decoder_input_ids=torch.tensor([[0, 0]])).logits[0]
    assert logits[0].tolist() == pytest.approx(logits[1].tolist(), abs=1e-4)
    assert float(logits[0].softmax(-1)[0]) == pytest.approx(0.5, abs=0.1)


def test_the_mean_is_that_of_transformers_loss(tmp_path):
    reading = Reading(scaled_output=True, end_token=True, leading_zero=False)
    model, lines = checkpoint(tmp_path / "model", reading)
    with torch.no_grad():
        losses = [model(input_ids=torch.tensor([query]), labels=torch.tensor([docid])).loss for query, docid in lines]
    expected = -sum(float(loss) * len(docid) for loss, (_, docid) in zip(losses, lines, strict=True)) / len(lines)
    assert mean_log_probabilities(model, lines, True)[reading] == pytest.approx(expected, abs=1e-4)


def test_a_wrong_reading_stops_before_anything_is_ranked(tmp_path, caplog):
    folder = tmp_path / "model"
    checkpoint(folder, Reading(scaled_output=True, end_token=False, leading_zero=True))
    config = json.loads((folder / "config.json").read_text())
    config.pop("scale_decoder_outputs")  # as in a published one, which says no more than that the head is untied
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    meant = "scaled_output: true, end_token: false, leading_zero: true"
    with pytest.raises(UserError, match=rf"with {meant}. Write that for this checkpoint in config/published.yaml"):
        retrieve(folder)
    assert not (folder / "out").exists()
    retrieve(folder, "--scaled-output", "--leading-zero")
    run = read_run(folder / "out/run.trec.gz").to_pandas()
    assert run[run["rank"] == 1]["docno"].tolist() == ["d1"] * 4 + ["d3"] * 4
    assert run.groupby("qid").size().tolist() == [4] * 8
    retrieve(folder, "--no-leading-zero", "--probe-lines=0")  # who knows better


def test_what_is_said_of_the_head_is_held_against_the_weights(tmp_path):
    reading = Reading(scaled_output=True, end_token=True, leading_zero=False)
    checkpoint(tmp_path / "own", reading)
    assert has_own_head(tmp_path / "own")
    with pytest.raises(UserError, match="an output head of their own .*: write tied_head: false in config/published"):
        retrieve(tmp_path / "own", "--tied-head")
    retrieve(tmp_path / "own")

    model, _ = checkpoint(tmp_path / "tied", reading, tied_head=True)
    assert has_own_head(tmp_path / "tied") is None
    retrieve(tmp_path / "tied", "--tied-head")
    from safetensors.torch import save_file

    save_file(
        {name: tensor.clone() for name, tensor in model.state_dict().items()}, tmp_path / "tied/model.safetensors"
    )
    assert has_own_head(tmp_path / "tied") is False  # stored, but a copy
    retrieve(tmp_path / "tied", "--tied-head")
    with pytest.raises(UserError, match=r"is a copy of the word embeddings: .* \(write tied_head: true in config"):
        retrieve(tmp_path / "tied")


def test_a_head_of_its_own_is_loaded_also_where_config_json_calls_it_tied(tmp_path):
    model, _ = checkpoint(tmp_path / "own", Reading(True, True, False))
    config = json.loads((tmp_path / "own/config.json").read_text())
    config.pop("scale_decoder_outputs")
    (tmp_path / "own/config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "own")
    assert loaded.lm_head.weight.equal(model.lm_head.weight) and loaded.config.scale_decoder_outputs
    retrieve(tmp_path / "own")


def test_docids_that_were_cut_off_get_no_end_token(tmp_path):
    (tmp_path / "docids.txt").write_text("[D1]\t0,5,6,1,0,0\n[D2]\t0,5,7,8\n")
    docids = read_docids(tmp_path / "docids.txt")
    assert docids == {"d1": [(5, 6, 1)], "d2": [(5, 7, 8)]}
    assert are_closed(tokens for of_document in docids.values() for tokens in of_document)
    read = Reading(scaled_output=True, end_token=True, leading_zero=True).docid
    assert [read(docids[docno][0], True) for docno in docids] == [(0, 5, 6, 1), (0, 5, 7, 8)]
    assert read((5, 7, 8), False) == (0, 5, 7, 8, 1)
    assert Reading(True, False, False).docid((5, 6, 1), True) == (5, 6)


def test_padding_takes_the_place_of_the_end_token_and_counts(tmp_path):
    """As the authors evaluate NQ with TU: the score is the mean log-probability of docid and padding."""
    folder = tmp_path / "model"
    model, lines = checkpoint(folder, Reading(scaled_output=True, end_token=True, leading_zero=False))
    retrieve(folder, "--padding=5")
    scores = dict(read_run(folder / "out/run.trec.gz").to_pandas().query("qid == '1'")[["docno", "score"]].values)
    for docno, codes in CODES.items():
        docid = [len(model.lm_head.weight) - 6 + code for code in codes]
        padded = torch.tensor([[*docid, 0, 0]])
        with torch.no_grad():
            inputs = torch.cat([torch.tensor([[0]]), padded[:, :-1]], 1)
            logits = model(input_ids=torch.tensor([lines[0][0]]), decoder_input_ids=inputs).logits
        expected = float(logits.log_softmax(-1).gather(-1, padded[..., None]).mean())
        assert scores[docno] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(UserError, match=r"padding is 1, but the docid of .* has 3 tokens .* Write 3 or more"):
        retrieve(folder, "--padding=1")
