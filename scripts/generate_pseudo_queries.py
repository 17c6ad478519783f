"""Write pseudo queries for each document by sampling from a doc2query model."""

import argparse
from pathlib import Path

import pyarrow as pa

from ddro import tables
from ddro.command import UserError, log, progress, run
from ddro.files import read_table, write_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--model", type=Path, required=True, help="folder of the doc2query model")
    options.add_argument("--per-document", type=int, required=True, help="pseudo queries a document")
    options.add_argument("--top-k", type=int, required=True, help="draw each token from so many most probable ones")
    options.add_argument("--batch-size", type=int, required=True, help="documents that are decoded together")
    options.add_argument("--max-document-tokens", type=int, required=True, help="most tokens of a document")
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a pseudo query")
    options.add_argument("--seed", type=int, required=True, help="seed of the sampling")
    options.add_argument("--output", type=Path, required=True, help="the pseudo queries (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import torch

    from ddro.doc2query import document_text, sample_queries
    from ddro.seq2seq import be_quiet, encode, load

    be_quiet()
    model, tokenizer = load(arguments.model)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    corpus = read_table(arguments.corpus, tables.CORPUS, ["docno"])
    if not corpus.num_rows:
        raise UserError(f"{arguments.corpus}: the corpus is empty.")
    documents = corpus.to_pylist()
    texts = [document_text(row["title"], row["body"]) for row in documents]
    written = sample_queries(
        model,
        tokenizer,
        encode(tokenizer, texts, arguments.max_document_tokens),
        per_document=arguments.per_document,
        top_k=arguments.top_k,
        max_query_tokens=arguments.max_query_tokens,
        batch_size=arguments.batch_size,
        seed=arguments.seed,
    )
    bar = progress(written, total=len(documents), description="pseudo queries", unit="documents")
    queries = dict(bar)

    rows, empty, repeated = [], 0, 0
    for index, document in enumerate(documents):
        texts = queries[index]
        empty += sum(not text for text in texts)
        repeated += len(texts) - len(set(texts))
        rows += [{"docno": document["docno"], "rank": rank, "text": text} for rank, text in enumerate(texts, 1) if text]
    table = pa.Table.from_pylist(rows, tables.PSEUDO_QUERIES)
    write_table(table, arguments.output, tables.PSEUDO_QUERIES, ["docno", "rank"])
    log.info(
        "%d pseudo queries; %d of them repeat another of their document; %d empty ones left out",
        len(rows),
        repeated,
        empty,
    )


if __name__ == "__main__":
    run(parser(), main)
