"""Queries of a split with their relevant documents; more queries beside those of the collection."""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ddro.core import tables
from ddro.core.command import UserError, log
from ddro.core.files import check_foreign_key, open_in_parts, read_table, write_table


class JudgedQuery(NamedTuple):
    """A query and the documents judged relevant to it, in the order of the judgements."""

    qid: str
    text: str
    docnos: tuple[str, ...]


def queries_of_split(queries: pa.Table, path: Path, split: str) -> pa.Table:
    """The rows of ``queries`` (`tables.QUERIES`, read from ``path``) that are of ``split``, in their order.

    Raises:
        UserError: there is none.
    """
    found = queries.filter(pc.equal(queries["split"], split))
    if not len(found):
        raise UserError(f"{path}: no query is in the split {split!r}.")
    return found


def read_queries(path: Path, split: str) -> list[tuple[str, str]]:
    """The (qid, text) of the queries of one split, in the order of the table (`tables.QUERIES`).

    Raises:
        UserError: there is none, or one has no text.
    """
    table = queries_of_split(read_table(path, tables.QUERIES, ["qid"]), path, split)
    queries = list(zip(table["qid"].to_pylist(), table["text"].to_pylist(), strict=True))
    blank = [qid for qid, text in queries if not text.strip()]
    if blank:
        raise UserError(f"{path}: query {blank[0]!r} has no text ({len(blank)} such queries). Remove it.")
    return queries


def find_own_documents(corpus: Path, queries: Sequence[tuple[str, str]]) -> list[str]:
    """The ids of the ``queries`` (qid, text) that are documents of the corpus: same id and, but for blanks, same text.

    A query's text may be the title, the body, or both. An id alone says nothing: 1 is both a query and a document of
    many collections.
    """
    texts = {qid: text.split() for qid, text in queries}
    wanted = pa.array(texts, pa.string())
    found = []
    for batch in open_in_parts(corpus).iter_batches(1024, columns=["docno", "title", "body"]):
        for row in batch.filter(pc.is_in(batch["docno"], value_set=wanted)).to_pylist():
            title, body = row["title"].split(), row["body"].split()
            if texts[row["docno"]] in (title, body, title + body):
                found.append(row["docno"])
    return found


def own_documents(queries: pa.Table) -> frozenset[str]:
    """The qids of ``queries``, a table that split_queries.py wrote, that are documents of the corpus themselves."""
    return frozenset(json.loads((queries.schema.metadata or {}).get(tables.OWN_DOCUMENTS, b"[]")))


def read_own_documents(path: Path) -> frozenset[str]:
    """`own_documents` of a file of queries."""
    return own_documents(read_table(path, tables.QUERIES, ["qid"]))


def relevant_documents(queries: Path, qrels: Path, split: str, known: pa.ChunkedArray) -> list[JudgedQuery]:
    """The queries of ``split`` with their relevant documents, in the order of the table of queries.

    Args:
        queries: Parquet as `tables.QUERIES`.
        qrels: Parquet as `tables.QRELS`; judgements of relevance 0 or less don't count.
        split: train, validation or test.
        known: the docnos that a judgement may name.

    Raises:
        UserError: a judgement of an unknown document, or no query of that split has a relevant document.
    """
    table = read_table(queries, tables.QUERIES, ["qid"])
    judgements = read_table(qrels, tables.QRELS, ["qid", "docno"])
    check_foreign_key(judgements, qrels, "docno", known, "the corpus")
    relevant: dict[str, list[str]] = defaultdict(list)
    for qid, docno, relevance in zip(*(judgements[name].to_pylist() for name in tables.QRELS.names), strict=True):
        if relevance > 0:
            relevant[qid].append(docno)
    judged = [
        JudgedQuery(qid, text, tuple(relevant[qid]))
        for qid, text, of_split in zip(*(table[name].to_pylist() for name in tables.QUERIES.names), strict=True)
        if of_split == split and qid in relevant
    ]
    if not judged:
        raise UserError(f"{queries}: no query of the split {split!r} has a relevant document in {qrels}.")
    return judged


def count_training_queries(queries: Path, qrels: Path) -> Counter[str]:
    """How many training queries each document is judged relevant to; tables as those of `relevant_documents`."""
    table = read_table(queries, tables.QUERIES, ["qid"])
    training = table.filter(pc.equal(table["split"], "train"))["qid"]
    judgements = read_table(qrels, tables.QRELS, ["qid", "docno"])
    counted = pc.and_(pc.greater(judgements["relevance"], 0), pc.is_in(judgements["qid"], training.combine_chunks()))
    return Counter(judgements.filter(counted)["docno"].to_pylist())


class MadeQuery(NamedTuple):
    """A query made from one document, which alone is relevant to it."""

    qid: str
    text: str
    docno: str


def add_tables_options(options: argparse.ArgumentParser) -> None:
    """Add the tables that `write_with_made_queries` reads and writes."""
    options.add_argument("--queries", type=Path, required=True, help="the queries that are there (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="their judgements (Parquet)")
    options.add_argument("--output-queries", type=Path, required=True, help="both kinds of queries (Parquet)")
    options.add_argument("--output-qrels", type=Path, required=True, help="judgements of both (Parquet)")


def write_with_made_queries(
    made: Sequence[MadeQuery], split: str, *, queries: Path, qrels: Path, output_queries: Path, output_qrels: Path
) -> None:
    """Write the queries and judgements that are there and, behind them, those of ``made``, which are of ``split``.

    Args:
        made: the queries; a qid that is there already gets a plus sign behind it.
        split: of `tables.QUERY_SETS`.
        queries: those that are there (Parquet); ``qrels``: their judgements.
        output_queries: the table of both kinds; ``output_qrels``: their judgements.

    Raises:
        UserError: a table is not what it should be.
    """
    made = _with_free_qids(made, set(read_table(queries, tables.QUERIES, ["qid"])["qid"].to_pylist()))
    texts = [{"qid": query.qid, "text": query.text, "split": split} for query in made]
    judgements = [{"qid": query.qid, "docno": query.docno, "relevance": 1} for query in made]
    for more, there, path, schema, key in (
        (texts, queries, output_queries, tables.QUERIES, ["qid"]),
        (judgements, qrels, output_qrels, tables.QRELS, ["qid", "docno"]),
    ):
        write_table(
            pa.concat_tables([read_table(there, schema, key), pa.Table.from_pylist(more, schema)]), path, schema, key
        )


def _with_free_qids(made: Sequence[MadeQuery], taken: set[str]) -> list[MadeQuery]:
    """``made`` without the qids ``taken``: the collection's own queries may have any names."""
    named, taken = [], set(taken)
    for query in made:
        qid = query.qid
        while qid in taken:
            qid += "+"
        taken.add(qid)
        named.append(query._replace(qid=qid))
    if renamed := sum(query.qid != before.qid for query, before in zip(named, made, strict=True)):
        log.info("%d made queries are renamed, for the collection has queries of their names", renamed)
    return named
