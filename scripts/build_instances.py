"""Build the training instances of one SFT stage: text, tokens and document."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from ddro.core import tables
from ddro.core.command import UserError, call_main, log, progress
from ddro.core.files import check_foreign_key, read_batches, read_json, read_table, write_parts

TEXTS_A_BLOCK = 10_000
"""Queries or pseudo queries that one process tokenises at a time."""


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
    options.add_argument("--crops", type=int, required=True, help="short texts drawn of a document")
    options.add_argument("--crop-words", type=int, nargs=2, required=True, metavar=("LEAST", "MOST"), help="of a body")
    options.add_argument("--crop-reach", type=int, required=True, help="words of a body that they are drawn from")
    options.add_argument("--crop-title", type=float, required=True, help="probability of each word of the title")
    options.add_argument("--sampled-terms", choices=("words", "subwords"), required=True, help="what terms are")
    options.add_argument("--max-terms", type=int, required=True, help="terms of highest tf-idf in one instance")
    options.add_argument(
        "--docid-end", action=argparse.BooleanOptionalAction, required=True, help="end token behind a docid as input"
    )
    options.add_argument("--query-tokens", type=int, required=True, help="most tokens of a query or pseudo query")
    options.add_argument("--lower-case", action=argparse.BooleanOptionalAction, required=True, help="read all texts so")
    options.add_argument("--seed", type=int, required=True, help="seed of the crops")
    options.add_argument("--threads", type=int, default=1, help="processes that make instances (default: 1)")
    options.add_argument("--output", type=Path, required=True, help="the instances (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.models.tokenizer import load_tokenizer, read_in_lower_case

    least, most = arguments.crop_words
    if least > most:
        raise UserError(f"crop_words {least} {most}: the fewest words of a crop come first, then the most.")
    if arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads}: must be 1 or more.")
    tokenizer = load_tokenizer(arguments.model)
    if arguments.lower_case:
        read_in_lower_case(tokenizer)
    corpus = read_table(arguments.corpus, tables.columns(tables.CORPUS, "docno"), ["docno"])
    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    check_foreign_key(corpus, arguments.corpus, "docno", docids["docno"], str(arguments.docids))

    instances = {"pretrain": of_documents, "search_pretrain": of_pseudo_queries, "finetune": of_queries}
    parts = instances[arguments.stage](arguments, tokenizer, corpus, docids)
    count = write_parts(not_empty(parts, arguments.stage), arguments.output, tables.INSTANCES)
    log.info("%s: %d instances of %d documents", arguments.stage, count, corpus.num_rows)


def not_empty(parts: Iterator[pa.Table], stage: str) -> Iterator[pa.Table]:
    """The parts; a `UserError` where they have no row."""
    count = 0
    for part in parts:
        count += len(part)
        yield part
    if not count:
        raise UserError(f"the stage {stage!r} has no instance: is one of its input tables empty?")


def of_documents(arguments, tokenizer, corpus, docids) -> Iterator[pa.Table]:
    """Passages, crops, sampled terms and, where the model can read it, the docid itself of each document."""
    from ddro.models.tokenizer import TokenLists
    from ddro.training.building import OfDocuments, folder_beside
    from ddro.training.instances import RandomCrops

    config = read_json(arguments.model / "config.json")
    reads_docids = config["model_type"] != "frozen_encoder"
    if not reads_docids:
        log.info("%s: a frozen encoder reads no docids, so none is an instance", arguments.model)
    docnos = docids["docno"].to_pylist()
    with folder_beside(arguments.output) as folder:
        documents = OfDocuments(
            tokenizer,
            dict(zip(docnos, TokenLists(docids["tokens"]), strict=True)) if reads_docids else {},
            config["vocab_size"],
            passages=arguments.passages,
            passage_tokens=arguments.passage_tokens,
            max_passages=arguments.max_passages,
            crops=RandomCrops(
                arguments.crops,
                *arguments.crop_words,
                reach=arguments.crop_reach,
                title_share=arguments.crop_title,
                max_tokens=arguments.query_tokens,
                seed=arguments.seed,
            ),
            sampled_terms=arguments.sampled_terms,
            max_terms=arguments.max_terms,
            docid_end=arguments.docid_end,
            folder=folder,
        )
        yield from documents.tables(arguments.corpus, arguments.threads)


def of_pseudo_queries(arguments, tokenizer, corpus, docids) -> Iterator[pa.Table]:
    """Each pseudo query with the document that it was written for."""
    from ddro.training.building import OfTexts

    path = arguments.pseudo_queries
    keys = tables.columns(tables.PSEUDO_QUERIES, "docno", "rank")
    check_foreign_key(read_table(path, keys, keys.names), path, "docno", corpus["docno"], str(arguments.corpus))
    blocks = read_batches(path, tables.PSEUDO_QUERIES, TEXTS_A_BLOCK)
    texts = progress(blocks, description="search_pretrain", unit=f"blocks of {TEXTS_A_BLOCK} texts")
    return OfTexts(tokenizer, arguments.query_tokens).tables(texts, arguments.threads)


def of_queries(arguments, tokenizer, corpus, docids) -> Iterator[pa.Table]:
    """Each training query with each of its relevant documents."""
    from ddro.corpora.judgements import relevant_documents
    from ddro.training.building import OfTexts

    relevant = relevant_documents(arguments.queries, arguments.qrels, "train", corpus["docno"])
    pairs = [{"docno": docno, "text": query.text} for query in relevant for docno in query.docnos]
    texts = pa.Table.from_pylist(pairs, tables.columns(tables.INSTANCES, "docno", "text"))
    blocks = (texts.slice(start, TEXTS_A_BLOCK) for start in range(0, len(texts), TEXTS_A_BLOCK))
    return OfTexts(tokenizer, arguments.query_tokens).tables(blocks, arguments.threads)


if __name__ == "__main__":
    call_main(parser(), main)
