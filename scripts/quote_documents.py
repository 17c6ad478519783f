"""Write queries from the documents themselves: the title of each, and the first sentence of its body."""

import argparse
from pathlib import Path

import pyarrow as pa

from ddro import tables
from ddro.command import UserError, log, run
from ddro.files import read_table, write_table
from ddro.text import content_stems, first_sentence

LEAST_WORDS = 2
"""Content words that a text must have to be a query."""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="all other queries (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="their judgements (Parquet)")
    options.add_argument("--output-queries", type=Path, required=True, help="both kinds of queries (Parquet)")
    options.add_argument("--output-qrels", type=Path, required=True, help="judgements of both (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    corpus = read_table(arguments.corpus, tables.CORPUS, ["docno"])
    queries = read_table(arguments.queries, tables.QUERIES, ["qid"])
    qrels = read_table(arguments.qrels, tables.QRELS, ["qid", "docno"])
    columns = (corpus[name].to_pylist() for name in ("docno", "title", "body"))
    texts = [
        (f"{part}-{docno}", text, docno)
        for docno, title, body in zip(*columns, strict=True)
        for part, text in (("title", title), ("sentence", first_sentence(body)))
    ]
    quoted = [row for row in texts if len(content_stems(row[1])) >= LEAST_WORDS]
    if not quoted:
        raise UserError(f"{arguments.corpus}: no title and no first sentence has {LEAST_WORDS} content words.")
    more_queries = [{"qid": qid, "text": text, "split": "documents"} for qid, text, _ in quoted]
    more_qrels = [{"qid": qid, "docno": docno, "relevance": 1} for qid, _, docno in quoted]
    for table, more, path, schema, key in (
        (queries, more_queries, arguments.output_queries, tables.QUERIES, ["qid"]),
        (qrels, more_qrels, arguments.output_qrels, tables.QRELS, ["qid", "docno"]),
    ):
        write_table(pa.concat_tables([table, pa.Table.from_pylist(more, schema)]), path, schema, key)
    log.info("%d queries of %d documents", len(quoted), corpus.num_rows)
    log.info("%d titles and sentences with fewer than %d content words", len(texts) - len(quoted), LEAST_WORDS)


if __name__ == "__main__":
    run(parser(), main)
