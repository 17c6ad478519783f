"""Read pseudo queries of others, lines of [docno]<TAB>text or JSON, and check them against the corpus."""

import argparse
from collections import Counter
from pathlib import Path

from ddro.core.command import UserError, call_main, log

TOLERANCE = 0.01
"""Share of malformed lines, and of documents without a query, above which the file is taken for the wrong one."""


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--published", type=Path, required=True, help="text file, gzip if its name ends in .gz")
    options.add_argument("--per-document", type=int, required=True, help="take so many queries of a document at most")
    options.add_argument("--output", type=Path, required=True, help="the pseudo queries (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core.lines import SourceLines
    from ddro.doc2query.shards import corpus_documents, published_queries, rows_of, write_with_metadata

    docnos = [document["docno"] for document in corpus_documents(arguments.corpus)]
    counts: Counter[str] = Counter()
    lines = SourceLines(arguments.published, TOLERANCE)
    queries = published_queries(lines, docnos, arguments.per_document, counts)
    counts["lines_of_another_form"] = lines.rejected.total()
    counts["documents"] = len(docnos)
    counts["queries"] = sum(map(len, queries))
    counts["repeated"] = counts["queries"] - sum(len(set(texts)) for texts in queries)
    without = [docno for docno, texts in zip(docnos, queries, strict=True) if not texts]
    counts["documents_without_queries"] = len(without)
    log.info("%s", ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in sorted(counts.items())))
    if len(without) > TOLERANCE * len(docnos):
        raise UserError(
            f"{arguments.published}: {len(without)} of {len(docnos)} documents of {arguments.corpus} have no query in "
            f"it, such as {without[0]!r}. Is it of another corpus? Without it, set doc2query.published to null."
        )
    settings = {"published": str(arguments.published), "per_document": arguments.per_document}
    write_with_metadata([rows_of(docnos, queries)], {"settings": settings, "counts": counts}, arguments.output)


if __name__ == "__main__":
    call_main(parser(), main)
