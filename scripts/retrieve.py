"""Rank documents for the queries of one split, or a shard of them, by generating docids: constrained beam search."""

import argparse
import time
from pathlib import Path

from ddro import tables
from ddro.command import UserError, log, progress, run, shard_of
from ddro.files import read_table, write_json, write_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    options.add_argument("--trie", type=Path, required=True, help="the trie of all docids (build_trie)")
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--split", choices=tables.SPLITS, required=True, help="the queries to rank for")
    options.add_argument("--shard", default="1-of-1", help="every 8th query from the 3rd on: 3-of-8 (default: all)")
    options.add_argument("--beams", type=int, required=True, help="beams a query, so docids in its ranking")
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a query")
    options.add_argument("--precision", choices=["float32", "bfloat16"], required=True, help="of the model's numbers")
    options.add_argument(
        "--memory-mib", type=int, default=2048, help="how much the queries of a batch may take (default: %(default)s)"
    )
    options.add_argument("--output-run", type=Path, required=True, help="the shard's part of the run (Parquet)")
    options.add_argument("--output-timing", type=Path, required=True, help="seconds of each batch (JSON)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import torch

    from ddro.decoding import batch_size
    from ddro.seq2seq import be_quiet, load
    from ddro.trie import DocidTrie

    be_quiet()
    queries = queries_of(arguments)
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
    run_table, batches = rankings(arguments, model, tokenizer, trie, docnos, queries, together)
    write_table(run_table, arguments.output_run, tables.RUN, ["qid", "docno"])
    timing = {
        "batches": batches,
        "beams": arguments.beams,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "model_bytes": sum(tensor.nbytes for tensor in {id(part): part for part in model.parameters()}.values()),
        "precision": arguments.precision,
        "trie_bytes": trie.nbytes,
    }
    write_json(timing, arguments.output_timing)


def queries_of(arguments: argparse.Namespace) -> list[dict]:
    """The queries of the split that belong to this shard, in the order of the table."""
    queries = read_table(arguments.queries, tables.QUERIES, ["qid"]).to_pylist()
    queries = [row for row in queries if row["split"] == arguments.split]
    if not queries:
        raise UserError(f"{arguments.queries}: no query of the split {arguments.split!r}.")
    shard, shards = shard_of(arguments.shard)
    return queries[shard - 1 :: shards]


def rankings(arguments, model, tokenizer, trie, docnos, queries, together):  # noqa: ANN001, ANN201 - as main has them
    """The run as `tables.RUN`, in the order of the queries, and of each batch its queries and seconds.

    Queries of like length are decoded together, the longest first: what needs most memory shows at once if it's enough.
    """
    import pyarrow as pa

    from ddro.decoding import rank_documents
    from ddro.runs import ranking_rows
    from ddro.seq2seq import encode

    encoded = encode(tokenizer, [query["text"] for query in queries], arguments.max_query_tokens)
    by_length = sorted(range(len(queries)), key=lambda index: -len(encoded[index]))
    ranked: dict[int, list[dict]] = {}
    batches = []
    with progress(total=len(queries), description="retrieve", unit="queries") as bar:
        for first in range(0, len(queries), together):
            start = time.perf_counter()
            batch = by_length[first : first + together]
            found = rank_documents(model, trie, [encoded[index] for index in batch], arguments.beams)
            for index, (documents, scores) in zip(batch, found, strict=True):
                ranked[index] = ranking_rows(queries[index]["qid"], docnos, documents, scores)
            batches.append({"queries": len(batch), "seconds": time.perf_counter() - start})
            bar.update(len(batch))
    return pa.Table.from_pylist([row for index in range(len(queries)) for row in ranked[index]], tables.RUN), batches


if __name__ == "__main__":
    run(parser(), main)
