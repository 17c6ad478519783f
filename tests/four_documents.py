"""Four documents, two of which share a title, and the docids that assign_docids gives them."""

import json

import pyarrow.parquet as pq

import assign_docids
from ddro.core.tables import DOCIDS
from in_process import call

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
