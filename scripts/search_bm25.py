"""Search the queries of one split with BM25; equal scores are ranked by docno, so the run is the same every time."""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ddro.core.command import UserError, call_main, log, progress
from ddro.core.tables import QUERY_SETS

QUERIES_A_BATCH = 256
"""Written together, so that the memory does not grow with the number of queries."""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--index", type=Path, required=True, help="folder of the index")
    options.add_argument("--queries", type=Path, required=True, help="queries with their splits (Parquet)")
    options.add_argument("--split", choices=QUERY_SETS, required=True, help="search the queries of this split")
    options.add_argument("--k1", type=float, required=True, help="BM25: how slowly repeated terms saturate (>= 0)")
    options.add_argument("--b", type=float, required=True, help="BM25: how much long documents lose (0 to 1)")
    options.add_argument("--depth", type=int, default=1000, help="documents a query (default: 1000)")
    options.add_argument("--threads", type=int, default=1, help="threads that search (default: 1)")
    options.add_argument("--output", type=Path, required=True, help="the run (Parquet), sorted by qid, then rank")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow.parquet as pq

    from ddro.core.files import write_whole
    from ddro.core.tables import RUN
    from ddro.corpora.judgements import read_own_documents, read_queries
    from ddro.retrieval.bm25 import Searcher
    from ddro.retrieval.runs import run_table, without_own_documents

    for option in ("depth", "threads"):
        if vars(arguments)[option] < 1:
            raise UserError(f"--{option} {vars(arguments)[option]}: must be 1 or more.")
    queries = sorted(read_queries(arguments.queries, arguments.split))
    own = read_own_documents(arguments.queries)
    depth = arguments.depth + bool(own)
    searcher = Searcher(arguments.index, arguments.k1, arguments.b)
    log.info("%d documents; k1 %g, b %g, depth %d", searcher.n_documents, arguments.k1, arguments.b, arguments.depth)

    hits, without_hits = 0, []
    with (
        write_whole(arguments.output) as temporary,
        pq.ParquetWriter(temporary, RUN, compression="zstd") as writer,
        ThreadPoolExecutor(arguments.threads) as pool,
        progress(description=f"search {arguments.split}", unit="queries", total=len(queries)) as bar,
    ):
        for start in range(0, len(queries), QUERIES_A_BATCH):
            batch = queries[start : start + QUERIES_A_BATCH]
            found = list(pool.map(lambda query: searcher.search(query[1], depth), batch))
            qids = [qid for qid, _ in batch]
            run = run_table(qids, found, searcher.docnos)
            writer.write_table(without_own_documents(run, own, arguments.depth))
            hits += sum(len(numbers) for numbers, _ in found)
            without_hits += [qid for qid, (numbers, _) in zip(qids, found, strict=True) if not len(numbers)]
            bar.update(len(batch))
    log.info("%d hits for %d queries, %.1f a query", hits, len(queries), hits / len(queries))
    if without_hits:
        log.info("%d queries have no hit (no term of them is indexed), such as %s", len(without_hits), without_hits[:5])


if __name__ == "__main__":
    call_main(parser(), main)
