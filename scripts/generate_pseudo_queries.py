"""Write pseudo queries for the documents of one shard of the corpus; started again, it goes on after the last block."""

import argparse
import shutil
from collections import Counter
from pathlib import Path

from ddro.core.command import UserError, log, progress, run, shard_of


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--model", type=Path, required=True, help="folder of the doc2query model")
    options.add_argument("--shard", default="1-of-1", help="part of the corpus, such as 3-of-8 (default: all of it)")
    options.add_argument("--engine", choices=["ctranslate2", "transformers"], required=True, help="what runs the model")
    options.add_argument("--per-document", type=int, required=True, help="pseudo queries a document")
    options.add_argument("--beams", type=int, help="width of a beam search (default: sample)")
    options.add_argument("--top-k", type=int, required=True, help="draw each token from so many most probable ones")
    options.add_argument("--redraws", type=int, required=True, help="draw a query that repeats another so often again")
    options.add_argument("--max-document-tokens", type=int, required=True, help="most tokens of a document")
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a pseudo query")
    options.add_argument("--seed", type=int, required=True, help="seed of the sampling")
    options.add_argument("--output", type=Path, required=True, help="the pseudo queries (Parquet)")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow.parquet as pq

    from ddro.core.code_hash import code_hash
    from ddro.doc2query import doc2query, pseudo_queries
    from ddro.models.seq2seq import be_quiet

    be_quiet()
    shard, shards = shard_of(arguments.shard)
    if arguments.beams and arguments.beams < arguments.per_document:
        raise UserError(f"--beams {arguments.beams}: must be at least --per-document {arguments.per_document}.")
    n_documents = pseudo_queries.corpus_file(arguments.corpus).metadata.num_rows
    blocks = pseudo_queries.shard_blocks(n_documents, shard, shards)
    model, tokenizer = doc2query.load_doc2query(arguments.model)
    writer = doc2query.WRITERS[arguments.engine](
        model,
        tokenizer,
        beams=arguments.beams,
        top_k=arguments.top_k,
        max_query_tokens=arguments.max_query_tokens,
    )
    del model  # CTranslate2 has weights of its own
    settings = {
        name: getattr(arguments, name)
        for name in ("engine", "per_document", "beams", "top_k", "redraws", "max_document_tokens", "max_query_tokens")
    } | {
        "seed": arguments.seed,
        "device": writer.device,
        "compute_type": writer.compute_type,
        "model": pseudo_queries.model_hash(arguments.model),
        "code": code_hash(Path(__file__)),
    }
    log.info("shard %s: %d blocks of %d documents", arguments.shard, len(blocks), pseudo_queries.BLOCK)
    log.info("%s, %s on %s", arguments.engine, writer.compute_type, writer.device)

    finished = arguments.output.with_name(f".{arguments.output.name}.blocks")
    counts: Counter[str] = Counter()
    with progress(
        description="pseudo queries",
        unit="documents",
        total=max(0, min(n_documents, blocks.stop * pseudo_queries.BLOCK) - blocks.start * pseudo_queries.BLOCK),
    ) as bar:
        for number, documents in pseudo_queries.corpus_blocks(arguments.corpus, blocks):
            path = finished / f"{number:06d}.parquet"
            wanted = settings | {"documents": pseudo_queries.documents_hash(documents)}
            if path.exists():
                found = pseudo_queries.read_metadata(path)
                remedy = f"Delete {finished} and rerun."
                pseudo_queries.check_same(path, found["settings"], wanted, remedy)
                bar.initial += len(documents)  # no part of the rate
                bar.update(len(documents))
                counts["resumed_blocks"] += 1
                continue
            documents = [document for document in documents if pseudo_queries.has_text(document)]
            writer.reseed(pseudo_queries.block_seed(arguments.seed, number))
            texts, of_block = doc2query.write_queries(
                writer.write,
                doc2query.encode_documents(
                    tokenizer,
                    [doc2query.document_text(document["title"], document["body"]) for document in documents],
                    arguments.max_document_tokens,
                ),
                per_document=arguments.per_document,
                redraws=0 if arguments.beams else arguments.redraws,
                max_query_tokens=arguments.max_query_tokens,
                size=doc2query.BATCH_SIZE[writer.device],
                done=bar.update,
            )
            table = pseudo_queries.rows_of([document["docno"] for document in documents], texts)
            pseudo_queries.write_with_metadata([table], {"settings": wanted, "counts": of_block}, path)

    parts = [finished / f"{number:06d}.parquet" for number in blocks]
    for path in parts:
        counts.update(pseudo_queries.read_metadata(path)["counts"])
    pseudo_queries.write_with_metadata(
        (pq.read_table(path) for path in parts), {"settings": settings, "counts": counts}, arguments.output
    )
    shutil.rmtree(finished, ignore_errors=True)
    log.info(
        "%d queries were drawn again; %d repeat another of their document; %d are empty; %d blocks were there",
        *(counts[name] for name in ("drawn_again", "repeated", "empty", "resumed_blocks")),
    )


if __name__ == "__main__":
    run(parser(), main)
