"""Give every document its docid, and report how many documents share one."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ddro.core.command import UserError, call_main, log

LONGEST_TEXT = 100
"""Tokens that the model reads with --rule generated, the end token among them, as in the authors' code."""

if TYPE_CHECKING:
    import pyarrow as pa

    from ddro.docids.schemes import Docids


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--scheme",
        choices=("pq", "rq", "tu", "atomic"),
        required=True,
        help="pq, rq: codes of the document vector; tu: words of title or URL; atomic: one new token a document",
    )
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--model", type=Path, required=True, help="folder of the base model and its tokenizer")
    options.add_argument("--codebook", type=Path, help="pq, rq: the codebook")
    options.add_argument("--embeddings", type=Path, help="pq, rq: folder of the document vectors")
    options.add_argument(
        "--rule",
        choices=("ours", "authors", "authors_2025", "ultron", "generated"),
        default="ours",
        help="tu: what a docid is made of; generated: what the model writes for it (default: ours)",
    )
    options.add_argument("--max-tokens", type=int, default=99, help="tu: tokens before the end token (default: 99)")
    options.add_argument("--table", type=Path, help="take the docids of this table, [docno]<TAB>token,token,...")
    options.add_argument(
        "--subspaces", "--levels", type=int, dest="positions", help="pq, rq: tokens of a docid of --table"
    )
    options.add_argument("--centroids", type=int, help="pq, rq: tokens that each position of --table chooses from")
    options.add_argument(
        "--collisions",
        choices=("keep", "extend"),
        default="keep",
        help="documents of the same docid: keep it, or extend it by one more token that differs (default: keep)",
    )
    options.add_argument(
        "--order",
        choices=("training_queries", "shuffled"),
        required=True,
        help="of the table, in which documents of one docid are ranked: most training queries first, or by chance",
    )
    options.add_argument("--queries", type=Path, help="training_queries: queries with their split (Parquet)")
    options.add_argument("--qrels", type=Path, help="training_queries: relevance judgements (Parquet)")
    options.add_argument("--seed", type=int, required=True, help="seed of the shuffled order")
    options.add_argument("--output", type=Path, required=True, help="the docids (Parquet)")
    options.add_argument("--report", type=Path, required=True, help="collisions, distortion, code usage (JSON)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow as pa

    from ddro.core import tables
    from ddro.core.files import read_table, write_json, write_table
    from ddro.corpora.judgements import count_training_queries
    from ddro.docids.tokens import check_docids, collision_report, collisions, extend, ranking_order

    if arguments.order == "training_queries" and not (arguments.queries and arguments.qrels):
        raise UserError("--order training_queries needs --queries and --qrels.")
    of_documents = tables.columns(tables.CORPUS, "docno", "url", "title")  # no body: it is large
    corpus = read_table(arguments.corpus, of_documents, ["docno"])
    if not corpus.num_rows:
        raise UserError(f"{arguments.corpus}: there is no document to give a docid.")
    vocabulary_size = base_vocabulary(arguments.model)
    docids = docids_of_scheme(arguments, corpus, vocabulary_size)
    check_docids(
        docids.tokens, docids.names or corpus["docno"].to_pylist(), docids.allowed, docids.shortest, docids.end_token
    )
    groups = collisions(docids.tokens)
    shared = collision_report(groups)
    new_tokens = docids.first_new - vocabulary_size
    if arguments.collisions == "extend" and groups:
        extend(docids.tokens, groups, docids.first_new, docids.end_token)
        new_tokens += shared["largest"]
    lengths = list(map(len, docids.tokens))
    report = {
        "scheme": arguments.scheme,
        "table": arguments.table and str(arguments.table),
        "documents": len(lengths),
        "tokens": {"shortest": min(lengths), "longest": max(lengths), "mean": round(sum(lengths) / len(lengths), 3)},
        "new_tokens": new_tokens,
        "collisions": {"policy": arguments.collisions, **shared},
        **docids.report,
    }

    log.info("%d documents; docids of %d to %d tokens", len(lengths), min(lengths), max(lengths))
    if groups:
        log.info(
            "%d documents shared their docid with another: %d groups, of at most %d documents; %s",
            shared["documents"],
            shared["groups"],
            shared["largest"],
            f"each is ranked, in the order {arguments.order}"
            if arguments.collisions == "keep"
            else "one more token tells them apart",
        )
    else:
        log.info("no two documents share a docid")
    write_json(report, arguments.report)
    table = pa.table({"docno": corpus["docno"], "tokens": pa.array(docids.tokens, pa.list_(pa.int32()))})
    counted = None
    if arguments.order == "training_queries":
        counted = count_training_queries(arguments.queries, arguments.qrels)
    order = ranking_order(table["docno"].to_pylist(), counted, arguments.seed)
    write_table(table.take(order), arguments.output, tables.DOCIDS, ["docno"])


def docids_of_scheme(arguments: argparse.Namespace, corpus: "pa.Table", vocabulary_size: int) -> "Docids":
    """Read what the scheme needs, and make the docids."""
    from ddro.docids import schemes
    from ddro.docids.text_format import read_docid_table

    docnos, urls, titles = (corpus[name].to_pylist() for name in ("docno", "url", "title"))
    if arguments.table:
        return schemes.docids_of_table(
            arguments.scheme,
            docnos,
            read_docid_table(arguments.table),
            arguments.table,
            vocabulary_size,
            end_token=load_tokenizer(arguments.model).eos_token_id if arguments.scheme == "tu" else None,
            max_tokens=arguments.max_tokens,
            positions=arguments.positions,
            centroids=arguments.centroids,
        )
    if arguments.scheme == "atomic":
        return schemes.atomic_docids(len(docnos), vocabulary_size)
    if arguments.scheme == "tu":
        if arguments.max_tokens < 1:
            raise UserError(f"--max-tokens is {arguments.max_tokens}; it must be at least 1.")
        return schemes.docids_of_titles_and_urls(
            docnos,
            urls,
            titles,
            load_tokenizer(arguments.model),
            vocabulary_size,
            rule=arguments.rule,
            max_tokens=arguments.max_tokens,
            write=docid_writer(arguments.model, arguments.max_tokens) if arguments.rule == "generated" else None,
        )
    return schemes.docids_of_codes(*read_codebook_and_vectors(arguments, len(docnos)), vocabulary_size)


def docid_writer(folder: Path, max_tokens: int):
    """A function that lets the model write at most so many tokens for each text; on a GPU, if there is one."""
    from functools import partial

    import torch

    from ddro.models.frozen_encoder import FrozenEncoderT5
    from ddro.models.greedy import write_greedily
    from ddro.models.t5 import be_quiet, load

    be_quiet()
    model, tokenizer = load(folder)
    if isinstance(model, FrozenEncoderT5):
        raise UserError(f"{folder}: its decoder has no words, so it can't write docids (--rule generated).")
    model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return partial(write_greedily, model, tokenizer, max_input_tokens=LONGEST_TEXT, max_tokens=max_tokens)


def read_codebook_and_vectors(arguments: argparse.Namespace, documents: int):
    """The codebook, and the vectors of as many documents."""
    from ddro.docids import quantisation
    from ddro.docids.vectors import read_vectors

    if not (arguments.codebook and arguments.embeddings):
        raise UserError(f"--scheme {arguments.scheme} needs --codebook and --embeddings.")
    quantisation.use_threads()
    vectors = read_vectors(arguments.embeddings)
    if len(vectors) != documents:
        raise UserError(
            f"{arguments.embeddings} has {len(vectors)} vectors, but {arguments.corpus} has {documents} documents. "
            "Embed the documents again."
        )
    return quantisation.read_codebook(arguments.codebook), vectors


def load_tokenizer(model: Path):
    """The tokenizer of a model folder."""
    if not (model / "tokenizer.json").is_file():  # without it transformers makes up an empty tokenizer
        raise UserError(f"{model}: no tokenizer.json. Delete the folder and rerun.")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model, local_files_only=True)


def base_vocabulary(model: Path) -> int:
    """The model's number of embeddings; T5 has more (32,128) than its tokenizer has tokens (32,100)."""
    from ddro.core.files import read_json

    try:
        return read_json(model / "config.json")["vocab_size"]
    except (KeyError, TypeError) as error:
        raise UserError(f"{model}: no model folder, for its config.json has no vocab_size ({error!r}).") from error


if __name__ == "__main__":
    call_main(parser(), main)
