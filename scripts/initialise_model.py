"""Make the base model from nothing: a tokenizer trained on the corpus, and a T5 with random weights."""

import argparse
from pathlib import Path

from ddro.core import tables
from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_batches, read_table


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="the corpus (Parquet)")
    options.add_argument("--vocabulary-size", type=int, required=True, help="most pieces of the tokenizer")
    options.add_argument("--d-model", type=int, required=True, help="width of the model")
    options.add_argument("--d-kv", type=int, required=True, help="width of an attention head")
    options.add_argument("--d-ff", type=int, required=True, help="width of the feed-forward layers")
    options.add_argument("--layers", type=int, required=True, help="layers of the encoder")
    options.add_argument("--decoder-layers", type=int, required=True, help="layers of the decoder")
    options.add_argument("--heads", type=int, required=True, help="attention heads")
    options.add_argument("--embedding-std", type=float, required=True, help="standard deviation of the embeddings")
    options.add_argument("--seed", type=int, required=True, help="seed of the weights")
    options.add_argument("--output", type=Path, required=True, help="folder of model and tokenizer")
    return options


def main(arguments: argparse.Namespace) -> None:
    from ddro.models.t5 import be_quiet, initialise_t5, save_whole
    from ddro.models.tokenizer import train_tokenizer

    be_quiet()
    if not read_table(arguments.corpus, tables.columns(tables.CORPUS, "docno"), ["docno"]).num_rows:
        raise UserError(f"{arguments.corpus}: the corpus is empty.")
    parts = read_batches(arguments.corpus, tables.columns(tables.CORPUS, "title", "body"))
    texts = (
        f"{title} {body}"
        for part in parts
        for title, body in zip(part["title"].to_pylist(), part["body"].to_pylist(), strict=True)
    )
    tokenizer = train_tokenizer(texts, arguments.vocabulary_size)
    model = initialise_t5(
        len(tokenizer),
        d_model=arguments.d_model,
        d_kv=arguments.d_kv,
        d_ff=arguments.d_ff,
        layers=arguments.layers,
        decoder_layers=arguments.decoder_layers,
        heads=arguments.heads,
        embedding_std=arguments.embedding_std,
        seed=arguments.seed,
    )
    save_whole(model, tokenizer, arguments.output)
    log.info("%d tokens, %.1f million weights", len(tokenizer), model.num_parameters() / 1e6)


if __name__ == "__main__":
    call_main(parser(), main)
