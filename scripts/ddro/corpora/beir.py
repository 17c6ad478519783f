"""The layout of BEIR: corpus.jsonl, queries.jsonl, qrels/{train,dev,test}.tsv."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from ddro.core.lines import SourceLines, cant_be_kept, grade_of, identifier_of, record_of, unquoted

HEADS = ("score", "relevance", "rel", "grade", "label")
"""What the third column of a file of judgements may be called."""


def read_documents(lines: SourceLines) -> Iterator[dict[str, str]]:
    """Yield docno, url, title and body of each document; ``title``, ``url`` and ``metadata.url`` may be missing."""
    for docno, record in _read_records(lines):
        metadata = record.get("metadata")
        url = record.get("url") or (metadata.get("url") if isinstance(metadata, dict) else None)
        texts = {"url": _text(url), "title": _text(record.get("title")), "body": record["text"]}
        if odd := [name for name, text in texts.items() if text is None]:
            lines.reject(f"a {odd[0]} that is no text")
        elif reason := cant_be_kept(docno, *texts.values()):
            lines.reject(reason)
        else:
            yield {"docno": docno, **texts}


def read_queries(lines: SourceLines) -> Iterator[tuple[str, str]]:
    """Yield (qid, text) of each query."""
    for qid, record in _read_records(lines):
        text = record["text"].strip()
        if not text:
            lines.reject("a query without text")
        elif reason := cant_be_kept(qid, text):
            lines.reject(reason)
        else:
            yield qid, text


def _read_records(lines: SourceLines) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the ``_id`` and the record of each line that has it, and a ``text``; each ``_id`` once."""
    seen: set[str] = set()
    for line in lines:
        try:
            record = record_of(line)
        except ValueError as error:
            lines.reject(str(error))
            continue
        name = identifier_of(record.get("_id"))
        if not name or not name.strip():
            lines.reject("no _id that is a text or a whole number")
        elif not isinstance(record.get("text"), str):
            lines.reject("no text")
        elif name in seen:
            lines.reject("an _id that was there before")
        else:
            seen.add(name)
            yield name, record


def _text(value: Any) -> str | None:
    """A field that may be missing, or a number; None for what is no text."""
    return "" if value is None else identifier_of(value)


def read_qrels(
    lines: SourceLines, qids: Container[str] = (), docnos: Container[str] = ()
) -> Iterator[tuple[str, str, int]]:
    """Yield (qid, docno, relevance) of a qrels file: query-id, corpus-id, score between tabs, maybe a header.

    Fields may be quoted as in csv, but one that is known as it stands, among ``qids`` or ``docnos``, is taken so.
    """
    seen: set[tuple[str, str]] = set()
    first = True
    for line in lines:
        fields = [field.strip() for field in line.split("\t")]
        score = unquoted(fields[-1])
        if first and score.lower() in HEADS:
            lines.header = 1
        elif len(fields) != 3:
            lines.reject("not the 3 columns query-id, corpus-id, score")
        elif (grade := grade_of(score)) is None:
            lines.reject("a score that is no whole number of at most 6 digits")
        else:
            qid, docno = unquoted(fields[0], qids), unquoted(fields[1], docnos)
            if reason := cant_be_kept(qid) or cant_be_kept(docno):
                lines.reject(reason)
            elif (qid, docno) in seen:
                lines.reject("a judgement that was there before")
            else:
                seen.add((qid, docno))
                yield qid, docno, grade
        first = False
