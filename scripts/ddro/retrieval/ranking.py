"""Ranking documents for many queries with a trained model: what the scripts that do so share."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ddro.core import tables
from ddro.core.command import UserError, log, progress
from ddro.core.files import read_table


def add_retrieval_options(options: argparse.ArgumentParser) -> None:
    """Add the model, the docids, the queries, and how they are decoded."""
    options.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    options.add_argument("--trie", type=Path, required=True, help="the trie of all docids (build_trie)")
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--split", choices=tables.QUERY_SETS, required=True, help="the queries to rank for")
    options.add_argument("--beams", type=int, required=True, help="beams a query, so docids in its ranking")
    options.add_argument(
        "--length-penalty", type=float, required=True, help="a docid's score is divided by length^this: 0 or 1"
    )
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a query")
    options.add_argument("--precision", choices=["float32", "bfloat16"], required=True, help="of the model's numbers")
    options.add_argument(
        "--memory-mib", type=int, default=2048, help="how much the queries of a batch may take (default: %(default)s)"
    )


def queries_of(arguments: argparse.Namespace) -> list[dict[str, str]]:
    """The queries of the split, in the order of the table.

    Raises:
        UserError: there is none.
    """
    queries = read_table(arguments.queries, tables.QUERIES, ["qid"]).to_pylist()
    queries = [row for row in queries if row["split"] == arguments.split]
    if not queries:
        raise UserError(f"{arguments.queries}: no query of the split {arguments.split!r}.")
    return queries


def rank_queries(arguments: argparse.Namespace, queries: Sequence[dict[str, str]]) -> tuple[pa.Table, dict[str, Any]]:
    """Rank documents for ``queries`` (rows of `tables.QUERIES`) by constrained beam search.

    Queries of like length are decoded together, the longest first: what needs most memory shows at once if it's enough.

    Args:
        arguments: the options of `add_retrieval_options`.
        queries: at least one.

    Returns:
        the run as `tables.RUN`, in the order of the queries, and the timing: of each batch its queries and seconds,
        and what they depend on.

    Raises:
        UserError: trie and docids are of different collections, or what `constrained_beam_search` refuses.
    """
    import torch

    from ddro.docids.trie import DocidTrie
    from ddro.models.t5 import be_quiet, encode, load
    from ddro.retrieval.beam_search import batch_size, rank_documents
    from ddro.retrieval.runs import ranking_rows

    be_quiet()
    docnos = read_table(arguments.docids, tables.DOCIDS, ["docno"])["docno"].to_pylist()
    trie = DocidTrie.load(arguments.trie)
    if len(trie.documents) != len(docnos):
        raise UserError(
            f"{arguments.trie} is of {len(trie.documents)} documents, {arguments.docids} has {len(docnos)}. "
            "Delete the trie and run snakemake."
        )
    model, tokenizer = load(arguments.model)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.eval().to(device, getattr(torch, arguments.precision))
    together = batch_size(model, trie, arguments.beams, arguments.max_query_tokens, arguments.memory_mib * 2**20)
    log.info("%d queries, %d at a time, with %d beams on %s", len(queries), together, arguments.beams, device)

    encoded = encode(tokenizer, [query["text"] for query in queries], arguments.max_query_tokens)
    by_length = sorted(range(len(queries)), key=lambda index: -len(encoded[index]))
    ranked: dict[int, list[dict]] = {}
    batches = []
    with progress(total=len(queries), description="retrieve", unit="queries") as bar:
        for first in range(0, len(queries), together):
            start = time.perf_counter()
            batch = by_length[first : first + together]
            found = rank_documents(
                model,
                trie,
                [encoded[index] for index in batch],
                arguments.beams,
                length_penalty=arguments.length_penalty,
            )
            for index, (documents, scores) in zip(batch, found, strict=True):
                ranked[index] = ranking_rows(queries[index]["qid"], docnos, documents, scores)
            batches.append({"queries": len(batch), "seconds": time.perf_counter() - start})
            bar.update(len(batch))
    run_table = pa.Table.from_pylist([row for index in range(len(queries)) for row in ranked[index]], tables.RUN)
    return run_table, {
        "batches": batches,
        "beams": arguments.beams,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "model_bytes": sum(tensor.nbytes for tensor in {id(part): part for part in model.parameters()}.values()),
        "precision": arguments.precision,
        "trie_bytes": trie.nbytes,
    }
