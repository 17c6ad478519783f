"""Show what each system ranks first for some test queries, side by side, the relevant documents marked."""

import argparse
from pathlib import Path

from ddro.core.command import call_main, log
from ddro.core.files import read_table, write_whole
from ddro.core.tables import CORPUS, PER_QUERY, QRELS, QUERIES, columns

SAMPLES, DEPTH = 12, 5
SYSTEMS = ("bm25", "sft", "ddro")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    for system in SYSTEMS:
        options.add_argument(f"--{system}", type=Path, required=True, help=f"run of {system} on the test queries")
    options.add_argument("--per-query", type=Path, required=True, help="measures of any system (Parquet): the groups")
    options.add_argument("--queries", type=Path, required=True, help="queries with their splits (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="relevant documents of the queries (Parquet)")
    options.add_argument("--corpus", type=Path, required=True, help="the documents (Parquet)")
    options.add_argument("--output", type=Path, required=True, help="the page (HTML)")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.core.text import smallest_hashes
    from ddro.report.samples import Sample, first_relevant, samples_page
    from ddro.retrieval.runs import read_run

    groups = read_table(arguments.per_query, PER_QUERY).to_pandas().groupby("qid")["group"].first()
    texts = read_table(arguments.queries, QUERIES, ["qid"]).to_pandas().set_index("qid")["text"]
    qrels = read_table(arguments.qrels, QRELS, ["qid", "docno"]).to_pandas().query("relevance >= 1")
    of_documents = columns(CORPUS, "docno", "title")
    titles = read_table(arguments.corpus, of_documents).to_pandas().set_index("docno")["title"]
    chosen = smallest_hashes(list(groups.index), SAMPLES)
    rankings = {}
    for system in SYSTEMS:
        frame = read_run(vars(arguments)[system]).to_pandas()
        rankings[system] = frame[frame["qid"].isin(chosen)].groupby("qid")["docno"].agg(list)
    samples = []
    for qid in chosen:
        relevant = frozenset(qrels.loc[qrels["qid"] == qid, "docno"])
        ranked = {system: of_all.get(qid, []) for system, of_all in rankings.items()}
        ranks = {system: first_relevant(ranking, relevant) for system, ranking in ranked.items()}
        samples.append(Sample(texts[qid], groups[qid], relevant, ranked, ranks))
    with write_whole(arguments.output) as temporary:
        temporary.write_text(samples_page(samples, titles, DEPTH), encoding="utf-8")
    log.info("%d queries", len(samples))


if __name__ == "__main__":
    call_main(parser(), main)
