"""Rank documents for the queries of one split by generating docids: constrained beam search."""

import argparse
from pathlib import Path

from ddro import tables
from ddro.command import UserError, log, progress, run
from ddro.files import read_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--split", choices=tables.SPLITS, required=True, help="the queries to rank for")
    options.add_argument("--beams", type=int, required=True, help="beams a query, so docids in its ranking")
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a query")
    options.add_argument(
        "--batch-size", type=int, default=32, help="queries decoded together: a matter of memory alone"
    )
    options.add_argument("--output", type=Path, required=True, help="the ranking (TREC run, gzip'd)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import torch

    from ddro.runs import write_trec
    from ddro.seq2seq import be_quiet, load
    from ddro.trie import DocidTrie

    be_quiet()
    model, tokenizer = load(arguments.model)
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    trie = DocidTrie.build(docids["tokens"])
    queries = read_table(arguments.queries, tables.QUERIES, ["qid"])
    queries = [row for row in queries.to_pylist() if row["split"] == arguments.split]
    if not queries:
        raise UserError(f"{arguments.queries}: no query of the split {arguments.split!r}.")
    run_table = rankings(arguments, model, tokenizer, trie, docids["docno"].to_pylist(), queries)
    write_trec(run_table, arguments.output, arguments.model.name)
    log.info("%d queries ranked with %d beams", len(queries), arguments.beams)


def rankings(arguments, model, tokenizer, trie, docnos, queries):  # noqa: ANN001, ANN201 - as main has them
    """The run as `tables.RUN`, in the order of the queries; queries of like length are decoded together."""
    import pyarrow as pa

    from ddro.decoding import constrained_beam_search, ranked_documents
    from ddro.seq2seq import encode, pad

    encoded = encode(tokenizer, [query["text"] for query in queries], arguments.max_query_tokens)
    by_length = sorted(range(len(queries)), key=lambda index: len(encoded[index]))
    ranked: dict[int, list[dict]] = {}
    with progress(total=len(queries), description="retrieve", unit="queries") as bar:
        for first in range(0, len(queries), arguments.batch_size):
            batch = by_length[first : first + arguments.batch_size]
            tokens, mask = (tensor.to(model.device) for tensor in pad([encoded[index] for index in batch]))
            found, scores = constrained_beam_search(model, trie, tokens, mask, arguments.beams)
            for index, docids, values in zip(batch, found.cpu().numpy(), scores.cpu().numpy(), strict=True):
                documents = zip(*ranked_documents(trie, docids, values), strict=True)
                ranked[index] = [
                    {"qid": queries[index]["qid"], "docno": docnos[row], "rank": rank, "score": float(score)}
                    for rank, (row, score) in enumerate(documents, 1)
                ]
            bar.update(len(batch))
    return pa.Table.from_pylist([row for index in range(len(queries)) for row in ranked[index]], tables.RUN)


if __name__ == "__main__":
    run(parser(), main)
