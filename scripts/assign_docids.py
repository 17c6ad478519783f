"""Give every document its docid, and report how many documents share one."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddro.core.command import UserError, log, progress, run

if TYPE_CHECKING:
    import pyarrow as pa

END, FIRST_WORD = 1, 2  # T5's padding is 0


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
        choices=("ours", "authors", "ultron"),
        default="ours",
        help="tu: what a docid is made of (default: ours)",
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


@dataclass
class Docids:
    """The docids of a scheme, before collisions are dealt with.

    Attributes:
        tokens: of each document.
        allowed: the tokens that may stand at each position.
        first_new: the first token that neither the model nor the scheme has.
        shortest: tokens that each docid has at least.
        end_token: what every docid ends with, or None.
        report: what the scheme has to tell.
        names: what messages call each document, where that isn't its docno.
    """

    tokens: list[list[int]]
    allowed: list[range]
    first_new: int
    shortest: int = 1
    end_token: int | None = None
    report: dict[str, Any] = field(default_factory=dict)
    names: list[str] | None = None


def main(arguments: argparse.Namespace) -> None:
    import pyarrow as pa

    from ddro.core import tables
    from ddro.core.files import read_table, write_json, write_table
    from ddro.corpora.judgements import count_training_queries
    from ddro.docids.tokens import check_docids, collision_report, collisions, extend, ranking_order

    if arguments.order == "training_queries" and not (arguments.queries and arguments.qrels):
        raise UserError("--order training_queries needs --queries and --qrels.")
    corpus = read_table(arguments.corpus, tables.CORPUS, ["docno"])
    if not corpus.num_rows:
        raise UserError(f"{arguments.corpus}: there is no document to give a docid.")
    vocabulary_size = base_vocabulary(arguments.model)
    docids = (of_table if arguments.table else of_scheme)(arguments, corpus, vocabulary_size)
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


def of_scheme(arguments: argparse.Namespace, corpus: "pa.Table", vocabulary_size: int) -> Docids:
    """Docids made from the documents."""
    if arguments.scheme in ("pq", "rq"):
        return of_codes(arguments, corpus.num_rows, vocabulary_size)
    if arguments.scheme == "tu":
        return of_titles_and_urls(arguments, corpus, vocabulary_size)
    from ddro.docids.tokens import atomic_tokens

    end = vocabulary_size + corpus.num_rows
    return Docids(atomic_tokens(corpus.num_rows, vocabulary_size).tolist(), [range(vocabulary_size, end)], end)


def of_codes(arguments: argparse.Namespace, documents: int, vocabulary_size: int) -> Docids:
    """Docids of the codes of the document vectors."""
    from ddro.docids import quantisation
    from ddro.docids.tokens import code_tokens, code_usage
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
    codebook = quantisation.read_codebook(arguments.codebook)
    codes = quantisation.encode(codebook, vectors)
    positions, centroids = codes.shape[1], quantisation.centroids_of(codebook)
    distortion = quantisation.relative_distortion(codebook, vectors, codes)
    log.info(
        "%d codes of %d centroids leave %.1f %% of the variance unexplained", positions, centroids, 100 * distortion
    )
    report = {"centroids": centroids, "relative_distortion": round(distortion, 6), **code_usage(codes, centroids)}
    tokens = code_tokens(codes, centroids, vocabulary_size).tolist()
    return Docids(tokens, *code_ranges(positions, centroids, vocabulary_size), shortest=positions, report=report)


def code_ranges(positions: int, centroids: int, vocabulary_size: int) -> tuple[list[range], int]:
    """The tokens of each position of a docid of codes, and the first token behind them."""
    bounds = [vocabulary_size + centroids * position for position in range(positions + 1)]
    return [range(*pair) for pair in zip(bounds, bounds[1:], strict=False)], bounds[-1]


def of_titles_and_urls(arguments: argparse.Namespace, corpus: "pa.Table", vocabulary_size: int) -> Docids:
    """Docids of the scheme tu; logs what they are made of."""
    if arguments.max_tokens < 1:
        raise UserError(f"--max-tokens is {arguments.max_tokens}; it must be at least 1.")
    from collections import Counter
    from itertools import repeat

    from ddro.docids.title_url import docid_text, docid_tokens
    from ddro.docids.tokens import with_tokens_of_its_own

    tokenizer = load_tokenizer(arguments.model)
    columns = (corpus[name].to_pylist() for name in ("docno", "url", "title"))
    texts, made_of = zip(*map(docid_text, *columns, repeat(arguments.rule)), strict=True)
    counts = dict(Counter(made_of).most_common())
    for source, count in counts.items():
        log.info("%d docids are made of %s", count, source)
    tokens = docid_tokens(texts, tokenizer, arguments.max_tokens)
    docids = list(progress(tokens, description="tokenise", unit="docids", total=len(texts)))
    cut = sum(len(docid) > arguments.max_tokens for docid in docids)
    unknown = sum(tokenizer.unk_token_id in docid for docid in docids)
    log.info(
        "%d docids have all %d tokens, so some may be cut; %d have an unknown one", cut, arguments.max_tokens, unknown
    )
    allowed = [range(FIRST_WORD, vocabulary_size)] * arguments.max_tokens
    end, first_new = tokenizer.eos_token_id, vocabulary_size
    if vocabulary_size < len(tokenizer):  # a decoder that has no words
        docids, first_new = with_tokens_of_its_own(docids, end, END, vocabulary_size)
        allowed, end = [range(vocabulary_size, first_new)] * arguments.max_tokens, END
    report = {"made_of": counts, "of_all_tokens": cut, "with_unknown_token": unknown}
    return Docids(docids, allowed, first_new, 0, end, report)


def of_table(arguments: argparse.Namespace, corpus: "pa.Table", vocabulary_size: int) -> Docids:
    """Docids of a published table, as far as the corpus has their documents."""
    from ddro.docids.text_format import docids_of, read_docid_table

    published = read_docid_table(arguments.table)
    stripped = sum(len(entry.open_docid) < len(entry.tokens) for entry in published.values())
    tokens, names = docids_of(corpus["docno"].to_pylist(), published, arguments.table)
    report = {"left_out": len(published) - len(tokens), "without_padding": stripped}
    log.info(
        "%s: %d docids, of which %d of no document of the corpus", arguments.table, len(published), report["left_out"]
    )
    log.info("%d docids had padding or an end token, which is left out", stripped)
    if arguments.scheme == "tu":
        end = load_tokenizer(arguments.model).eos_token_id
        allowed = [range(FIRST_WORD, vocabulary_size)] * arguments.max_tokens
        return Docids([[*docid, end] for docid in tokens], allowed, vocabulary_size, 1, end, report, names)
    if arguments.scheme == "atomic":
        highest = max((docid[0] for docid in tokens if docid), default=vocabulary_size) + 1
        return Docids(tokens, [range(vocabulary_size, highest)], highest, report=report, names=names)
    if not (arguments.positions and arguments.centroids):
        raise UserError(f"--table with --scheme {arguments.scheme} needs --subspaces (or --levels) and --centroids.")
    ranges, first_new = code_ranges(arguments.positions, arguments.centroids, vocabulary_size)
    return Docids(tokens, ranges, first_new, arguments.positions, None, report, names)


def load_tokenizer(model: Path):  # noqa: ANN201 - takes seconds to import
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
    run(parser(), main)
