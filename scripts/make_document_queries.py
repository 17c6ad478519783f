"""Write queries from the documents themselves: the title of each, and the first sentence of its body."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_batches, read_table
from ddro.core.text import LEAST_CONTENT_WORDS, can_be_query, first_sentence
from ddro.corpora.judgements import MadeQuery, add_tables_options, write_with_made_queries


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    add_tables_options(options)
    return options


def main(arguments: argparse.Namespace) -> None:
    documents = read_table(arguments.corpus, tables.columns(tables.CORPUS, "docno"), ["docno"]).num_rows
    columns = tables.columns(tables.CORPUS, "docno", "title", "body")
    texts = [
        MadeQuery(f"{part}-{row['docno']}", text, row["docno"])
        for some in read_batches(arguments.corpus, columns)
        for row in some.to_pylist()
        for part, text in (("title", row["title"]), ("sentence", first_sentence(row["body"])))
    ]
    quoted = [query for query in texts if can_be_query(query.text)]
    if not quoted:
        raise UserError(
            f"{arguments.corpus}: no title and no first sentence has {LEAST_CONTENT_WORDS} content words, so "
            "documents ask nothing. Leave documents out of negatives.queries in the recipe: [train]."
        )
    write_with_made_queries(
        quoted,
        "documents",
        queries=arguments.queries,
        qrels=arguments.qrels,
        output_queries=arguments.output_queries,
        output_qrels=arguments.output_qrels,
    )
    log.info("%d queries of %d documents", len(quoted), documents)
    log.info("%d titles and sentences with fewer than %d content words", len(texts) - len(quoted), LEAST_CONTENT_WORDS)


if __name__ == "__main__":
    call_main(parser(), main)
