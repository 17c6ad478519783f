"""Writing pseudo queries: batches, draws, and the two engines held against each other."""

from pathlib import Path

import pytest
import torch

from ddro.core.command import UserError
from ddro.doc2query.writers import (
    Ctranslate2Writer,
    TransformersWriter,
    batches,
    check_engine,
    convert,
    document_text,
    encode_documents,
    load_doc2query,
    write_queries,
)
from ddro.models.t5 import extend_vocabulary, initialise_t5, pad, save
from ddro.models.tokenizer import encode, train_tokenizer

TEXTS = ["creates a stack", "deletes the queue of messages", "describes instances"]
ENGINES = [TransformersWriter, Ctranslate2Writer]


def tiny(layers=1, decoder_layers=1, size=60, **settings):
    tokenizer = train_tokenizer(TEXTS, size)
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "heads": 2, "seed": 0} | settings
    model = initialise_t5(len(tokenizer), layers=layers, decoder_layers=decoder_layers, **shape)
    return model.eval(), tokenizer


def writer_of(engine, **settings):
    model, tokenizer = tiny()
    return engine(model, tokenizer, **({"beams": None, "top_k": 5, "max_query_tokens": 6} | settings))


def draw(writer, seed, count=3):
    writer.reseed(seed)
    documents = encode(writer.tokenizer, TEXTS, 20)
    return [texts for of_batch in writer.write([(count, documents[:2]), (count, documents[2:])]) for texts in of_batch]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_document_has_its_queries_and_the_seed_decides_them(engine):
    writer = writer_of(engine)
    first = draw(writer, 4)
    assert [len(texts) for texts in first] == [3, 3, 3]
    assert len({text for texts in first for text in texts}) > 3
    assert draw(writer, 4) == first
    assert draw(writer_of(engine), 4) == first
    assert draw(writer, 5) != first


def test_the_one_most_probable_token_leaves_nothing_to_chance():
    assert all(len(set(texts)) == 1 for texts in draw(writer_of(TransformersWriter, top_k=1), 0))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_query_has_at_most_so_many_tokens(engine):
    writer = writer_of(engine, max_query_tokens=1)
    pieces = {writer.tokenizer.decode([token]).strip() for token in range(len(writer.tokenizer))} | {""}
    assert {text for texts in draw(writer, 0, 10) for text in texts} <= pieces
    assert not {text for texts in draw(writer_of(engine), 0, 10) for text in texts} <= pieces


def test_both_engines_find_the_same_queries_by_beam_search():
    found = [draw(writer_of(engine, beams=4), seed, 4) for engine in ENGINES for seed in (0, 1)]
    assert found[0] == found[1]  # no chance in it
    assert found[2] == found[3]
    # int8 may turn the order of near equals, and a length penalty counts the end token or not: most are the same.
    shared = sum(len(set(ours) & set(theirs)) for ours, theirs in zip(found[0], found[2], strict=True))
    assert shared >= 6


@pytest.mark.parametrize(("compute_type", "tolerance"), [("float32", 1e-3), ("int8", 0.5)])
@pytest.mark.parametrize(
    ("layers", "decoder_layers", "tied", "gated"), [(1, 1, True, False), (1, 3, False, False), (3, 1, True, True)]
)
def test_a_converted_model_gives_the_probabilities_that_it_gave(
    layers, decoder_layers, tied, gated, compute_type, tolerance, tmp_path
):
    import ctranslate2

    model, tokenizer = tiny(layers, decoder_layers)
    if gated:
        from transformers import T5Config, T5ForConditionalGeneration

        config = T5Config.from_dict(model.config.to_dict() | {"feed_forward_proj": "gated-gelu"})
        config.scale_decoder_outputs = False  # T5 1.1
        torch.manual_seed(1)
        model = T5ForConditionalGeneration(config).eval()
    extend_vocabulary(model, tokenizer, len(tokenizer) + 3, tied_head=tied, seed=0)
    convert(model, tokenizer, tmp_path, compute_type)
    documents, queries = encode(tokenizer, TEXTS, 20), encode(tokenizer, list(reversed(TEXTS)), 20)
    tokens, mask = pad(documents)
    labels, of_query = pad(queries)
    with torch.no_grad():
        logits = model(input_ids=tokens, attention_mask=mask, labels=labels).logits
    wanted = torch.log_softmax(logits, -1).gather(2, labels[..., None])[..., 0] * of_query
    names = [[tokenizer.convert_ids_to_tokens(ids) for ids in side] for side in (documents, queries)]
    translator = ctranslate2.Translator(str(tmp_path), compute_type=compute_type, intra_threads=1)
    scored = translator.score_batch(names[0], [query[:-1] for query in names[1]])
    found = torch.tensor([sum(score.log_probs) for score in scored])
    # Without these instructions sums of two products of int8 end at 2**15, which random weights like these reach.
    saturates = compute_type == "int8" and "vnni" not in Path("/proc/cpuinfo").read_text()
    assert torch.allclose(found, wanted.sum(1), rtol=0.08 if saturates else 0, atol=tolerance)


def test_ctranslate2_refuses_a_model_without_encoder_layers():
    model, tokenizer = tiny(layers=0)
    with pytest.raises(UserError, match="without encoder layers .*doc2query.engine to transformers"):
        Ctranslate2Writer(model, tokenizer, beams=None, top_k=5, max_query_tokens=6)


def test_ctranslate2_on_a_gpu_without_its_libraries_is_refused(monkeypatch):
    check_engine("ctranslate2")  # without a GPU it needs none
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_engine("transformers")
    with pytest.raises(UserError, match="can't run on this GPU: libcublas.so.12: .*Write transformers"):
        check_engine("ctranslate2")


def test_documents_that_do_not_fit_a_device_are_written_for_in_halves(monkeypatch, caplog):
    writer = writer_of(TransformersWriter, beams=4)
    expected = draw(writer, 0, 4)
    real = writer.model.generate

    def generate(input_ids, **options):
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(input_ids=input_ids, **options)

    monkeypatch.setattr(writer.model, "generate", generate)
    assert draw(writer, 0, 4) == expected  # of a beam search, which has no chance in it
    assert "documents don't fit the device's memory" in caplog.text


def test_a_tokenizer_that_is_not_the_models_is_refused(tmp_path):
    model, tokenizer = tiny()
    save(model, tokenizer, tmp_path / "right")
    load_doc2query(tmp_path / "right")
    small = initialise_t5(5, d_model=16, d_kv=8, d_ff=32, layers=1, decoder_layers=1, heads=2, seed=0)
    save(small, tokenizer, tmp_path / "small")
    with pytest.raises(UserError, match="small: its tokenizer isn't the model's.*doc2query.source"):
        load_doc2query(tmp_path / "small")
    save(model, tokenizer, tmp_path / "none")
    for path in (tmp_path / "none").glob("*token*"):
        path.unlink()
    with pytest.raises(UserError, match="none: "):
        load_doc2query(tmp_path / "none")


def test_batches_hold_documents_of_like_length_and_stay_below_their_size():
    lengths, counts = [9, 2, 30, 2, 3, 5], [1, 1, 1, 1, 1, 0]
    found = list(batches(lengths, counts, max_query_tokens=1, size=12))
    assert found == [(1, [1, 3, 4]), (1, [0]), (1, [2])]
    assert list(batches(lengths, [2, 1, 0, 2, 0, 0], max_query_tokens=1, size=100)) == [(1, [1]), (2, [3, 0])]


def scripted(*answers):
    """A writer that gives these texts for a document's successive queries."""
    waiting = [list(texts) for texts in answers]
    asked = []

    def write(batches):
        for count, documents in batches:
            asked.append((len(documents), count))
            yield [[waiting[document[0]].pop(0) for _ in range(count)] for document in documents]

    return write, asked


def test_what_repeats_is_drawn_again_so_often_and_then_kept():
    write, asked = scripted(["a", "b", "a", "", "c", "a"], ["d", "e", "f", "g"], ["x", "x", "x", "x", "", "", "x"])
    written, counts = write_queries(write, [[0], [1], [2]], per_document=3, redraws=2, max_query_tokens=1, size=1000)
    assert written == [["a", "b", "c"], ["d", "e", "f"], ["x", "x", ""]]
    assert asked == [(3, 3), (1, 1), (1, 2), (1, 1), (1, 2)]
    assert counts == {"drawn_again": 6, "repeated": 1, "empty": 1}


def test_a_document_of_a_megabyte_or_of_one_character_is_cut():
    _, tokenizer = tiny()
    texts = ["stack " * 200_000, "a" * 1_000_000, document_text("", "")]
    long, same, empty = encode_documents(tokenizer, texts, 20)
    assert len(long) == 20 and len(same) <= 20
    assert long == encode(tokenizer, ["stack " * 20], 20)[0]
    assert empty == [tokenizer.eos_token_id]


def test_the_text_of_a_document():
    assert document_text("Title", "Body.") == "Title. Body."
