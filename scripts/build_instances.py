"""Build the training instances of one SFT stage: text, tokens and document."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from ddro.core import tables
from ddro.core.command import UserError, call_main, log, progress
from ddro.core.files import check_foreign_key, read_json, read_table, row_writer


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--stage", choices=tables.STAGES, required=True, help="the stage that trains on them")
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--model", type=Path, required=True, help="folder of the base model: its tokenizer is used")
    options.add_argument("--pseudo-queries", type=Path, help="search_pretrain: the pseudo queries (Parquet)")
    options.add_argument("--queries", type=Path, help="finetune: queries with their split (Parquet)")
    options.add_argument("--qrels", type=Path, help="finetune: relevance judgements (Parquet)")
    options.add_argument(
        "--passage-tokens", type=int, required=True, help="tokens of a passage, title and end included"
    )
    options.add_argument("--passages", choices=("windows", "sentences"), required=True, help="what passages are")
    options.add_argument("--max-passages", type=int, required=True, help="most passages a document")
    options.add_argument("--sampled-terms", choices=("words", "subwords"), required=True, help="what terms are")
    options.add_argument("--max-terms", type=int, required=True, help="terms of highest tf-idf in one instance")
    options.add_argument(
        "--docid-end", action=argparse.BooleanOptionalAction, required=True, help="end token behind a docid as input"
    )
    options.add_argument("--query-tokens", type=int, required=True, help="most tokens of a query or pseudo query")
    options.add_argument("--lower-case", action=argparse.BooleanOptionalAction, required=True, help="read all texts so")
    options.add_argument("--output", type=Path, required=True, help="the instances (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.models.t5 import load_tokenizer, read_in_lower_case

    tokenizer = load_tokenizer(arguments.model)
    if arguments.lower_case:
        read_in_lower_case(tokenizer)
    corpus = read_table(arguments.corpus, tables.CORPUS, ["docno"])
    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    check_foreign_key(corpus, arguments.corpus, "docno", docids["docno"], str(arguments.docids))

    instances = {"pretrain": of_documents, "search_pretrain": of_pseudo_queries, "finetune": of_queries}
    count = 0
    with row_writer(arguments.output, tables.INSTANCES) as write:
        for instance in instances[arguments.stage](arguments, tokenizer, corpus, docids):
            write(vars(instance))
            count += 1
        if not count:
            raise UserError(f"the stage {arguments.stage!r} has no instance: is one of its input tables empty?")
    log.info("%s: %d instances of %d documents", arguments.stage, count, corpus.num_rows)


def of_documents(arguments, tokenizer, corpus, docids) -> Iterator:
    """Passages, sampled terms and, where the model can read it, the docid itself of each document."""
    from ddro.training.instances import instances_of_documents

    config = read_json(arguments.model / "config.json")
    reads_docids = config["model_type"] != "frozen_encoder"
    if not reads_docids:
        log.info("%s: a frozen encoder reads no docids, so none is an instance", arguments.model)
    docnos, titles, bodies = (corpus[name].to_pylist() for name in ("docno", "title", "body"))
    yield from instances_of_documents(
        tokenizer,
        docnos,
        titles,
        bodies,
        dict(zip(docids["docno"].to_pylist(), docids["tokens"].to_pylist(), strict=True)) if reads_docids else {},
        config["vocab_size"],
        passages=arguments.passages,
        passage_tokens=arguments.passage_tokens,
        max_passages=arguments.max_passages,
        sampled_terms=arguments.sampled_terms,
        max_terms=arguments.max_terms,
        docid_end=arguments.docid_end,
    )


def of_pseudo_queries(arguments, tokenizer, corpus, docids) -> Iterator:
    """Each pseudo query with the document that it was written for."""
    from ddro.training.instances import from_texts

    pseudo_queries = read_table(arguments.pseudo_queries, tables.PSEUDO_QUERIES, ["docno", "rank"])
    check_foreign_key(pseudo_queries, arguments.pseudo_queries, "docno", corpus["docno"], str(arguments.corpus))
    for batch in progress(pseudo_queries.to_batches(10_000), description="search_pretrain", unit="batches"):
        yield from from_texts(tokenizer, batch["docno"].to_pylist(), batch["text"].to_pylist(), arguments.query_tokens)


def of_queries(arguments, tokenizer, corpus, docids) -> Iterator:
    """Each training query with each of its relevant documents."""
    from ddro.corpora.judgements import relevant_documents
    from ddro.training.instances import from_texts

    relevant = relevant_documents(arguments.queries, arguments.qrels, "train", corpus["docno"])
    pairs = [(docno, query.text) for query in relevant for docno in query.docnos]
    if pairs:
        docnos, texts = zip(*pairs, strict=True)
        yield from from_texts(tokenizer, docnos, texts, arguments.query_tokens)


if __name__ == "__main__":
    call_main(parser(), main)
