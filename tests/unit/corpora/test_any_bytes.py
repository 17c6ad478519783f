"""Whatever bytes a reader meets: data or a `UserError`, and no line is lost uncounted.

Some seconds; longer with, for example, FUZZ_EXAMPLES=100000 in the environment.
"""

import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import JsonlDocs, TrecQrels, TsvQueries
from ir_datasets.util import LocalDownload

import read_ir_datasets
import read_msmarco
import read_nq
from ddro.core.command import UserError
from ddro.core.files import read_json
from ddro.core.lines import SourceLines
from ddro.corpora.beir import read_documents, read_qrels, read_queries
from ddro.corpora.collection import Collection
from ddro.corpora.nq_ddro import read_questions
from ddro.doc2query.shards import published_queries
from ddro.docids.text_format import read_docid_table
from ddro.models.hub import read_docids, read_test_set
from ddro.retrieval.runs import read_run

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 150))

LINES = st.sampled_from(
    [
        *(b"", b" ", b"\xef\xbb\xbf", b"\xff\xfe", b"\r", b"\t\t", b"\x1f\x8b", b"\0", b"query-id\tcorpus-id\tscore"),
        *(b"q1\td1\t1", b'"q""1"\t"d1"\t1.0', b"q1\td1\t+1 ", b"q1\td1\t99999999999", b"q 1\td1\t-1", b"\tx\t1"),
        *(b"q1\tsome text", b"q1\t", b"q1 0 d1 1", b"q2 0 d1 1e9", b"D1\thttp://a.b\ttitle\tbody", b"[d1]\t1,2,3"),
        *(b"[D1]\ta query", b"D1\t7", b"d2\t" + b"9" * 30, b"q1 Q0 d1 1 2.5 t", b"q1 Q0 d2 -9e9 nan t"),
        *(b"q1 Q0 d3 9999999999 1e999 t", b'{"_id": "a", "text": "b"}', b'{"_id": 7, "text": "c", "title": ["x"]}'),
        *(b'{"_id": null, "text": "b"}', b'{"_id": "e", "text": "\\ud800"}', b'{"_id": 1.0, "text": ""}', b"[" * 5000),
        *(b'{"_id": ' + b"9" * 5000 + b"}", b'{"_id": "f", "text": "g", "metadata": {"url": {}}}', b"[1]", b"NaN"),
        b'{"example_id": 1, "question_text": "q", "document_url": "u", "document_text": "<H1> T </H1> <P> x </P>"}',
        b'{"example_id": "1", "question_text": "q", "document_url": "u", "document_tokens": [{"token": 1}]}',
        *(b'{"doc_id": -42, "query": "q"}', b'{"doc_id": "D1", "query": "\\ud800"}', b'{"doc_id": 1e9, "query": []}'),
        *(b'{"query_id": -42, "doc_id": "5,1,0", "input_ids": [3, 1]}', b"[-42]\t0,5,1,0", b'{"id": 1, "title": "x"}'),
        *(b"q\t1\t\t\tt\t\t\tu\t\ten", b'"q ""x""\t"\t1\t\t\tt\t\t\tu\t\ten', b'"q" x\t1', b'"q'),
        b'{"example_id": true, "question_text": [], "document_url": {}, "document_tokens": 5}',
    ]
)
CONTENT = st.lists(LINES | st.binary(max_size=40), max_size=8).flatmap(
    lambda lines: st.sampled_from([b"\n", b"\r\n"]).map(lambda end: end.join(lines))
)


def count_of_lines(content: bytes) -> int:
    return content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


def of_collection(read):
    """A reader of MS MARCO's as one that yields what it adds."""

    def rows(lines: SourceLines):
        collection = Collection(1)
        collection.lines = lambda _: lines
        read(collection)
        yield from {**collection.queries, **collection.judgements}

    return rows


def pseudo_queries(lines: SourceLines):
    counts = Counter()
    queries = published_queries(lines, ["D1", "d2"], 2, counts)
    yield from range(sum(map(len, queries)) + counts.total())


READERS = {
    "lines": iter,
    "documents": read_documents,
    "queries": read_queries,
    "judgements": lambda lines: read_qrels(lines, {"q1"}, {"d1"}),
    "msmarco queries": of_collection(lambda collection: read_msmarco.read_queries(collection, None, "train")),
    "msmarco judgements": of_collection(lambda collection: read_msmarco.read_qrels(collection, None)),
    "pseudo queries": pseudo_queries,
}
RARELY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.timeout(0)
@pytest.mark.parametrize("reader", READERS)
@given(content=CONTENT)
@RARELY
def test_each_line_is_data_or_counted(tmp_path: Path, reader: str, content: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(content)
    lines = SourceLines(path, 1)
    try:
        data = list(READERS[reader](lines))
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert lines.number == count_of_lines(content)
        assert len(data) + lines.blank + lines.header + lines.rejected.total() == lines.number


@pytest.mark.timeout(0)
@given(content=CONTENT)
@RARELY
def test_each_page_is_data_or_counted(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(content)
    collection = Collection(1)
    try:
        data = list(read_nq.read_examples(collection, path))
    except UserError as error:
        assert str(path) in str(error)
    else:
        (lines,) = collection.sources
        assert len(data) + lines.blank + lines.rejected.total() == count_of_lines(content)


@pytest.mark.timeout(0)
@given(content=CONTENT)
@RARELY
def test_rows_of_questions_are_data_or_counted_or_the_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(content)
    lines = SourceLines(path, 1)
    try:
        rows = list(read_questions(lines))
    except UserError as error:
        assert str(path) in str(error)
    else:
        bytes_that_are_text = lines.rejected["not UTF-8"]
        assert sum(row is None for row in rows) == lines.rejected.total() - bytes_that_are_text


@pytest.mark.timeout(0)
@pytest.mark.parametrize("read", [read_docid_table, read_run, read_docids, read_test_set])
@pytest.mark.parametrize("name", ["file", "file.gz"])
@given(content=CONTENT)
@RARELY
def test_a_table_or_run_is_read_or_refused_by_name(tmp_path: Path, read, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    try:
        read(path)
    except UserError as error:
        assert str(path) in str(error)


@pytest.mark.timeout(0)
@given(documents=CONTENT, queries=CONTENT, judged=CONTENT)
@RARELY
def test_files_of_ir_datasets_are_data_or_refused(
    tmp_path: Path, documents: bytes, queries: bytes, judged: bytes
) -> None:
    """The library's readers lose no line in silence: they stop, and so does the script, with the data set's name."""
    for name, content in (("docs.jsonl", documents), ("queries.tsv", queries), ("qrels", judged)):
        (tmp_path / name).write_bytes(content)
    docs = JsonlDocs(LocalDownload(tmp_path / "docs.jsonl"), mapping={"doc_id": "_id", "text": "text"}, count_hint=1)
    part = Dataset(
        docs,
        TsvQueries(LocalDownload(tmp_path / "queries.tsv")),
        TrecQrels(LocalDownload(tmp_path / "qrels"), {1: "relevant"}),
    )
    try:
        with mock.patch("ir_datasets.load", {"fuzz": part}.__getitem__):
            read_ir_datasets.main(
                read_ir_datasets.parser().parse_args(
                    ["--ir-datasets=fuzz", f"--output={tmp_path / 'raw'}", f"--report={tmp_path / 'report.json'}"]
                )
            )
    except UserError as error:
        assert "\n" not in str(error)


ROWS = st.none() | st.integers() | st.text(max_size=6) | st.sampled_from(["d1", "q1", " ", "\ud800", "1.0", 10**30])


@pytest.mark.timeout(0)
@given(
    documents=st.lists(st.tuples(ROWS, ROWS, ROWS), max_size=4),
    queries=st.lists(st.tuples(ROWS, ROWS), max_size=4),
    judged=st.lists(st.tuples(ROWS, ROWS, ROWS), max_size=4),
)
@RARELY
def test_rows_of_ir_datasets_are_data_or_counted(tmp_path: Path, documents: list, queries: list, judged: list) -> None:
    """Whatever a data set of the catalogue yields, each row is kept, or counted in the report."""
    part = Rows(
        [Page(*row) for row in documents], [Question(*row) for row in queries], [Judgement(*row) for row in judged]
    )
    try:
        with mock.patch("ir_datasets.load", {"fuzz": part}.__getitem__):
            read_ir_datasets.main(
                read_ir_datasets.parser().parse_args(
                    ["--ir-datasets=fuzz", f"--output={tmp_path / 'raw'}", f"--report={tmp_path / 'report.json'}"]
                )
            )
    except UserError as error:
        assert any(name in str(error) for name in ("fuzz", "those of the catalogue"))
    else:
        report = read_json(tmp_path / "report.json")
        lost = sum(count for what, count in report["left_out"].items() if what.startswith("documents"))
        assert report["found"]["documents"] + lost == len(documents)


class Page(NamedTuple):
    """A document of a data set."""

    doc_id: Any
    title: Any
    text: Any

    def default_text(self) -> Any:
        return self.text


class Question(NamedTuple):
    """A query of a data set."""

    query_id: Any
    text: Any

    def default_text(self) -> Any:
        return self.text


class Judgement(NamedTuple):
    """A judgement of a data set."""

    query_id: Any
    doc_id: Any
    relevance: Any


class Rows:
    """A data set of these rows, as `ir_datasets.load` returns one."""

    def __init__(self, documents: list, queries: list, judged: list) -> None:
        self.docs_iter, self.queries_iter, self.qrels_iter = (
            lambda rows=rows: iter(rows) for rows in (documents, queries, judged)
        )
        self.docs_count = lambda: len(documents)
        self.has_docs = self.has_queries = self.has_qrels = lambda: True
