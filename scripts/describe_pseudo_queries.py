"""Describe the pseudo queries: how often they repeat, how long they are, whose words they have, what BM25 finds."""

import argparse
from pathlib import Path

from ddro.core.command import call_main, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--pseudo-queries", type=Path, required=True, help="all pseudo queries (Parquet)")
    options.add_argument("--kept", type=Path, required=True, help="those that the filter kept (Parquet)")
    options.add_argument("--ranks", type=Path, required=True, help="BM25 ranks of their documents (Parquet)")
    options.add_argument("--output-json", type=Path, required=True, help="the numbers (JSON)")
    options.add_argument("--output-html", type=Path, required=True, help="the numbers, and ten documents' queries")
    options.add_argument("--output-figure", type=Path, required=True, help="lengths and BM25 ranks (SVG)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow.parquet as pq

    from ddro.core.files import write_json, write_whole
    from ddro.doc2query.quality import quality, with_documents
    from ddro.doc2query.shards import read_metadata
    from ddro.report.figures import pseudo_query_figure, save_svg
    from ddro.report.pseudo_queries import quality_page

    documents = with_documents(arguments.pseudo_queries, arguments.corpus)
    ranks = pq.read_table(arguments.ranks)["bm25_rank"].to_numpy()
    numbers, samples, lengths = quality(documents, ranks, pq.read_metadata(arguments.kept).num_rows)
    numbers |= read_metadata(arguments.pseudo_queries)
    write_json(numbers, arguments.output_json)
    with write_whole(arguments.output_html) as temporary:
        temporary.write_text(quality_page(numbers, samples), encoding="utf-8")
    save_svg(pseudo_query_figure(lengths, ranks), arguments.output_figure)
    log.info(
        "%d pseudo queries: %.1f words each; %.1f %% repeat another of their document; %.1f %% of the words are in it; "
        "BM25 ranks it first for %.1f %%, among the first ten for %.1f %%",
        numbers["queries"],
        numbers["mean_words"],
        100 * numbers["share_repeated"],
        100 * numbers["share_of_words_in_document"],
        100 * numbers["share_bm25_rank_1"],
        100 * numbers["share_bm25_rank_10"],
    )


if __name__ == "__main__":
    call_main(parser(), main)
