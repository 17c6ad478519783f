"""The layout of BEIR: corpus.jsonl, queries.jsonl, qrels/{train,dev,test}.tsv."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ddro.core.lines import SourceLines, cant_be_kept


def read_records(lines: SourceLines, *needed: str) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSONL file that have ``_id`` and the ``needed`` texts, each ``_id`` once."""
    seen: set[str] = set()
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            lines.reject("not JSON")
            continue
        if not isinstance(record, dict) or not str(record.get("_id", "")).strip():
            lines.reject("no _id")
        elif lacking := [key for key in needed if not isinstance(record.get(key), str)]:
            lines.reject(f"no {lacking[0]}")
        elif reason := cant_be_kept(
            str(record["_id"]), *([json.dumps(record, ensure_ascii=False)] if "\\u" in line else [])
        ):
            lines.reject(reason)
        elif str(record["_id"]) in seen:
            lines.reject("an _id that was there before")
        else:
            seen.add(str(record["_id"]))
            yield record | {"_id": str(record["_id"])}


def read_qrels(lines: SourceLines) -> Iterator[tuple[str, str, int]]:
    """Yield (qid, docno, relevance) of a qrels file: query-id, corpus-id, score between tabs, maybe a header."""
    seen: set[tuple[str, str]] = set()
    for line in lines:
        fields = line.split("\t")
        if lines.number == 1 and fields[-1:] == ["score"]:
            continue
        if len(fields) != 3 or not fields[2].lstrip("-").isdecimal():
            lines.reject("not the 3 columns query-id, corpus-id, score")
        elif (fields[0], fields[1]) in seen:
            lines.reject("a judgement that was there before")
        else:
            seen.add((fields[0], fields[1]))
            yield fields[0], fields[1], int(fields[2])
