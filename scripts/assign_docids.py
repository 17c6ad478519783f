"""Give every document its docid. Documents may share one; all stay retrievable, in the order of the corpus."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ddro.command import UserError, log, progress, run

if TYPE_CHECKING:
    import pyarrow as pa


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--scheme",
        choices=("pq", "tu", "atomic"),
        required=True,
        help="pq: codes of the document vector; tu: words of title or URL; atomic: one new token a document",
    )
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--model", type=Path, required=True, help="folder of the base model and its tokenizer")
    options.add_argument("--codebook", type=Path, help="pq: the codebook of the product quantisation")
    options.add_argument("--embeddings", type=Path, help="pq: folder of the document vectors")
    options.add_argument("--max-tokens", type=int, default=99, help="tu: tokens before the end token (default: 99)")
    options.add_argument("--output", type=Path, required=True, help="the docids (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow as pa

    from ddro import tables
    from ddro.docids import atomic_tokens, collision_sizes
    from ddro.files import read_table, write_table

    corpus = read_table(arguments.corpus, tables.CORPUS, ["docno"])
    if not corpus.num_rows:
        raise UserError(f"{arguments.corpus}: there is no document to give a docid.")
    vocabulary_size = base_vocabulary(arguments.model)
    if arguments.scheme == "pq":
        docids = pq_docids(arguments, corpus.num_rows, vocabulary_size)
    elif arguments.scheme == "tu":
        docids = tu_docids(arguments, corpus)
    else:
        docids = atomic_tokens(corpus.num_rows, vocabulary_size).tolist()

    lengths = [len(docid) for docid in docids]
    log.info("%d documents; docids of %d to %d tokens", len(docids), min(lengths), max(lengths))
    if groups := collision_sizes(docids):
        log.info(
            "%d documents share their docid with another: %d groups, of at most %d documents; each is ranked in the "
            "order of the corpus",
            sum(groups),
            len(groups),
            groups[0],
        )
    else:
        log.info("no two documents share a docid")
    table = pa.table({"docno": corpus["docno"], "tokens": pa.array(docids, pa.list_(pa.int32()))})
    write_table(table, arguments.output, tables.DOCIDS, ["docno"])


def pq_docids(arguments: argparse.Namespace, documents: int, vocabulary_size: int) -> list[list[int]]:
    """Docids of the scheme pq."""
    from ddro import quantisation
    from ddro.docids import pq_tokens

    if not (arguments.codebook and arguments.embeddings):
        raise UserError("--scheme pq needs --codebook and --embeddings.")
    quantisation.use_threads()
    vectors = quantisation.read_vectors(arguments.embeddings)
    if len(vectors) != documents:
        raise UserError(
            f"{arguments.embeddings} has {len(vectors)} vectors, but {arguments.corpus} has {documents} documents. "
            "Embed the documents again."
        )
    codebook = quantisation.read_codebook(arguments.codebook)
    codes = quantisation.encode(codebook, vectors)
    return pq_tokens(codes, quantisation.quantiser(codebook).ksub, vocabulary_size).tolist()


def tu_docids(arguments: argparse.Namespace, corpus: "pa.Table") -> list[list[int]]:
    """Docids of the scheme tu; logs what they are made of."""
    if arguments.max_tokens < 1:
        raise UserError(f"--max-tokens is {arguments.max_tokens}; it must be at least 1.")
    if not (arguments.model / "tokenizer.json").is_file():  # without it transformers makes up an empty tokenizer
        raise UserError(f"{arguments.model}: no tokenizer.json. Delete the folder and rerun.")
    from collections import Counter

    from transformers import AutoTokenizer

    from ddro.title_url import docid_text, docid_tokens

    tokenizer = AutoTokenizer.from_pretrained(arguments.model, local_files_only=True)
    columns = (corpus[name].to_pylist() for name in ("docno", "url", "title"))
    texts, made_of = zip(*map(docid_text, *columns), strict=True)
    for source, count in Counter(made_of).most_common():
        log.info("%d docids are made of %s", count, source)
    tokens = docid_tokens(texts, tokenizer, arguments.max_tokens)
    docids = list(progress(tokens, description="tokenise", unit="docids", total=len(texts)))
    cut = sum(len(docid) > arguments.max_tokens for docid in docids)
    unknown = sum(tokenizer.unk_token_id in docid for docid in docids)
    log.info(
        "%d docids have all %d tokens, so some may be cut; %d have an unknown one", cut, arguments.max_tokens, unknown
    )
    return docids


def base_vocabulary(model: Path) -> int:
    """The model's number of embeddings; T5 has more (32,128) than its tokenizer has tokens (32,100)."""
    from ddro.files import read_json

    try:
        return read_json(model / "config.json")["vocab_size"]
    except (OSError, KeyError, TypeError) as error:
        raise UserError(f"{model}: no model folder, for its config.json has no vocab_size ({error!r}).") from error


if __name__ == "__main__":
    run(parser(), main)
