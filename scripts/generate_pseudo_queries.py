"""Write pseudo queries for the documents of one shard of the corpus; started again, it goes on after the last block."""

import argparse
import shutil
from collections import Counter
from pathlib import Path

from ddro.core.command import UserError, call_main, log, progress, shard_of


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
    from ddro.doc2query import shards, writers
    from ddro.models.t5 import be_quiet

    be_quiet()
    part, parts = shard_of(arguments.shard)
    if arguments.beams and arguments.beams < arguments.per_document:
        raise UserError(f"--beams {arguments.beams}: must be at least --per-document {arguments.per_document}.")
    n_documents = shards.corpus_file(arguments.corpus).metadata.num_rows
    blocks = shards.shard_blocks(n_documents, part, parts)
    writers.check_engine(arguments.engine)
    model, tokenizer = writers.load_doc2query(arguments.model)
    writer = writers.WRITERS[arguments.engine](
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
        "model": shards.model_hash(arguments.model),
        "code": code_hash(Path(__file__)),
    }
    log.info("shard %s: %d blocks of %d documents", arguments.shard, len(blocks), shards.BLOCK)
    log.info("%s, %s on %s", arguments.engine, writer.compute_type, writer.device)

    finished = arguments.output.with_name(f".{arguments.output.name}.blocks")
    counts: Counter[str] = Counter()
    with progress(
        description="pseudo queries",
        unit="documents",
        total=max(0, min(n_documents, blocks.stop * shards.BLOCK) - blocks.start * shards.BLOCK),
    ) as bar:
        for number, documents in shards.corpus_blocks(arguments.corpus, blocks):
            path = finished / f"{number:06d}.parquet"
            wanted = settings | {"documents": shards.documents_hash(documents)}
            if path.exists():
                found = shards.read_metadata(path)
                remedy = f"Delete {finished} and rerun."
                shards.check_same(path, found["settings"], wanted, remedy)
                bar.initial += len(documents)  # no part of the rate
                bar.update(len(documents))
                counts["resumed_blocks"] += 1
                continue
            documents = [document for document in documents if shards.has_text(document)]
            writer.reseed(shards.block_seed(arguments.seed, number))
            texts, of_block = writers.write_queries(
                writer.write,
                writers.encode_documents(
                    tokenizer,
                    [writers.document_text(document["title"], document["body"]) for document in documents],
                    arguments.max_document_tokens,
                ),
                per_document=arguments.per_document,
                redraws=0 if arguments.beams else arguments.redraws,
                max_query_tokens=arguments.max_query_tokens,
                size=writers.BATCH_SIZE[writer.device],
                done=bar.update,
            )
            table = shards.rows_of([document["docno"] for document in documents], texts)
            shards.write_with_metadata([table], {"settings": wanted, "counts": of_block}, path)

    parts = [finished / f"{number:06d}.parquet" for number in blocks]
    for path in parts:
        counts.update(shards.read_metadata(path)["counts"])
    shards.write_with_metadata(
        (pq.read_table(path) for path in parts), {"settings": settings, "counts": counts}, arguments.output
    )
    shutil.rmtree(finished, ignore_errors=True)
    log.info(
        "%d queries were drawn again; %d repeat another of their document; %d are empty; %d blocks were there",
        *(counts[name] for name in ("drawn_again", "repeated", "empty", "resumed_blocks")),
    )


if __name__ == "__main__":
    call_main(parser(), main)
