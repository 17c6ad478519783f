"""Rank documents for the queries of one split by the embedding model's own similarity, exactly (no codes, no beams)."""

import argparse
import time
from pathlib import Path

from ddro.core import tables
from ddro.core.command import UserError, call_main, log, progress

QUERIES_A_BATCH = 256


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--embeddings", type=Path, required=True, help="the documents' vectors (embed_documents.py)")
    options.add_argument("--model", required=True, help="the model that made them: a folder, or package:NAME")
    options.add_argument("--queries", type=Path, required=True, help="queries with their splits (Parquet)")
    options.add_argument("--split", choices=tables.QUERY_SETS, required=True, help="rank for the queries of this split")
    options.add_argument("--depth", type=int, default=1000, help="documents a query (default: 1000)")
    options.add_argument("--output-run", type=Path, required=True, help="the run (Parquet), sorted by qid, then rank")
    options.add_argument("--output-timing", type=Path, required=True, help="seconds and sizes (JSON)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow.parquet as pq

    from ddro.core.files import read_json, read_table, write_json, write_whole
    from ddro.corpora.judgements import read_own_documents, read_queries
    from ddro.docids.embedding import load_model
    from ddro.docids.vectors import read_vectors
    from ddro.retrieval.dense import nearest
    from ddro.retrieval.runs import run_table, summarise_timings, without_own_documents

    if arguments.depth < 1:
        raise UserError(f"--depth {arguments.depth}: must be 1 or more.")
    corpus = read_table(arguments.corpus, tables.columns(tables.CORPUS, "docno"), ["docno"])
    docnos = corpus["docno"].combine_chunks()
    vectors = read_vectors(arguments.embeddings)
    if len(vectors) != len(docnos):
        raise UserError(
            f"{arguments.embeddings} has {len(vectors)} vectors, {arguments.corpus} {len(docnos)} documents. "
            "Delete the embeddings and run snakemake."
        )
    made_with = read_json(arguments.embeddings / "model.json")
    model = load_model(arguments.model, made_with["max_tokens"], made_with["dtype"])
    cosine = model.similarity_fn_name == "cosine"
    queries = sorted(read_queries(arguments.queries, arguments.split))
    own = read_own_documents(arguments.queries)
    depth = arguments.depth + bool(own)
    log.info("%d documents, %s of %d dimensions", len(docnos), model.similarity_fn_name, vectors.shape[1])
    batches = []
    with (
        write_whole(arguments.output_run) as temporary,
        pq.ParquetWriter(temporary, tables.RUN, compression="zstd") as writer,
        progress(description=f"search {arguments.split}", unit="queries", total=len(queries)) as bar,
    ):
        for start in range(0, len(queries), QUERIES_A_BATCH):
            begun = time.perf_counter()
            batch = queries[start : start + QUERIES_A_BATCH]
            texts = [text for _, text in batch]
            encoded = model.encode_query(texts, batch_size=64, show_progress_bar=False)
            rows, scores = nearest(vectors, encoded, depth, cosine=cosine)
            batches.append({"queries": len(batch), "seconds": time.perf_counter() - begun})
            run = run_table([qid for qid, _ in batch], list(zip(rows, scores, strict=True)), docnos)
            writer.write_table(without_own_documents(run, own, arguments.depth))
            bar.update(len(batch))
    timing = {"batches": batches, "beams": None, "precision": str(model.dtype).removeprefix("torch.")}
    timing |= {"device": str(model.device), "trie_bytes": vectors.nbytes}
    timing["model_bytes"] = sum(parameter.nbytes for parameter in model.parameters())
    write_json(summarise_timings([timing]), arguments.output_timing)


if __name__ == "__main__":
    call_main(parser(), main)
