"""The scripts of the corpus, as a rule starts them: what they write, and one clear line where the input is wrong."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ddro.core.tables import CONTENT_START, CORPUS, DOCUMENTS, QRELS, QUERIES, RAW_QUERIES

SHARES = [
    "--test-share=0.2",
    "--validation-share=0.2",
    "--unseen-share=0",
    "--validation-unseen-share=0",
    "--max-overlap=0.7",
]
WORDS = "red green blue white black pink brown grey".split()


def start(root: Path, script: str, *options: str | Path) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONHASHSEED": "random"}
    command = [sys.executable, str(root / "scripts" / script), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def assert_refused(finished: subprocess.CompletedProcess, *parts: str) -> None:
    """The script ended with exit code 1 and one line of error that has all of ``parts``."""
    assert finished.returncode == 1, finished.stderr
    (line,) = finished.stderr.strip().splitlines()
    assert " ERROR " in line
    for part in parts:
        assert part in line
    assert finished.stdout == ""


class Collection:
    """Three raw tables in a folder: two documents with four queries each, and a third one without any."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.documents = [{"docno": f"d{i}", "url": "", "title": f"Title {i}", "body": "Body."} for i in range(3)]
        self.queries = [{"qid": f"q{i}", "text": f"{WORDS[i]} thing number{i}", "kind": "heading"} for i in range(8)]
        self.qrels = [{"qid": f"q{i}", "docno": f"d{i % 2}", "relevance": 1} for i in range(8)]

    def write(self) -> list[str]:
        """Write the tables unchecked, as another program would; return the options that name them."""
        options = []
        for name, schema in (("documents", DOCUMENTS), ("queries", RAW_QUERIES), ("qrels", QRELS)):
            pq.write_table(pa.Table.from_pylist(getattr(self, name), schema), self.folder / f"{name}.parquet")
            options += [f"--{name}", str(self.folder / f"{name}.parquet")]
        return options


@pytest.fixture
def collection(tmp_path):
    return Collection(tmp_path)


def sample(root, collection, top_k=10, **options):
    more = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    output = collection.folder / "corpus.parquet"
    return start(root, "sample_corpus.py", *collection.write(), f"--top-k={top_k}", *more, "--output", output)


def split(root, collection, *more, corpus_rows=None):
    folder = collection.folder
    options = collection.write()[2:]
    rows = [row | {"judged_queries": 4} for row in collection.documents[:2]] if corpus_rows is None else corpus_rows
    pq.write_table(pa.Table.from_pylist(rows, CORPUS), folder / "corpus.parquet")
    options += ["--corpus", folder / "corpus.parquet", *SHARES, "--report", folder / "report.json"]
    options += ["--output-queries", folder / "out_queries.parquet", "--output-qrels", folder / "out_qrels.parquet"]
    return start(root, "split_queries.py", *options, *more)


def test_the_corpus_is_sampled(root, collection):
    collection.qrels += [{"qid": "q0", "docno": "d1", "relevance": 1}, {"qid": "q1", "docno": "d2", "relevance": 0}]
    finished = sample(root, collection)
    assert finished.returncode == 0, finished.stderr
    assert "kept 2 of 3 documents" in finished.stderr
    rows = pq.read_table(collection.folder / "corpus.parquet").to_pylist()
    assert [(row["docno"], row["judged_queries"]) for row in rows] == [("d1", 5), ("d0", 4)]
    collection.qrels[-1]["relevance"] = 1
    assert "kept 2 of 3 documents" in sample(root, collection, top_k=2).stderr  # of three judged ones
    assert len(pq.read_table(collection.folder / "corpus.parquet")) == 2


def test_where_the_content_begins_stays_known(root, collection):
    options = collection.write()
    for start_of, document in enumerate(collection.documents):
        document["content_start"] = start_of
    schema = DOCUMENTS.append(CONTENT_START)
    pq.write_table(pa.Table.from_pylist(collection.documents, schema), collection.folder / "documents.parquet")
    finished = start(root, "sample_corpus.py", *options, "--top-k=2", "--output", collection.folder / "corpus.parquet")
    assert finished.returncode == 0, finished.stderr
    corpus = pq.read_table(collection.folder / "corpus.parquet")
    assert corpus.schema == CORPUS.append(CONTENT_START) and corpus["content_start"].to_pylist() == [0, 1]


def test_a_single_document_is_refused_before_any_work(root, collection):
    assert_refused(sample(root, collection, top_k=1), "one document, 'd0'", "Raise corpus.top_k")


def test_a_kind_of_queries_that_there_is_not(root, collection):
    done = sample(root, collection, count_kinds="trian")
    assert_refused(done, "corpus.count_kinds: no query is of the kind 'trian'. Write one of ")


def test_documents_without_judged_queries_come_last_where_all_are_kept(root, collection):
    finished = sample(root, collection, keep="all")
    assert finished.returncode == 0, finished.stderr
    rows = pq.read_table(collection.folder / "corpus.parquet").to_pylist()
    assert [(row["docno"], row["judged_queries"]) for row in rows] == [("d0", 4), ("d1", 4), ("d2", 0)]


def test_queries_that_are_documents_are_marked_and_counted(root, collection):
    collection.queries[0] |= {"qid": "d1", "text": "Title 1 Body."}
    collection.qrels[0]["qid"] = "d1"  # relevant to it is d0
    finished = split(root, collection)
    assert finished.returncode == 0, finished.stderr
    assert "1 (kept) queries that are documents of the corpus" in finished.stderr
    assert (
        json.loads((collection.folder / "report.json").read_text())["counts"][
            "(kept) queries that are documents of the corpus, left out of their own rankings and negatives"
        ]
        == 1
    )
    marked = pq.read_schema(collection.folder / "out_queries.parquet").metadata
    assert marked[b"own_documents"] == b'["d1"]'

    collection.qrels[0] |= {"docno": "d1"}  # judged relevant to itself: it is to be found
    assert split(root, collection).returncode == 0
    assert b"own_documents" not in (pq.read_schema(collection.folder / "out_queries.parquet").metadata or {})


def test_a_collection_without_training_queries_is_split_and_told(root, collection):
    for query in collection.queries:
        query["kind"] = "test"
    finished = split(root, collection, "--training=pseudo")
    assert finished.returncode == 0, finished.stderr
    assert "no query trains: pseudo queries carry the training" in finished.stderr
    splits = pq.read_table(collection.folder / "out_queries.parquet")["split"].to_pylist()
    assert set(splits) == {"test", "validation"}


def test_the_queries_are_split(root, collection):
    collection.qrels.append({"qid": "q1", "docno": "d2", "relevance": 1})  # outside the corpus: left out
    collection.queries.append({"qid": "lost", "text": "about a document elsewhere", "kind": "heading"})
    collection.qrels.append({"qid": "lost", "docno": "d2", "relevance": 1})
    finished = split(root, collection)
    assert finished.returncode == 0, finished.stderr
    queries = pq.read_table(collection.folder / "out_queries.parquet")
    qrels = pq.read_table(collection.folder / "out_qrels.parquet")
    assert (queries.schema, qrels.schema) == (QUERIES, QRELS)
    assert sorted(queries["split"].to_pylist()) == ["test"] * 2 + ["train"] * 4 + ["validation"] * 2
    assert sorted(zip(qrels["qid"].to_pylist(), qrels["docno"].to_pylist(), strict=True)) == [
        (f"q{i}", f"d{i % 2}") for i in range(8)
    ]
    report = json.loads((collection.folder / "report.json").read_text(encoding="utf-8"))
    assert report["splits"] == {"test": 2, "train": 4, "validation": 2}
    assert report["counts"]["queries without a relevant document in the corpus"] == 1


def test_grades_are_kept(root, collection):
    grades = [3, 1, 0, -1]
    collection.qrels = [
        {"qid": f"q{i}", "docno": f"d{i % 2 if place == 0 else (i + 1) % 2}", "relevance": grade}
        for i in range(8)
        for place, grade in enumerate((1 + i % 3, grades[i % 4]))
    ]
    collection.qrels += [{"qid": "q0", "docno": "d2", "relevance": 2}]  # outside the corpus
    finished = split(root, collection)
    assert finished.returncode == 0, finished.stderr
    rows = pq.read_table(collection.folder / "out_qrels.parquet").to_pylist()
    assert rows == [row for row in collection.qrels if row["docno"] != "d2"]


def test_a_query_that_is_judged_without_a_relevant_document_is_left_out(root, collection):
    collection.qrels[0]["relevance"], collection.qrels[1]["relevance"] = 0, -1
    assert split(root, collection).returncode == 0
    kept = {row["qid"] for row in pq.read_table(collection.folder / "out_qrels.parquet").to_pylist()}
    assert kept == {f"q{i}" for i in range(2, 8)}


def test_an_empty_corpus_is_refused(root, collection):
    collection.qrels = []
    assert_refused(sample(root, collection), "qrels.parquet", "the corpus would be empty")
    assert not (collection.folder / "corpus.parquet").exists()
    collection.documents, collection.queries = [], []
    assert_refused(sample(root, collection), "qrels.parquet", "the corpus would be empty")


def test_splitting_for_an_empty_corpus_is_refused(root, collection):
    assert_refused(split(root, collection, corpus_rows=[]), "no query is left to train on. Write training: pseudo")


def test_a_judgement_of_an_unknown_document_is_refused(root, collection):
    collection.qrels[3]["docno"] = "nowhere"
    assert_refused(sample(root, collection), "qrels.parquet: row 3: docno 'nowhere' is not in", "documents.parquet")


@pytest.mark.parametrize("script", [sample, split])
def test_a_judgement_of_an_unknown_query_is_refused(root, collection, script):
    collection.qrels[2]["qid"] = "unasked"
    assert_refused(script(root, collection), "qrels.parquet: row 2: qid 'unasked' is not in", "queries.parquet")


@pytest.mark.parametrize("text", [" \t", None])
def test_a_query_without_text_is_refused(root, collection, text):
    collection.queries[5]["text"] = text
    assert_refused(split(root, collection), "queries.parquet: row 5: ", "text")


def test_a_docno_that_stands_twice_is_refused(root, collection):
    collection.documents.append(collection.documents[0])
    assert_refused(sample(root, collection), "documents.parquet: docno 'd0' stands in rows 0 and 3; it must be unique")


def test_too_few_queries_for_a_split_are_refused(root, collection):
    collection.queries, collection.qrels = collection.queries[:2], collection.qrels[:2]
    assert_refused(split(root, collection), "no query is left for the split", "raise its share or corpus.top_k")


def test_the_embedded_data_set_is_read_from_the_folders_of_its_packages(root, tmp_path):
    service = {
        "metadata": {"serviceFullName": "AWS Identity and Access Management"},
        "operations": {"ListUsers": {"documentation": "Lists the users that have the path prefix that you name."}},
        "shapes": {},
    }
    model = tmp_path / "botocore/data/iam/2010-05-08/service-2.json.gz"
    example = tmp_path / "awscli/examples/iam/list-users.rst"
    for path in (model, example):
        path.parent.mkdir(parents=True)
    model.write_bytes(gzip.compress(json.dumps(service).encode()))
    example.write_text("**To list all users of an account**\n", encoding="utf-8")
    options = ["--awscli", tmp_path / "awscli", "--botocore", tmp_path / "botocore"]
    options += ["--output", tmp_path / "raw", "--report", tmp_path / "report.json"]
    finished = start(root, "fetch_awscli.py", *options)
    assert finished.returncode == 0, finished.stderr
    assert "1 documents, 1 queries, 1 qrels" in finished.stderr
    assert pq.read_table(tmp_path / "raw/queries.parquet").to_pylist() == [
        {"qid": "q00000", "text": "to list all users of an account", "kind": "heading"}
    ]

    example.write_text("No heading.", encoding="utf-8")
    assert_refused(start(root, "fetch_awscli.py", *options), "no heading that makes a query")
    model.write_bytes(model.read_bytes()[:-9])
    assert_refused(start(root, "fetch_awscli.py", *options), "service-2.json.gz: truncated or not gzip")
