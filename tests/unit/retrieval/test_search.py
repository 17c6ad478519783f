"""The search engine on a small collection, and its page in a headless browser."""

import re
import shutil
import subprocess
import sys
import urllib.request

import pytest
import torch

import search
from ddro.core.command import UserError
from ddro.core.files import write_json, write_table
from ddro.core.tables import CORPUS, DOCIDS
from ddro.models.t5 import extend_vocabulary, initialise_t5, load, save
from ddro.models.tokenizer import train_tokenizer
from ddro.retrieval.bm25 import build_index, contents
from ddro.retrieval.search import SearchEngine, token_probabilities
from tables import table

DOCUMENTS = [
    ("kms/rotate", "https://docs.example/kms", "Rotate a key", "Changes the <b>key</b> of a service."),
    ("s3/list", "javascript:alert(1)", "List buckets", "Shows all buckets."),
    ("db/drop", "https://docs.example/db", "Delete a table", "Removes a table and its rows."),
]
CODES = [[0, 4], [0, 5], [1, 6]]
SETTINGS = {
    "docids": {"padding": None},
    "decoding": {"beams": 3, "length_penalty": 0, "max_query_tokens": 16},
    "bm25": {"ranking": {"k1": 0.82, "b": 0.68}},
    "models": {"sft": "awscli/pq/other/sft/finetune", "ddro": "awscli/pq/tiny/ddro"},  # SFT's is that of another
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    write_json({"awscli/pq/tiny": SETTINGS}, folder / "settings.json")
    write_table(table(CORPUS, *((*document, 1) for document in DOCUMENTS)), folder / "awscli/corpus.parquet", CORPUS)
    texts = ((docno, contents({"title": title, "body": body})) for docno, _, title, body in DOCUMENTS)
    build_index(texts, folder / "awscli/bm25/index", threads=1)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "layers": 1, "decoder_layers": 1, "heads": 2}
    for seed, name in enumerate(SETTINGS["models"].values()):
        tokenizer = train_tokenizer([title for _, _, title, _ in DOCUMENTS], 60)
        model = initialise_t5(len(tokenizer), **sizes, seed=seed)
        base = model.config.vocab_size
        extend_vocabulary(model, tokenizer, base + 8, tied_head=False, seed=seed)
        (folder / name).mkdir(parents=True)
        save(model, tokenizer, folder / name)
    docids = [(docno, [base + code for code in codes]) for (docno, *_), codes in zip(DOCUMENTS, CODES, strict=True)]
    write_table(table(DOCIDS, *docids), folder / "awscli/pq/docids.parquet", DOCIDS)
    return folder


@pytest.fixture(scope="module")
def engine(results):
    return SearchEngine(results, *search.chosen(results, None))


def test_each_system_answers_with_documents(engine):
    bm25, sft, ddro = engine.search("rotate the key", 2)
    assert [answer.system for answer in (bm25, sft, ddro)] == ["bm25", "sft", "ddro"]
    assert [hit.docno for hit in bm25.hits] == ["kms/rotate"] and bm25.hits[0].title == "Rotate a key"
    for answer in (sft, ddro):
        assert len(answer.hits) == 2
        for hit in answer.hits:
            codes = CODES[[docno for docno, *_ in DOCUMENTS].index(hit.docno)]
            assert [name for name, _ in hit.tokens] == [f"<docid_{code}>" for code in codes]
            # The score is the sum of the tokens' log-probabilities: two ways, the decoder's and the model's own.
            product = torch.tensor([probability for _, probability in hit.tokens]).log().sum()
            assert hit.score == pytest.approx(float(product), abs=1e-4)


def test_probabilities_of_docids_of_different_lengths(results):
    model, _ = load(results / "awscli/pq/tiny/ddro")
    model.eval()
    query = torch.tensor([[5, 6, 1]])
    together = token_probabilities(model, query, torch.ones_like(query), [[7, 8, 9], [7]])
    assert [len(row) for row in together] == [3, 1]
    assert together[0][0] == pytest.approx(together[1][0])
    (alone,) = token_probabilities(model, query, torch.ones_like(query), [[7]])
    assert alone == pytest.approx(together[1])


def test_queries_without_known_words_and_without_any(engine):
    bm25, sft, _ = engine.search("zzz", 1)
    assert bm25.hits == [] and len(sft.hits) == 1
    with pytest.raises(UserError, match="the query is empty"):
        engine.search(" ", 1)


def test_settings_that_are_missing(results, tmp_path):
    with pytest.raises(UserError, match="settings.json: no such file. Run make demo first"):
        search.chosen(tmp_path, None)
    with pytest.raises(UserError, match="--experiment a/b/c: not among awscli/pq/tiny"):
        search.chosen(results, "a/b/c")


def test_the_lists_in_a_terminal(engine, capsys):
    search.show(engine.search("rotate", 1))
    lines = capsys.readouterr().out
    assert "BM25" in lines and "kms/rotate" in lines and "<docid_" in lines


@pytest.fixture(scope="module")
def url(results, root):
    command = [sys.executable, root / "scripts/search.py", "--serve", "--port=0", f"--results={results}"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in server.stderr:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            yield found[0]
            break
    else:
        pytest.fail("no page")
    server.terminate()
    server.wait()


def test_page_escapes_and_links_only_to_https(url):
    with urllib.request.urlopen(f"{url}/?q=%3Cscript%3Elist+buckets+key") as answer:
        page = answer.read().decode()
    assert "&lt;script&gt;list buckets key" in page and "<script" not in page
    assert "Changes the &lt;b&gt;key&lt;/b&gt;" in page
    assert "s3/list" in page and "javascript:" not in page
    with urllib.request.urlopen(f"{url}/?q=+") as answer:
        assert "the query is empty" in answer.read().decode()


@pytest.mark.skipif(
    not shutil.which("chromium"), reason="THE SEARCH PAGE ISN'T OPENED IN A BROWSER: apt-get install chromium"
)
def test_page_in_a_browser(url, tmp_path):
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}", "--dump-dom"]
    done = subprocess.run(["chromium", *options, f"{url}/?q=rotate+key"], capture_output=True, text=True, timeout=120)
    sections = re.findall(r'<section id="(\w+)">(.*?)</section>', done.stdout, flags=re.DOTALL)
    assert [name for name, _ in sections] == ["bm25", "sft", "ddro"]
    assert 'href="https://docs.example/kms"' in sections[0][1]
    assert all("docid_" in text and "--p:" in text for _, text in sections[1:])
