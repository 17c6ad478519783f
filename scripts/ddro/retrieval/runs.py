"""Runs: for each query, a ranked list of documents, as TREC text (gzipped or not) or as Parquet.

A table of a run is in the order of its ranks, which count from 1 within a query; the score never rises with the rank.
TREC text means what trec_eval reads in it: the scores, in single precision, say the order, documents of equal score
stand in descending order of docno, and the rank column isn't looked at. So `write_trec` writes scores of single
precision that differ, and everybody finds the order of the table again.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from ddro.core.command import UserError, log
from ddro.core.files import read_table, write_whole
from ddro.core.tables import RUN

_LOWEST = -(2**31)


def read_run(path: Path | str) -> pa.Table:
    """Read a run of `tables.RUN` columns: Parquet if ``path`` ends so, else TREC text. Queries stand in file order.

    Raises:
        UserError: what `check_run` refuses of a table; of a text a line that is not ``qid Q0 docno rank score tag``, a
            score that is not finite, a document that stands twice in a ranking; or an empty text.
    """
    path = Path(path)
    run = read_table(path, RUN) if path.suffix == ".parquet" else _read_trec(path)
    if path.suffix == ".parquet":
        return check_run(run, path)  # without rows it is a run, too: BM25's, where no query has an indexed word
    if not run.num_rows:
        raise UserError(f"{path}: the run is empty. Delete it and run its rule again.")
    return _in_order_of_scores(run, path)


def write_trec(run: pa.Table, path: Path | str, tag: str) -> None:
    """Write a run of `tables.RUN` columns as gzipped TREC text. Equal runs are equal bytes: the header has no time.

    Raises:
        UserError: what `check_run` refuses, or white space inside a qid, docno or ``tag`` (TREC's separator).
    """
    check_run(run, path)
    qids, docnos, ranks = (run[name].to_pylist() for name in ("qid", "docno", "rank"))
    for name, values in (("tag", [tag]), ("qid", qids), ("docno", docnos)):
        for value in values:
            if len(value.split()) != 1 or value.split()[0] != value:
                raise UserError(f"{path}: {name} {value!r} is empty or has white space, which a TREC run can't hold.")
    rows = zip(qids, docnos, ranks, untied(_codes(run["qid"]), run["score"].to_numpy()), strict=True)
    lines = (f"{qid} Q0 {docno} {rank} {score!s} {tag}\n" for qid, docno, rank, score in rows)
    with (
        write_whole(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed,
    ):
        compressed.writelines(line.encode() for line in lines)


def untied(query: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Scores in single precision that fall strictly: one that doesn't becomes the next smaller number.

    Args:
        query: int64 [rows]: the number of each row's query; the rows of a query may stand apart.
        score: float64 [rows], not rising within a query.
    """
    order = np.argsort(query, kind="stable")
    number = _numbers(score[order].astype(np.float32))
    index = np.arange(len(order)) - query[order] * 2**34  # each query's numbers are below those of the one before
    number = np.minimum.accumulate(number + index) - index
    result = np.empty(len(order), np.float32)
    result[order] = np.where(number < 0, _LOWEST - number, number).astype(np.int32).view(np.float32)
    return result


def _numbers(score: np.ndarray) -> np.ndarray:
    """Numbers that count the floats of single precision in their order, from -2**31 on; -0.0 is 0.0: int64 [rows]."""
    bits = (score + np.float32(0)).view(np.int32).astype(np.int64)
    return np.where(bits < 0, _LOWEST - bits, bits)


def ranking_rows(
    qid: str, docnos: Sequence[str], documents: Sequence[int], scores: Sequence[float]
) -> list[dict[str, str | int | float]]:
    """The rows (`tables.RUN`) of one query's documents, positions in ``docnos``, best first.

    A docno that stands there several times, as published tables have it, is ranked once, where it is best.
    """
    best: dict[str, float] = {}
    for document, score in zip(documents, scores, strict=True):
        best.setdefault(docnos[document], float(score))
    return [
        {"qid": qid, "docno": docno, "rank": rank, "score": score}
        for rank, (docno, score) in enumerate(best.items(), 1)
    ]


def gather(shards: Sequence[pa.Table], qids: Sequence[str]) -> pa.Table:
    """Put the parts of a run (`tables.RUN`) together, in the order of ``qids``.

    Raises:
        UserError: a query without a ranking, or a ranking of another query.
    """
    run = pa.concat_tables(shards)
    ranked = pc.unique(run["qid"]).to_pylist()
    for there, wanted, what in ((ranked, qids, "has no ranking"), (qids, ranked, "is not among the queries")):
        if others := sorted(set(wanted) - set(there)):
            raise UserError(
                f"query {others[0]!r} {what} ({len(others)} such queries). Delete the folder of the shards and rerun."
            )
    place = pc.index_in(run["qid"], value_set=pa.array(qids, pa.string()))
    in_order = [("place", "ascending"), ("rank", "ascending")]
    return run.append_column("place", place).sort_by(in_order).drop_columns("place")


def without_own_documents(run: pa.Table, own: Collection[str], depth: int | None = None) -> pa.Table:
    """Leave each query of ``own`` out of its own ranking, where its id is a docno, and rank the others one higher.

    Args:
        run: columns of `tables.RUN`, in the order of the ranks.
        own: qids that are documents themselves (`corpora.judgements.own_documents`).
        depth: ranks to keep; None for all.
    """
    if not own:
        return run
    itself = pc.and_(pc.equal(run["qid"], run["docno"]), pc.is_in(run["qid"], value_set=pa.array(own, pa.string())))
    rank_of = dict(zip(*(run.filter(itself)[name].to_pylist() for name in ("qid", "rank")), strict=True))
    others = run.filter(pc.invert(itself))
    qids, ranks = others["qid"].to_pylist(), others["rank"].to_pylist()
    moved = [rank - (rank > rank_of.get(qid, rank)) for qid, rank in zip(qids, ranks, strict=True)]
    others = others.set_column(others.schema.get_field_index("rank"), RUN.field("rank"), pa.array(moved, pa.int32()))
    return others if depth is None else others.filter(pc.less_equal(others["rank"], depth))


def check_run(run: pa.Table, path: Path | str) -> pa.Table:
    """Return ``run`` as it is, if it is a run. Row numbers in messages count from 1, as lines do.

    Raises:
        UserError: two rows with the same (qid, docno); a score that is not finite in single precision; ranks of a
            query that are not 1, 2, 3, ... in file order; a score above that of the rank before.
    """
    query, rank, score = _codes(run["qid"]), run["rank"].to_numpy(), run["score"].to_numpy()
    _check_rows(run, query, path)
    by_query = np.argsort(query, kind="stable")
    new = np.diff(query[by_query], prepend=-1) > 0
    place = np.arange(len(new)) - np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))
    for what, wrong in (
        ("rank {rank} breaks the count 1, 2, 3, ... of its query.", rank[by_query] != place + 1),
        ("the score {score} is above that of the rank before.", ~new & (np.diff(score[by_query], prepend=0) > 0)),
    ):
        _refuse(run, path, by_query[wrong], what)
    return run


def _check_rows(run: pa.Table, query: np.ndarray, path: Path | str) -> None:
    with np.errstate(over="ignore"):
        infinite = ~np.isfinite(run["score"].to_numpy().astype(np.float32))
    _refuse(run, path, np.flatnonzero(infinite), "the score is {score}, not a finite number of single precision.")
    document = _codes(run["docno"])
    pair = query * (document.max(initial=0) + 1) + document
    order = np.argsort(pair, kind="stable")
    again = order[1:][np.diff(pair[order]) == 0]
    _refuse(run, path, again, "the document is in the ranking of this query already.")


def _refuse(run: pa.Table, path: Path | str, rows: np.ndarray, what: str) -> None:
    if len(rows):
        row = int(rows.min())
        values = {name: run[name][row].as_py() for name in run.column_names}
        raise UserError(f"{path}:{row + 1}: qid {values['qid']!r}, docno {values['docno']!r}: " + what.format(**values))


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """A number for each value, counted in the order of the first appearance: int64 [rows]."""
    return pc.dictionary_encode(column).combine_chunks().indices.to_numpy().astype(np.int64)


def _in_order_of_scores(run: pa.Table, path: Path) -> pa.Table:
    """The rows as trec_eval orders them, with ranks that say so."""
    query = _codes(run["qid"])
    _check_rows(run, query, path)
    order = _falling(query, run["score"].to_numpy().astype(np.float32), run["docno"])
    start = np.searchsorted(query[order], np.arange(query.max(initial=0) + 1))[query[order]]
    rank = np.arange(1, len(order) + 1) - start
    if moved := int((run["rank"].to_numpy()[order] != rank).sum()):
        log.warning("%s: %d ranks are not what the scores say; the scores count, as in trec_eval", path, moved)
    if (np.diff(order) != 1).any():
        run = run.take(order)
    return run.set_column(2, RUN.field("rank"), pa.array(rank, pa.int32()))


def _falling(query: np.ndarray, score: np.ndarray, docnos: pa.ChunkedArray) -> np.ndarray:
    """The rows by query, then score, then docno, both falling: int64 [rows].

    Files are almost in this order, and a stable sort by one number is then hardly more than a look at each row; only
    rows of equal scores are sorted by docno.
    """
    key = query * 2**32 - _numbers(score)
    order = np.argsort(key, kind="stable")
    same = np.diff(key[order]) == 0
    (tied,) = np.nonzero(np.append(same, False) | np.insert(same, 0, False))
    rows = order[tied]
    names = pc.dictionary_encode(docnos.take(rows)).combine_chunks()
    places = np.empty(len(names.dictionary), np.int64)
    places[pc.sort_indices(names.dictionary).to_numpy()] = np.arange(len(places))
    order[tied] = rows[np.lexsort((-places[names.indices.to_numpy()], key[rows]))]
    return order


def _read_trec(path: Path) -> pa.Table:
    content = _read_bytes(path).removeprefix(b"\xef\xbb\xbf")
    names = ["qid", "iteration", "docno", "rank", "score", "tag"]
    try:  # the common form, a hundred times as fast as the loop below
        table = csv.read_csv(
            pa.py_buffer(content),
            csv.ReadOptions(column_names=names),
            csv.ParseOptions(
                delimiter="\t" if b"\t" in content[:1000] else " ", quote_char=False, ignore_empty_lines=False
            ),
            csv.ConvertOptions(
                column_types={name: pa.string() for name in names} | {"rank": pa.int32(), "score": pa.float64()},
                null_values=[],
            ),
        )
        if not pc.any(pc.equal(table["tag"], "")).as_py():
            return table.select(RUN.names).cast(RUN)
    except pa.ArrowInvalid:
        pass
    columns: dict[str, list] = {name: [] for name in RUN.names}
    try:
        text = content.decode("utf-8").rstrip()
        lines = text.split("\n") if text else []
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a whole text file ({error}). Delete it and run its rule again.") from error
    for number, line in enumerate(lines, start=1):
        try:
            qid, _, docno, rank, score, _ = line.split()
            values = {"qid": qid, "docno": docno, "rank": int(rank), "score": float(score)}
            if not abs(values["rank"]) < 2**31:
                raise ValueError("a rank of more than 32 bits")
        except ValueError as error:
            raise UserError(f"{path}:{number}: expected qid Q0 docno rank score tag, found {line[:80]!r}.") from error
        for name, value in values.items():
            columns[name].append(value)
    return pa.table(columns, schema=RUN)


def _read_bytes(path: Path) -> bytes:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Run snakemake to make it.") from error
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"{path}: not a whole text file ({error}). Delete it and run its rule again.") from error


def run_table(qids: Sequence[str], found: Sequence[tuple[np.ndarray, np.ndarray]], docnos: pa.Array) -> pa.Table:
    """The rows of `tables.RUN` of several queries.

    Args:
        qids: of the queries.
        found: of each query the places of its documents in ``docnos``, best first, and their scores.
        docnos: of all documents.
    """
    counts = [len(places) for places, _ in found]
    return pa.table(
        {
            "qid": pa.array(qids, pa.string()).take(pa.array(np.repeat(np.arange(len(qids)), counts))),
            "docno": docnos.take(pa.array(np.concatenate([places for places, _ in found]))),
            "rank": np.concatenate([np.arange(1, count + 1, dtype=np.int32) for count in counts]),
            "score": np.concatenate([scores for _, scores in found]),
        },
        schema=RUN,
    )


def summarise_timings(shards: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One account of several shards.

    A query's time is that of its batch over the batch's queries: what it costs where many wait, not how long one alone
    would take.

    Args:
        shards: of each its "batches" (each with "queries" and "seconds"), and "beams", "device", "model_bytes",
            "precision" and "trie_bytes", which are the first shard's in the result (devices: all that took part).

    Returns:
        these, and "queries", "seconds" (of all batches), "queries_per_s", "batch_size" (the largest) and "ms_per_query"
        with the "median" and the "p95" over the queries.
    """
    batches = [batch for shard in shards for batch in shard["batches"]]
    counts = np.array([batch["queries"] for batch in batches])
    seconds = np.array([batch["seconds"] for batch in batches])
    of_queries = np.repeat(seconds / counts, counts) * 1000
    same = {name: shards[0][name] for name in ("beams", "model_bytes", "precision", "trie_bytes")}
    return same | {
        "batch_size": int(counts.max()),
        "device": ", ".join(sorted({shard["device"] for shard in shards})),
        "ms_per_query": {"median": float(np.median(of_queries)), "p95": float(np.quantile(of_queries, 0.95))},
        "queries": int(counts.sum()),
        "queries_per_s": float(counts.sum() / seconds.sum()),
        "seconds": float(seconds.sum()),
    }
