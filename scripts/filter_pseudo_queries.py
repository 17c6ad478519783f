"""Find with BM25 at which rank pseudo queries have their document; optionally keep only those that have it high."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, log, progress

DEPTH = 100
"""Documents that are searched for a query, if none are to be left out."""
SAMPLE = 2000
"""Queries, spread evenly, that are searched if none are to be left out."""
QUERIES_A_BATCH = 10_000


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pseudo-queries", type=Path, required=True, help="all pseudo queries (Parquet)")
    options.add_argument("--index", type=Path, required=True, help="folder of the Lucene index")
    options.add_argument("--k1", type=float, required=True, help="BM25: how slowly repeated terms saturate (>= 0)")
    options.add_argument("--b", type=float, required=True, help="BM25: how much long documents lose (0 to 1)")
    options.add_argument("--keep-within", type=int, help="keep queries with their document so high (default: all)")
    options.add_argument("--threads", type=int, default=1, help="threads that search (default: 1)")
    options.add_argument("--output", type=Path, required=True, help="the queries that are kept (Parquet)")
    options.add_argument("--output-ranks", type=Path, required=True, help="docno, rank, bm25_rank (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from ddro.core.files import open_in_parts, write_whole
    from ddro.core.tables import PSEUDO_QUERIES, PSEUDO_QUERY_RANKS
    from ddro.doc2query.shards import METADATA, sampled_rows
    from ddro.retrieval.bm25 import Searcher

    keep = arguments.keep_within
    if keep is not None and keep < 1:
        raise UserError(f"--keep-within {keep}: must be 1 or more.")
    depth = max(keep or 0, DEPTH)
    searcher = Searcher(arguments.index, arguments.k1, arguments.b)
    number_of = {docno: number for number, docno in enumerate(searcher.docnos.to_pylist())}

    def rank_of(row: dict) -> int:
        """From 1; 0 where the document isn't among those found."""
        found = np.flatnonzero(searcher.search(row["text"], depth)[0] == number_of.get(row["docno"], -1))
        return int(found[0]) + 1 if len(found) else 0

    queries = open_in_parts(arguments.pseudo_queries)
    total = queries.metadata.num_rows
    searched = np.ones(total, bool) if keep else sampled_rows(total, SAMPLE)
    start = kept = 0
    with (
        write_whole(arguments.output) as temporary,
        write_whole(arguments.output_ranks) as temporary_ranks,
        pq.ParquetWriter(temporary, PSEUDO_QUERIES, compression="zstd") as writer,
        pq.ParquetWriter(temporary_ranks, PSEUDO_QUERY_RANKS, compression="zstd") as ranks_writer,
        ThreadPoolExecutor(arguments.threads) as pool,
        progress(description="BM25 ranks", unit="queries", total=int(searched.sum())) as bar,
    ):
        for batch in queries.iter_batches(QUERIES_A_BATCH):
            table = pa.Table.from_batches([batch])
            chosen = table.filter(pa.array(searched[start : start + len(table)]))
            start += len(table)
            ranks = np.array(list(pool.map(rank_of, chosen.to_pylist())), np.int32)
            ranks_writer.write_table(chosen.drop_columns("text").append_column("bm25_rank", pa.array(ranks)))
            table = chosen.filter(pa.array((ranks > 0) & (ranks <= keep))) if keep else table
            writer.write_table(table)
            kept += len(table)
            bar.update(len(chosen))
        writer.add_key_value_metadata({METADATA: (queries.metadata.metadata or {}).get(METADATA, b"{}")})
        if not kept:
            raise UserError(
                f"{arguments.pseudo_queries}: BM25 finds no document of {total} queries within rank {keep}. Raise "
                "doc2query.keep_within, or set it to null."
            )
    log.info("kept %d of %d pseudo queries (%.1f %%)", kept, total, 100 * kept / total)


if __name__ == "__main__":
    call_main(parser(), main)
