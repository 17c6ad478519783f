"""Training the model that writes queries: on training queries alone, with an early end, or not at all."""

import json

import pyarrow as pa
import pytest
import torch

import finetune_doc2query
from ddro.core.files import write_table
from ddro.core.tables import CORPUS, QRELS, QUERIES
from ddro.models.t5 import initialise_t5, load, save
from ddro.models.tokenizer import train_tokenizer

DOCUMENTS = [("d1", "creates a stack"), ("d2", "deletes a queue"), ("d3", "lists tags")]
QUERIES_OF = [("q1", "make a stack", "train", "d1"), ("q2", "remove the queue", "train", "d2")]
QUERIES_OF += [("q3", "which tags", "validation", "d3"), ("q4", "tags of a thing", "test", "d3")]


@pytest.fixture
def folder(tmp_path):
    corpus = [
        {"docno": docno, "url": "", "title": title, "body": title, "judged_queries": 1} for docno, title in DOCUMENTS
    ]
    queries = [{"qid": qid, "text": text, "split": split} for qid, text, split, _ in QUERIES_OF]
    qrels = [{"qid": qid, "docno": docno, "relevance": 1} for qid, _, _, docno in QUERIES_OF]
    for name, rows, schema in (("corpus", corpus, CORPUS), ("queries", queries, QUERIES), ("qrels", qrels, QRELS)):
        write_table(pa.Table.from_pylist(rows, schema), tmp_path / f"{name}.parquet", schema)
    tokenizer = train_tokenizer([title for _, title in DOCUMENTS], 50)
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "layers": 1, "decoder_layers": 1, "heads": 2}
    save(initialise_t5(len(tokenizer), **shape, seed=0), tokenizer, tmp_path / "base")
    return tmp_path


def finetune(folder, **settings):
    options = {
        "corpus": folder / "corpus.parquet", "queries": folder / "queries.parquet", "qrels": folder / "qrels.parquet",
        "model": folder / "base", "epochs": 10, "learning_rate": 0.01, "batch_size": 1, "warmup_share": 0,
        "dropout": 0, "evaluations": 10, "patience": 10, "max_document_tokens": 20, "max_query_tokens": 10, "seed": 0,
        "output": folder / "model",
    } | settings  # fmt: skip
    words = [str(word) for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    finetune_doc2query.main(finetune_doc2query.parser().parse_args(words))
    log = folder / "model/training_log.jsonl"
    records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [record["eval_loss"] for record in records if "eval_loss" in record]


def same_weights(left, right):
    wanted = load(right)[0].state_dict()
    return all(torch.equal(weight, wanted[name]) for name, weight in load(left)[0].state_dict().items())


def test_it_stops_when_the_validation_loss_no_longer_falls(folder):
    losses = finetune(folder, learning_rate=0.5, patience=2)
    assert len(losses) < 10
    best = losses.index(min(losses))
    assert len(losses) == best + 1 + 2  # the two that were no better
    assert not same_weights(folder / "model", folder / "base")


def test_only_training_queries_train(folder, caplog):
    caplog.set_level("INFO", "ddro")
    finetune(folder, evaluations=1)
    messages = " ".join(caplog.messages)
    assert "train: 2 pairs of document and query" in messages
    assert "validation: 1 pairs of document and query" in messages


def test_without_epochs_the_model_stays_as_it_is(folder):
    assert finetune(folder, epochs=0) == []
    assert same_weights(folder / "model", folder / "base")
