"""Unite the pseudo queries of all shards, and check that each document has all of its queries."""

import argparse
from collections import Counter
from pathlib import Path

from ddro.core.command import call_main, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--shards", type=Path, nargs="+", required=True, help="pseudo queries (Parquet), in order")
    options.add_argument("--per-document", type=int, required=True, help="pseudo queries a document")
    options.add_argument("--output", type=Path, required=True, help="all pseudo queries (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.doc2query.shards import check_same, read_metadata, union_of_shards, write_with_metadata

    settings = read_metadata(arguments.shards[0])["settings"]
    counts: Counter[str] = Counter()
    for path in arguments.shards:
        metadata = read_metadata(path)
        check_same(path, metadata["settings"], settings, f"{arguments.shards[0]} has these. Delete both and rerun.")
        counts.update(metadata["counts"])
    tables = union_of_shards(arguments.shards, arguments.corpus, arguments.per_document, counts)
    write_with_metadata(tables, {"settings": settings, "counts": counts}, arguments.output)
    log.info(
        "%d pseudo queries of %d documents; %d repeat another of their document; left out: %d empty ones, and %d "
        "documents without text",
        *(counts[name] for name in ("queries", "documents", "repeated", "empty", "documents_without_text")),
    )


if __name__ == "__main__":
    call_main(parser(), main)
