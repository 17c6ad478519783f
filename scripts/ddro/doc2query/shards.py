"""Tables of pseudo queries: blocks and shards of the corpus, what they were written with, and their union."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ddro.core.command import UserError
from ddro.core.files import check_table, open_in_parts, write_whole
from ddro.core.lines import SourceLines, identifier_of, record_of, unquoted
from ddro.core.tables import CONTENT_START, DOCUMENTS, PSEUDO_QUERIES

BLOCK = 1024
"""Documents that are sorted by length, seeded and saved together. A shard is a run of blocks, so that its number and a
stop change nothing in what is written for a document."""

METADATA = b"ddro"
"""Key of the Parquet metadata that tells what a table was written with."""


def shard_blocks(n_documents: int, shard: int, shards: int) -> range:
    """The numbers of the blocks of shard ``shard`` (from 1) of ``shards``; there may be none."""
    blocks = -(-n_documents // BLOCK)
    return range(blocks * (shard - 1) // shards, blocks * shard // shards)


def block_seed(seed: int, block: int) -> int:
    """A seed below 2**32 for a block: a function of the two numbers, far apart for any two blocks but by chance."""
    return int(np.random.SeedSequence([seed, block]).generate_state(1)[0])


def corpus_blocks(path: Path, blocks: range) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Yield (number, documents) of these blocks of a corpus; memory holds few blocks, whatever the corpus."""
    documents = islice(corpus_documents(path), blocks.start * BLOCK, blocks.stop * BLOCK)
    for number in blocks:
        yield number, list(islice(documents, BLOCK))


def corpus_documents(path: Path) -> Iterator[dict[str, Any]]:
    """Docno, title and body of one document after the other, and `CONTENT_START` where the corpus has it."""
    corpus = corpus_file(path)
    columns = {"docno", "title", "body", CONTENT_START.name}.intersection(corpus.schema_arrow.names)
    for batch in corpus.iter_batches(BLOCK, columns=sorted(columns)):
        yield from batch.to_pylist()


def corpus_file(path: Path) -> pq.ParquetFile:
    """A corpus, or all documents, read piece by piece; a `UserError` tells that it isn't one, or has no document."""
    try:
        corpus = open_in_parts(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path}: not a Parquet file ({error}). Delete it and rerun.") from error
    check_table(corpus.schema_arrow.empty_table(), path, DOCUMENTS)
    if not corpus.metadata.num_rows:
        raise UserError(f"{path}: the corpus is empty.")
    return corpus


def has_text(document: Mapping[str, Any]) -> bool:
    """Whether there is anything to write a query about."""
    return bool(document["title"].strip() or document["body"].strip())


def documents_hash(documents: Iterable[Mapping[str, Any]]) -> str:
    """16 hexadecimal digits of docno, title and body."""
    rows = [[document[name] for name in ("docno", "title", "body")] for document in documents]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def model_hash(folder: Path) -> str:
    """16 hexadecimal digits of the weights, the configuration and the tokenizer of a saved model."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json", *folder.glob("*token*.json")]):
        digest.update(path.name.encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def rows_of(docnos: Sequence[str], queries: Sequence[Sequence[str]]) -> pa.Table:
    """A table of `PSEUDO_QUERIES`; the queries of a document have the ranks 1, 2, ..."""
    counts = np.array([len(texts) for texts in queries], np.int64)
    return pa.table(
        {
            "docno": pa.array(docnos, pa.string()).take(pa.array(np.repeat(np.arange(len(counts)), counts))),
            "rank": np.concatenate([np.arange(1, count + 1, dtype=np.int32) for count in [*counts, 0]]),
            "text": pa.array([text for texts in queries for text in texts], pa.string()),
        },
        schema=PSEUDO_QUERIES,
    )


def write_with_metadata(tables: Iterable[pa.Table], metadata: Mapping[str, Any], path: Path) -> None:
    """Write tables one after the other as one, with what they were written with; ``metadata`` may change meanwhile."""
    with (
        write_whole(path) as temporary,
        pq.ParquetWriter(temporary, PSEUDO_QUERIES, compression="zstd") as writer,
    ):
        for table in tables:
            writer.write_table(table)
        writer.add_key_value_metadata({METADATA: json.dumps(metadata, sort_keys=True)})


def read_metadata(path: Path) -> dict[str, Any]:
    """What `write_with_metadata` said; a `UserError` tells that the file is not of this program."""
    try:
        stored = pq.read_metadata(path).metadata or {}
        return json.loads(stored[METADATA])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
        raise UserError(f"{path}: not pseudo queries of this program ({error}). Delete it and rerun.") from error


def check_same(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str) -> None:
    """Raise a `UserError` that names the settings of ``path`` that aren't the wanted ones."""
    different = [
        f"{name} {found.get(name)!r} instead of {wanted.get(name)!r}"
        for name in sorted({*found, *wanted})
        if found.get(name) != wanted.get(name)
    ]
    if different:
        raise UserError(f"{path}: written with another configuration: {', '.join(different)}. {remedy}")


def union_of_shards(
    shards: Sequence[Path], corpus: Path, per_document: int, counts: Counter[str]
) -> Iterator[pa.Table]:
    """Yield the pseudo queries of all shards in the order of the corpus, empty ones left out.

    ``counts`` gets the numbers of documents, of documents without text (which have no queries), and of queries.

    Raises:
        UserError: a document with text hasn't ``per_document`` queries, there is another document, or no query.
    """
    found = (
        (path, docno, [row["text"] for row in rows])
        for path in shards
        for docno, rows in groupby(query_rows(path), key=lambda row: row["docno"])
    )
    remedy = "Delete the shards and rerun."
    documents = corpus_documents(corpus)
    while block := list(islice(documents, BLOCK)):
        docnos, queries = [], []
        for document in block:
            counts["documents"] += 1
            if not has_text(document):
                counts["documents_without_text"] += 1
                continue
            path, docno, texts = next(found, (shards[-1], None, []))
            if docno != document["docno"]:
                raise UserError(
                    f"{path}: document {document['docno']!r} of {corpus} has no pseudo queries"
                    + (f" (found those of {docno!r} in its place). {remedy}" if docno else f". {remedy}")
                )
            if len(texts) != per_document:
                raise UserError(
                    f"{path}: document {docno!r} has {len(texts)} pseudo queries, not {per_document}. {remedy}"
                )
            docnos.append(docno)
            queries.append([text for text in texts if text])
            counts["queries"] += len(queries[-1])
        yield rows_of(docnos, queries)
    if left := next(found, None):
        raise UserError(f"{left[0]}: document {left[1]!r} isn't in {corpus}. {remedy}")
    if not counts["queries"]:
        raise UserError(f"{corpus}: no document has any text, so there are no pseudo queries.")


def query_rows(path: Path) -> Iterator[dict[str, Any]]:
    """One row after the other of a table of pseudo queries."""
    for batch in open_in_parts(path).iter_batches(BLOCK * 10):
        yield from batch.to_pylist()


def with_queries(pseudo_queries: Path, corpus: Path) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Yield each document of the corpus (docno, title, body) with its pseudo queries.

    Both tables are in the order of the corpus; memory holds a few documents.
    """
    groups = groupby(query_rows(pseudo_queries), key=lambda row: row["docno"])
    docno, rows = next(groups, (None, iter(())))
    for document in corpus_documents(corpus):
        texts: list[str] = []
        if docno == document["docno"]:
            texts = [row["text"] for row in rows]
            docno, rows = next(groups, (None, iter(())))
        yield document, texts
    if docno is not None:
        raise UserError(f"{pseudo_queries}: the queries of {docno!r} are not in the order of {corpus}. Make it anew.")


def sampled_rows(total: int, size: int) -> np.ndarray:
    """bool [total]: ``size`` rows, or all if there are fewer, spread evenly."""
    chosen = np.zeros(total, bool)
    chosen[np.linspace(0, max(total - 1, 0), min(size, total)).astype(int)] = True
    return chosen


def _positions(docnos: Sequence[str]) -> dict[str, int]:
    """The row of each docno, and of its lower case, unless that is of several."""
    times = Counter(docno.lower() for docno in docnos)
    lower = {docno.lower(): row for row, docno in enumerate(docnos) if times[docno.lower()] == 1}
    return lower | {docno: row for row, docno in enumerate(docnos)}


def _of_json(line: str) -> tuple[str, str]:
    """Docno and text of a line of JSON; a `ValueError` says that it isn't of the form."""
    record = record_of(line)
    docno, text = identifier_of(record.get("doc_id")), record.get("query")
    if docno is None or not isinstance(text, str):
        raise ValueError("no doc_id or no query")
    text.encode()  # half of a surrogate pair is no character
    return docno, text


def _of_line(line: str) -> tuple[str, str]:
    """Docno and text of a line; a `ValueError` says that it isn't of the form."""
    if line.startswith("{"):
        return _of_json(line)
    docno, tab, text = line.partition("\t")
    if not tab:
        raise ValueError("no tab")
    return docno, text


def published_queries(
    lines: SourceLines, docnos: Sequence[str], per_document: int, counts: Counter[str]
) -> list[list[str]]:
    """The first ``per_document`` queries of each document from lines ``[docno]<TAB>text``, brackets or none.

    Docnos there may be in lower case; a text may be quoted as in csv, which doubled quotes in it tell. A line may also
    be JSON, ``{"doc_id": ..., "query": ...}``, whose docno may be a number.

    A line of another form is rejected. ``counts`` gets the numbers of what else was left out: lines without text, of
    documents that aren't in the corpus, beyond ``per_document``.
    """
    position = _positions(docnos)
    queries: list[list[str]] = [[] for _ in docnos]
    for line in lines:
        try:
            docno, text = _of_line(line)
        except ValueError:
            lines.reject('neither [docno]<TAB>text nor {"doc_id": ..., "query": ...}')
            continue
        row = position.get(docno.strip().removeprefix("[").removesuffix("]"))
        text = " ".join((unquoted(text) if '""' in text else text).split())
        if not text:
            counts["lines_without_text"] += 1
        elif row is None:
            counts["lines_of_other_documents"] += 1
        elif len(queries[row]) == per_document:
            counts["lines_beyond_per_document"] += 1
        else:
            queries[row].append(text)
    return queries
