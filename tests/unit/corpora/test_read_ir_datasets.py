import os
import subprocess
import sys
from typing import NamedTuple

import ir_datasets
import pytest
import requests
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import JsonlDocs, TrecQrels, TsvQueries
from ir_datasets.util import LocalDownload

import read_ir_datasets
from ddro.core.command import UserError
from ddro.core.files import read_json, read_table
from ddro.core.tables import DOCUMENTS, QRELS, RAW_QUERIES


class Page(NamedTuple):
    """A document with a title, as many data sets of the catalogue have."""

    doc_id: str
    text: str
    title: str


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """Two data sets in the formats of the library: one with train and test, one without parts."""
    folder = tmp_path_factory.mktemp("catalogue")
    (folder / "docs.jsonl").write_text(
        '{"doc_id": "D1", "text": "Body one", "title": "One"}\n{"doc_id": "D2", "text": "Body two", "title": ""}\n'
    )
    docs = JsonlDocs(
        LocalDownload(folder / "docs.jsonl"), doc_cls=Page, namespace="t", docstore_path=folder / "store", count_hint=2
    )

    def part(name, qid, docno):
        (folder / f"{name}.tsv").write_text(f"{qid}\tquestion {qid}\n")
        (folder / f"{name}.qrels").write_text(f"{qid} 0 {docno} 1\n")
        return [
            TsvQueries(LocalDownload(folder / f"{name}.tsv"), namespace="ddro-test", lang="en"),
            TrecQrels(LocalDownload(folder / f"{name}.qrels"), {1: "relevant"}),
        ]

    registry = ir_datasets.registry
    registry.register("ddro-test", Dataset(docs))
    registry.register("ddro-test/train", Dataset(docs, *part("train", "q1", "D1")))
    registry.register("ddro-test/test", Dataset(docs, *part("test", "q2", "D2")))
    registry.register("ddro-whole", Dataset(docs, *part("whole", "q3", "D1")))


def read(folder, name):
    options = ["--ir-datasets", name, "--output", str(folder / "raw"), "--report", str(folder / "report.json")]
    read_ir_datasets.main(read_ir_datasets.parser().parse_args(options))
    return [
        [tuple(row.values()) for row in read_table(folder / "raw" / f"{name}.parquet", schema).to_pylist()]
        for name, schema in (("documents", DOCUMENTS), ("queries", RAW_QUERIES), ("qrels", QRELS))
    ]


def test_a_data_set_with_parts(catalogue, tmp_path):
    documents, queries, qrels = read(tmp_path, "ddro-test")
    assert documents == [("D1", "", "One", "Body one"), ("D2", "", "", "Body two")]
    assert sorted(queries) == [("q1", "question q1", "train"), ("q2", "question q2", "test")]
    assert sorted(qrels) == [("q1", "D1", 1), ("q2", "D2", 1)]
    assert read_json(tmp_path / "report.json")["variant"] == "ir_datasets ddro-test, judged: train, test"


def test_a_data_set_without_parts_and_a_part_by_itself(catalogue, tmp_path):
    assert read(tmp_path, "ddro-whole")[1] == [("q3", "question q3", "query")]
    assert read(tmp_path, "ddro-test/test")[1] == [("q2", "question q2", "test")]


def test_an_unknown_id_is_named(tmp_path):
    with pytest.raises(UserError, match="beir/nothing: ir_datasets knows no such id"):
        read(tmp_path, "beir/nothing")


class Unreachable(Dataset):
    """A data set whose files can't be had, which shows when its ``failing`` are read."""

    def __init__(self, whole: Dataset, failing: str, error: Exception) -> None:
        super().__init__(whole.docs_handler(), whole.queries_handler(), whole.qrels_handler())
        self.failing, self.error = failing, error

    def fail(self):
        raise self.error

    def __getattribute__(self, name: str):
        if name == object.__getattribute__(self, "__dict__").get("failing"):
            return self.fail
        return super().__getattribute__(name)


@pytest.mark.parametrize("failing", ["queries_iter", "qrels_iter", "docs_iter", "docs_count", "has_docs"])
@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (requests.exceptions.ProxyError("no\nproxy"), r"ProxyError: no proxy\). Its data sets need the network"),
        (RuntimeError("All download sources failed"), "All download sources failed.*files to be asked for"),
        (PermissionError(13, "Permission denied", "/x"), "Permission denied: '/x'.*Set IR_DATASETS_HOME"),
    ],
)
def test_what_the_library_cannot_get_is_told_in_a_sentence(catalogue, tmp_path, monkeypatch, failing, error, advice):
    unreachable = Unreachable(ir_datasets.load("ddro-whole"), failing, error)
    monkeypatch.setattr(ir_datasets, "load", {"ddro-none": unreachable}.__getitem__)
    with pytest.raises(UserError, match=f"ddro-none: ir_datasets fails .*{advice}") as raised:
        read(tmp_path, "ddro-none")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "raw/documents.parquet").exists()


def test_a_folder_of_the_library_that_cannot_be_made(root):
    command = [sys.executable, root / "scripts/read_ir_datasets.py", "--ir-datasets", "beir/scifact"]
    done = subprocess.run(
        [*command, "--output", "/dev/null/x", "--report", "/dev/null/y"],
        env=os.environ | {"IR_DATASETS_HOME": "/dev/null/z"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "ERROR beir/scifact/train: ir_datasets fails" in line and "Set IR_DATASETS_HOME" in line
