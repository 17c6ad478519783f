"""Published checkpoints, offline: a cache of the hub as huggingface_hub lays it out, with a small model in it."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

import compare_published
import export_model
import retrieve_published
from ddro.core.command import UserError
from ddro.core.files import read_json, read_table, write_json, write_table
from ddro.core.tables import CORPUS, DOCIDS, MEASURES, QRELS, QUERIES
from ddro.models import hub
from ddro.models.export import model_card, sha256
from ddro.models.hub import (
    TestLine,
    check_no_prefix,
    fetch,
    mismatches,
    read_docids,
    read_test_set,
    weight_shapes,
    without_end,
)
from ddro.models.t5 import extend_vocabulary, initialise_t5, load, save
from ddro.models.tokenizer import train_tokenizer
from ddro.retrieval.runs import read_run
from learned import learn
from tables import table

TEXTS = ["rotate a key", "list all buckets", "delete the table", "copy an object"]
DOCNOS = ["kms/Rotate", "s3/List", "db/Delete", "s3/Copy"]
CODES = [[0, 4], [0, 5], [1, 6], [1, 7]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    tokenizer = train_tokenizer(TEXTS, 60)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "layers": 1, "decoder_layers": 1, "heads": 2}
    model = initialise_t5(len(tokenizer), **sizes, seed=1)
    base = model.config.vocab_size
    extend_vocabulary(model, tokenizer, base + 8, tied_head=False, seed=2)
    asked = [(TEXTS[0], CODES[0]), (TEXTS[0], CODES[1]), (TEXTS[2], CODES[2])]
    learn(model, [(tokenizer(text)["input_ids"], [base + code for code in codes]) for text, codes in asked])
    (folder / "model").mkdir()
    save(model, tokenizer, folder / "model")
    docids = [(docno, [base + code for code in codes]) for docno, codes in zip(DOCNOS, CODES, strict=True)]
    write_table(table(DOCIDS, *docids), folder / "docids.parquet", DOCIDS)
    queries = [(f"q{number}", text, "test" if number < 3 else "train") for number, text in enumerate(TEXTS)]
    write_table(table(QUERIES, *queries), folder / "queries.parquet", QUERIES)
    qrels = [
        ("q0", DOCNOS[0], 1),
        ("q0", DOCNOS[1], 1),
        ("q1", DOCNOS[1], 0),
        ("q2", DOCNOS[2], 2),
        ("q3", DOCNOS[3], 1),
    ]
    write_table(table(QRELS, *qrels), folder / "qrels.parquet", QRELS)
    intervals = {name: [0.25, 0.75] for name in MEASURES}
    groups = {"all": {"n_queries": 3, **dict.fromkeys(MEASURES, 0.5), "intervals": intervals}}
    write_json({"protocol": "query", "groups": groups}, folder / "metrics.json")
    options = [f"--{name}={folder}/{name}.parquet" for name in ("docids", "queries", "qrels")]
    options += ["--name=tiny", f"--model={folder}/model", f"--metrics={folder}/metrics.json", "--recipe", '{"seed": 1}']
    options += ["--beams=4", "--length-penalty=0", "--max-query-tokens=16", f"--output={folder}/hub"]
    export_model.main(export_model.parser().parse_args(options))
    return folder / "hub"


def test_plain_transformers_loads_what_is_exported(exported):
    model = AutoModelForSeq2SeqLM.from_pretrained(exported, use_safetensors=True)
    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert model.config.vocab_size == len(tokenizer)
    assert (model.lm_head.weight == load_file(exported / "model.safetensors")["lm_head.weight"]).all()
    assert model.generate(**tokenizer(["rotate"], return_tensors="pt"), max_new_tokens=2).shape == (1, 3)


def test_the_card_has_measures_and_the_hash_of_each_file(exported):
    card = (exported / "README.md").read_text()
    assert "| MRR@10 | 0.5000 | 0.2500 to 0.7500 |" in card
    names = {path.name for path in exported.iterdir()} - {"README.md"}
    assert {"docids.txt", "tests.jsonl", "recipe.json", "decoding.json", "tokenizer.json"} <= names
    for name in names:
        assert f"| {name} | `{sha256(exported / name)}` |" in card


def test_the_card_says_how_queries_are_written_and_docids_decoded(exported):
    decoding, metrics = read_json(exported / "decoding.json"), read_json(exported.parent / "metrics.json")
    assert decoding["lower_case"] is False and "lower case" not in (exported / "README.md").read_text()
    assert "--length-penalty 0 --padding 100 \\" in model_card("tiny", metrics, decoding | {"padding": 100}, {}, 9)
    assert "Write queries in lower case" in model_card("tiny", metrics, decoding | {"lower_case": True}, {}, 9)


def test_exported_docids_and_test_set_are_read_back(exported):
    docids, tests = read_docids(exported / "docids.txt"), read_test_set(exported / "tests.jsonl")
    assert list(docids) == [docno.lower() for docno in DOCNOS]
    assert [line.docno for line in tests] == [
        "kms/rotate",
        "s3/list",
        "db/delete",
    ]  # each relevant one of the test queries
    assert all([line.docid] == docids[line.docno] for line in tests)
    assert tests[0].input_ids == AutoTokenizer.from_pretrained(exported)("rotate a key")["input_ids"]


def hub_cache(folder, exported):
    """Lay out the cache of a hub in which the model and the two files are."""
    for kind, files in (("models--me--tiny", None), ("datasets--me--data", ("docids.txt", "tests.jsonl"))):
        snapshot = folder / kind / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
        (snapshot / "sub").mkdir(parents=True)
        (folder / kind / "refs").mkdir()
        (folder / kind / "refs/main").write_text(snapshot.name)
        for path in exported.iterdir():
            if files is None or path.name in files:
                (snapshot / ("sub" if files else "") / path.name).write_bytes(path.read_bytes())
    return os.environ | {"HF_HUB_CACHE": str(folder), "HF_HUB_OFFLINE": "1"}


def test_the_command_of_the_card_ranks(tmp_path, exported, root):
    (command,) = re.findall(r"^    python (scripts/.*?)\n\n", (exported / "README.md").read_text(), re.M | re.S)
    script, *options = command.replace("\\\n", " ").replace("evaluation", str(tmp_path / "out")).split()
    done = subprocess.run([sys.executable, root / script, *options], cwd=exported, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(read_run(tmp_path / "out/run.trec.gz")) == 12


def fetch_and_retrieve(root, environment, output):
    def start(script, *options):
        command = [sys.executable, root / "scripts" / script, *options]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    sources = ["--model=me/tiny", "--docids=me/data:sub/docids.txt", "--tests=me/data:sub/tests.jsonl"]
    fetched = f"{output}/fetched"
    done = start("fetch_published.py", *sources, f"--output={fetched}")
    assert done.returncode == 0, done.stderr
    files = [f"--model={fetched}/model", f"--docids={fetched}/docids.txt", f"--tests={fetched}/tests.jsonl"]
    return start("retrieve_published.py", *files, "--beams=4", f"--output={output}")


def test_a_model_docids_and_test_set_of_the_hub_are_ranked_offline(tmp_path, exported, root):
    done = fetch_and_retrieve(root, hub_cache(tmp_path / "hub", exported), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    run = read_run(tmp_path / "out/run.trec.gz").to_pandas()
    assert run.groupby("qid")["docno"].agg(set).tolist() == [{docno.lower() for docno in DOCNOS}] * 3
    qrels = read_table(tmp_path / "out/qrels.parquet", QRELS)
    assert qrels["docno"].to_pylist() == ["kms/rotate", "s3/list", "db/delete"]
    assert read_table(tmp_path / "out/corpus.parquet", CORPUS).num_rows == 4


def test_what_cannot_be_fetched_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="me/none:missing.txt: neither a path here nor fetched from the hub"):
        fetch("me/none:missing.txt")


CONFIG = {"vocab_size": 20, "tie_word_embeddings": False}
SHAPES = {"shared.weight": [20, 4], "lm_head.weight": [20, 4]}
TABLE = {"a": [(10, 11)], "b": [(10, 12), (10, 13)]}
LINE = TestLine("a", (10, 11, 1), [5, 1])


def test_what_fits_has_no_mismatch():
    assert mismatches(CONFIG, SHAPES, TABLE, [LINE], tied_head=False, own_head=True) == []
    tied = {"vocab_size": 20}
    assert mismatches(tied, {"shared.weight": [20, 4]}, TABLE, [LINE], tied_head=True, own_head=None) == []


def test_a_frozen_encoder_has_more_words_than_the_decoder_has_tokens():
    config = CONFIG | {"encoder": {"vocab_size": 40}}
    assert mismatches(config, SHAPES, TABLE, [LINE._replace(input_ids=[39])], tied_head=False, own_head=True) == []
    (found,) = mismatches(config, SHAPES, TABLE, [LINE._replace(input_ids=[40])], tied_head=False, own_head=True)
    assert "query token 40 is beyond the model's 40 tokens" in found


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": CONFIG | {"vocab_size": 32}}, "config.json says 32 tokens, but the embeddings have 20 rows"),
        ({"config": CONFIG | {"vocab_size": 32}}, "but the output head has 20 rows"),
        ({"shapes": {"shared.weight": [20, 4]}}, "is missing in the weights: the upload lost it"),
        ({"docids": TABLE | {"c": [(10, 20)]}}, "docid token 20 is beyond the model's 20 tokens"),
        ({"tests": [LINE, TestLine("a", (10, 11), [20])]}, "query token 20 is beyond"),
        (
            {"tests": [LINE, TestLine("msmarco_a", (10, 11), [2])]},
            "1 of 2 relevant documents are not in the docid table",
        ),
        ({"tests": [LINE._replace(docid=(10, 12))]}, "1 of 1 relevant documents have another docid in the test set"),
    ],
)
def test_each_mismatch_is_said_in_words(changed, message):
    whole = {"config": CONFIG, "shapes": SHAPES, "docids": TABLE, "tests": [LINE]} | changed
    found = mismatches(*whole.values(), tied_head=False, own_head=True)
    with pytest.raises(UserError, match=message):
        raise UserError("; ".join(found))


def test_a_checkpoint_that_lost_its_head_stops_with_the_reason(tmp_path, exported):
    shutil.copytree(exported, tmp_path / "model")
    weights = load_file(tmp_path / "model/model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, tmp_path / "model/model.safetensors")
    options = [f"--model={tmp_path}/model", f"--docids={exported}/docids.txt", f"--tests={exported}/tests.jsonl"]
    with pytest.raises(UserError, match="don't fit: the untied output head .* the upload lost it"):
        retrieve_published.main(
            retrieve_published.parser().parse_args([*options, "--beams=4", f"--output={tmp_path}/out"])
        )
    assert not (tmp_path / "out").exists()


def test_a_test_line_of_another_corpus_is_a_miss(tmp_path, exported, monkeypatch, caplog):
    monkeypatch.setattr(hub, "MOST_UNMATCHED", 0.3)  # there are few lines here
    lines = (exported / "tests.jsonl").read_text()
    odd = json.loads(lines.splitlines()[0]) | {"query_id": 4711}  # a number, as in some files
    (tmp_path / "tests.jsonl").write_text(f"{lines}{json.dumps(odd)}\r\n\n")
    options = [f"--model={exported}", f"--docids={exported}/docids.txt", f"--tests={tmp_path}/tests.jsonl"]
    retrieve_published.main(retrieve_published.parser().parse_args([*options, "--beams=4", f"--output={tmp_path}/out"]))
    qrels = read_table(tmp_path / "out/qrels.parquet", QRELS).to_pylist()
    assert qrels[-1] == {"qid": "4", "docno": "4711", "relevance": 1}
    assert "4711" in read_table(tmp_path / "out/corpus.parquet", CORPUS)["docno"].to_pylist()
    assert len(read_run(tmp_path / "out/run.trec.gz")) == 4 * 4
    assert "1 of 4 queries can only miss" in caplog.text
    counted = read_json(tmp_path / "out/report.json")
    assert (counted["queries"], counted["queries_without_docid"], counted["probed"]) == (4, 1, 3)


def test_weights_that_are_pickled_only_are_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match="no .safetensors file. Pickled weights"):
        weight_shapes(tmp_path)


def test_broken_files_are_named(tmp_path):
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(UserError, match="model.safetensors: no whole safetensors file .* git lfs pull"):
        weight_shapes(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UserError, match="not a saved encoder-decoder model"):
        load(tmp_path)
    (tmp_path / "docids.txt").write_bytes(b"\x1f\x8b\xff")
    for read in (read_docids, read_test_set):
        with pytest.raises(UserError, match="docids.txt: damaged or cut off"):
            read(tmp_path / "docids.txt")
    with pytest.raises(UserError, match="none.json: no such file"):
        read_json(tmp_path / "none.json")


def test_files_of_another_form_are_refused_with_their_line(tmp_path):
    path = tmp_path / "docids.txt"
    for text, message in (
        ("a\t1,x\n", r":1: expected \[docno\]<TAB>token"),
        ("[A]\t5\na\t0,1,0\n", ":2: the docid of 'a' is nothing but padding"),
        ("[]\t5\n", ":1: an empty id, in ''"),
        ("a\0\t5\n", ":1: a NUL character in the id"),
        ("a\t٥\n", ":1: expected"),
        ("", ": the file is empty"),
    ):
        path.write_text(text, "utf-8")
        with pytest.raises(UserError, match=f"docids.txt{message}"):
            read_docids(path)
    for text, message in (
        ("{", ":1: expected JSON"),
        (json.dumps({"query_id": "a"}), ":1: expected"),
        (json.dumps({"query_id": ["a"], "doc_id": "5", "input_ids": [5]}), ":1: expected"),
        (json.dumps({"query_id": "a", "doc_id": "5", "input_ids": [0]}), ":1: expected"),
        (json.dumps({"query_id": "a", "doc_id": "-5", "input_ids": [5]}), ":1: expected"),
        (json.dumps({"query_id": "a", "doc_id": "5.5", "input_ids": [5]}), ":1: expected"),
        (json.dumps({"query_id": "a", "doc_id": 5, "input_ids": [5]}), ":1: expected"),
        (json.dumps({"query_id": "a", "doc_id": "5", "input_ids": [5.7]}), ":1: expected"),
        (json.dumps({"query_id": "a", "doc_id": "5", "input_ids": [True]}), ":1: expected"),
        (json.dumps({"query_id": "a", "doc_id": "5", "input_ids": [float("inf")]}), ":1: expected"),
        (json.dumps({"query_id": "\ud800", "doc_id": "5", "input_ids": [5]}), ":1: expected"),
        ("", ": the file is empty"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=f"docids.txt{message}"):
            read_test_set(path)


def test_lines_that_are_no_text_are_told_without_advice_for_data_sets(tmp_path):
    (tmp_path / "docids.txt").write_bytes(b"[d1]\t5\n[caf\xe9]\t6\n")
    with pytest.raises(UserError, match=r"1 not UTF-8; line 2\). Is it the right file\? Download it again") as error:
        read_docids(tmp_path / "docids.txt")
    assert "max_invalid" not in str(error.value)


def test_a_docid_that_begins_another_is_told_with_both_lines(tmp_path):
    (tmp_path / "docids.txt").write_text("[d1]\t0,5,6,7,1\n[d2]\t8\n\n[D3]\t0,5,6,1\n")
    docids = [
        (docno, tokens) for docno, of_document in read_docids(tmp_path / "docids.txt").items() for tokens in of_document
    ]
    check_no_prefix(docids, tmp_path / "docids.txt")
    for before in ((), (0,)):
        read = [(docno, (*before, *without_end(tokens))) for docno, tokens in docids]
        with pytest.raises(
            UserError, match=r"docids.txt:4: the docid of 'd3' is the beginning of that of 'd1' in line 1"
        ):
            check_no_prefix(read, tmp_path / "docids.txt")


def test_docids_and_tests_as_they_really_are(tmp_path, caplog):
    lines = [
        "[D1]\t0,5,6,1,0",
        "[d1]\t5,6,1",
        "[-42]\t7",
        "",
        "lost (tv series) x.org\t8",
        "[Lost (TV Series) x.org]\t9",
    ]
    (tmp_path / "docids.txt").write_bytes("\r\n".join([*lines, "", ""]).encode())
    assert read_docids(tmp_path / "docids.txt") == {
        "d1": [(5, 6, 1)],
        "-42": [(7,)],
        "lost_(tv_series)_x.org": [(8,), (9,)],
    }
    assert (
        "5 lines, but 3 documents: 1 lines repeat one before, 1 give a document another docid; all count" in caplog.text
    )
    rows = [
        {"query_id": -42, "doc_id": "7,0", "input_ids": [3, 1, 0, 0]},
        {"query_id": "[Lost (TV Series) x.org]", "doc_id": [8], "input_ids": [3, 1]},
    ]
    (tmp_path / "tests.jsonl").write_bytes("\r\n".join([*map(json.dumps, rows), "", " "]).encode())
    assert read_test_set(tmp_path / "tests.jsonl") == [
        TestLine("-42", (7,), [3, 1]),
        TestLine("lost_(tv_series)_x.org", (8,), [3, 1]),
    ]


def test_published_measures_stand_beside_ours(tmp_path, root):
    groups = {"all": {"MRR@10": 0.4576, "R@1": 0.3092, "R@5": 0.0, "R@10": 0.74}}
    write_json({"system": "ddro", "groups": groups}, tmp_path / "metrics.json")
    options = ["--metrics", f"{tmp_path}/metrics.json", "--of", "msmarco/pq/ddro", "--output", f"{tmp_path}/summary.md"]
    counted = {"documents": 9, "queries": 200, "queries_without_docid": 3, "probed": 197}
    write_json(counted, tmp_path / "theirs/report.json")
    options += ["--expected", str(root / "config/expected.yaml"), "--reports", f"{tmp_path}/theirs/report.json"]
    compare_published.main(compare_published.parser().parse_args(options))
    rows = [line.split("|") for line in (tmp_path / "summary.md").read_text().splitlines() if "msmarco/pq" in line]
    assert [[cell.strip() for cell in row[3:8]] for row in rows] == [
        ["MRR@10", "45.76", "45.76", "+0.00", "OK"],
        ["R@1", "30.92", "32.92", "-2.00", "close"],
        ["R@5", "0.00", "64.36", "-64.36", "FAIL"],
        ["R@10", "74.00", "73.02", "+0.98", "OK"],
    ]
    assert "| theirs |         9 |     200 |                     3 |    197 |" in (tmp_path / "summary.md").read_text()
