"""Negatives for DDRO: documents that BM25 ranks high for a query but that are not relevant to it (docs/method.md).

Within a stratum of BM25's ranks they are drawn by chance, as the paper does, or they are those that the model to be
trained ranks highest: then each pair is a mistake of its, or the nearest thing to one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ddro.core.command import UserError
from ddro.core.files import check_table, open_in_parts
from ddro.core.tables import RUN, columns

ROWS_A_BATCH = 2**18
"""Rows of a run that are in memory at a time."""

REMAINDERS = ("spread", "last", "first")
"""What becomes of the negatives that the strata don't give in equal parts; see `stratum_counts`."""

Draw = Callable[[np.ndarray, int], np.ndarray]
"""Chooses ``count`` of a stratum's document numbers: (int [n], count) -> positions in them, int [count]."""


def quotas(count: int, strata: int, remainder: str = "spread") -> np.ndarray:
    """Split ``count`` over the strata, an equal part for each, what remains by a rule of `REMAINDERS`: int64 [strata].

    spread: one each to the first ones, so that 1 over 3 strata is (1, 0, 0). last: all to the last one, (0, 0, 1).
    first: to none, for it is drawn from the first one afterwards, (0, 0, 0).
    """
    parts = np.full(strata, count // strata)
    if remainder == "spread":
        parts[: count % strata] += 1
    elif remainder == "last":
        parts[-1] += count % strata
    return parts


def stratum_counts(available: Sequence[int], count: int, remainder: str = "spread") -> np.ndarray:
    """How many to draw from each stratum, given how many it has: int64 [strata].

    Each stratum gives its quota. What a stratum lacks, in the order of the strata, is drawn from what the others have
    beyond their quota: the nearest stratum first, of two equally near the one with the better ranks. The sum is
    ``count``, or all that there is. With the ``remainder`` first, what a stratum lacks is left out here.
    """
    available = np.asarray(available)
    wanted = quotas(count, len(available), remainder)
    counts = np.minimum(wanted, available)
    if remainder == "first":
        return counts
    spare = available - counts
    for stratum, lacking in enumerate(wanted - counts):
        for other in sorted(range(len(counts)), key=lambda other: (abs(other - stratum), other)):
            moved = min(lacking, spare[other])
            counts[other] += moved
            spare[other] -= moved
            lacking -= moved
    return counts


def by_chance(generator: np.random.Generator) -> Draw:
    """Within a stratum each set of documents is equally likely."""
    return lambda documents, count: generator.choice(len(documents), size=count, replace=False)


def by_model(ranked: np.ndarray) -> Draw:
    """Within a stratum the documents that stand first in ``ranked``, int [m], best first; then BM25's own order."""
    place = {document: rank for rank, document in enumerate(ranked.tolist())}

    def draw(documents: np.ndarray, count: int) -> np.ndarray:
        return np.argsort([place.get(document, len(ranked)) for document in documents.tolist()], kind="stable")[:count]

    return draw


def sample_strata(
    documents: np.ndarray, ranks: np.ndarray, bounds: Sequence[int], count: int, draw: Draw, remainder: str = "spread"
) -> np.ndarray:
    """Draw ``count`` candidates by `stratum_counts`.

    With the ``remainder`` first, all that is missing then is drawn from the first stratum, one after the other from the
    whole of it: a candidate may be drawn again.

    Args:
        documents: int [n], numbers of the candidates.
        ranks: int [n], their ascending BM25 ranks (from 1); what is excluded already is missing, the ranks of the
            others stay.
        bounds: the last rank of each stratum, ascending; a candidate ranked below the last one is never drawn.
        count: how many to draw.
        draw: `by_chance` or `by_model`.
        remainder: of `REMAINDERS`.

    Returns:
        Positions in ``ranks``, ascending: int64 [count], or fewer if there are not enough.
    """
    ends = np.searchsorted(ranks, bounds, side="right")
    starts = np.concatenate([[0], ends[:-1]])
    counts = stratum_counts(ends - starts, count, remainder)
    drawn = [start + draw(documents[start:end], size) for start, end, size in zip(starts, ends, counts, strict=True)]
    if remainder == "first" and ends[0]:
        drawn += [draw(documents[: ends[0]], 1) for _ in range(count - counts.sum())]
    return np.sort(np.concatenate(drawn))


def query_generator(seed: int, qid: str) -> np.random.Generator:
    """The source of chance of one query: it depends on nothing but the seed and the qid."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(f"{seed}:{qid}".encode()).digest()[:16], "big"))


def mine(
    documents: np.ndarray,
    ranks: np.ndarray,
    positives: np.ndarray,
    groups: np.ndarray,
    bounds: Sequence[int],
    count: int,
    draw: Draw,
    remainder: str = "spread",
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the negatives of one query: never a relevant document, nor one that has the docid of a relevant one.

    Args:
        documents: int [n], numbers of the ranked documents, best first; from the size of the corpus on they are of
            documents outside it, which may be drawn.
        ranks: int [n], their ranks, ascending.
        positives: int [p], numbers of the relevant documents.
        groups: int [corpus], the number of each document's docid (`docid_groups`).
        bounds: as for `sample_strata`, with ``count`` and ``draw``.
        count: how many to draw.
        draw: `by_chance` or `by_model`.
        remainder: of `REMAINDERS`.

    Returns:
        The negatives' numbers and ranks, best first: int [m], m <= count.
    """
    inside = documents < len(groups)
    allowed = ~inside | ~np.isin(groups[np.where(inside, documents, 0)], groups[positives])
    documents, ranks = documents[allowed], ranks[allowed]
    drawn = sample_strata(documents, ranks, bounds, count, draw, remainder)
    return documents[drawn], ranks[drawn]


def pairs_table(
    qids: Sequence[str], positives: Sequence[np.ndarray], negatives: Sequence[tuple], docnos: pa.Array
) -> pa.Table:
    """All pairs (`tables.NEGATIVES`): the negatives of a query once for each of its positives, in the order given.

    Args:
        qids: the queries.
        positives: for each query int [p], document numbers.
        negatives: for each query two int [m]: document numbers and ranks.
        docnos: string [corpus], the docno of each document number.
    """
    sizes = [(len(of_query), len(documents)) for of_query, (documents, _) in zip(positives, negatives, strict=True)]
    pairs = np.array([n_positives * n_negatives for n_positives, n_negatives in sizes])
    return pa.table(
        {
            "qid": pa.array(qids, pa.string()).take(pa.array(np.repeat(np.arange(len(qids)), pairs))),
            "positive": docnos.take(
                pa.array(np.concatenate([of.repeat(size[1]) for of, size in zip(positives, sizes, strict=True)]))
            ),
            "negative": docnos.take(
                pa.array(np.concatenate([np.tile(of[0], size[0]) for of, size in zip(negatives, sizes, strict=True)]))
            ),
            "rank": np.concatenate([np.tile(of[1], size[0]) for of, size in zip(negatives, sizes, strict=True)]),
        }
    )


def docid_groups(tokens: pa.ListArray) -> np.ndarray:
    """Number the distinct docids in the order of their first document: int64 [documents], equal for equal tokens."""
    numbers: dict[tuple[int, ...], int] = {}
    return np.array([numbers.setdefault(tuple(docid), len(numbers)) for docid in tokens.to_pylist()], dtype=np.int64)


def read_rankings(
    path: Path, docnos: pa.Array, *, others: bool = False
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Read a run (`tables.RUN`, sorted by qid, then rank) query by query, with the memory of `ROWS_A_BATCH` rows.

    Args:
        path: the Parquet file.
        docnos: string [N], the documents that the run may name.
        others: it may name others, too; they have the numbers N, N + 1, ... of their places in the ranking.

    Yields:
        qid, document numbers (positions in ``docnos``) int64 [n] and ranks int64 [n], best first.

    Raises:
        UserError: an unknown document (without ``others``), a document twice for one query, or rows out of order.
    """
    schema = columns(RUN, "qid", "docno", "rank")
    previous, waiting = "", schema.empty_table()
    try:
        with open_in_parts(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_A_BATCH, columns=schema.names):
                table = check_table(pa.Table.from_batches([batch]), path, schema)
                table = pa.concat_tables([waiting, table]).combine_chunks()
                # The last query of a batch may go on in the next one, so it waits.
                queries = list(_queries(table, path, docnos, others))
                for qid, documents, ranks in queries[:-1]:
                    yield _in_order(path, previous, qid), documents, ranks
                    previous = qid
                waiting = table.slice(len(table) - len(queries[-1][1])) if queries else table
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Run snakemake to make it.") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: not a run in Parquet ({error}). Delete it and rerun.") from error
    for qid, documents, ranks in _queries(waiting, path, docnos, others):
        yield _in_order(path, previous, qid), documents, ranks


def _queries(
    table: pa.Table, path: Path, docnos: pa.Array, others: bool
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Cut a table where the qid changes."""
    rows = pc.index_in(table["docno"], value_set=docnos)
    if others:
        places = pa.array(np.arange(len(docnos), len(docnos) + len(table), dtype=np.int32))
        rows = pc.coalesce(rows.combine_chunks() if isinstance(rows, pa.ChunkedArray) else rows, places)
    if rows.null_count:
        unknown = table["docno"][pc.index(pc.is_null(rows), True).as_py()].as_py()
        raise UserError(f"{path}: docno {unknown!r} has no docid: run and docids are of different corpora.")
    rows, ranks = rows.to_numpy().astype(np.int64), table["rank"].to_numpy().astype(np.int64)
    groups = pc.run_end_encode(table["qid"]).combine_chunks() if len(table) else None
    start = 0
    for qid, end in zip(groups.values.to_pylist(), groups.run_ends.to_pylist(), strict=True) if groups else ():
        documents = rows[start:end]
        if (np.diff(ranks[start:end]) <= 0).any():
            raise UserError(f"{path}: query {qid!r}: the ranks do not ascend.")
        if len(np.unique(documents)) < len(documents):
            raise UserError(f"{path}: query {qid!r} ranks a document twice.")
        yield qid, documents, ranks[start:end]
        start = end


def _in_order(path: Path, previous: str, qid: str) -> str:
    if qid <= previous:
        raise UserError(f"{path}: query {qid!r} comes after {previous!r}: the run must be sorted by qid.")
    return qid
