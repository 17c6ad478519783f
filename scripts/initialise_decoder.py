"""Make the base model: a pretrained encoder that stays as it is, and a T5 decoder with random weights above it."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--source", required=True, help="package:NAME, the encoder inside an installed Python package")
    options.add_argument("--d-kv", type=int, required=True, help="width of an attention head")
    options.add_argument("--d-ff", type=int, required=True, help="width of the feed-forward layers")
    options.add_argument("--decoder-layers", type=int, required=True, help="layers of the decoder")
    options.add_argument("--heads", type=int, required=True, help="attention heads")
    options.add_argument("--embedding-std", type=float, required=True, help="standard deviation of the embeddings")
    options.add_argument("--seed", type=int, required=True, help="seed of the weights")
    options.add_argument("--output", type=Path, required=True, help="folder of model and tokenizer")
    return options


def main(arguments: argparse.Namespace) -> None:
    from safetensors import SafetensorError

    from ddro.core.packages import model_folder
    from ddro.models.frozen_encoder import initialise_decoder
    from ddro.models.t5 import be_quiet, save_whole

    be_quiet()
    try:
        model, tokenizer = initialise_decoder(
            model_folder(arguments.source),
            d_kv=arguments.d_kv,
            d_ff=arguments.d_ff,
            decoder_layers=arguments.decoder_layers,
            heads=arguments.heads,
            embedding_std=arguments.embedding_std,
            seed=arguments.seed,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"--source {arguments.source}: no encoder with safetensors weights there ({error}).") from error
    save_whole(model, tokenizer, arguments.output)
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    log.info(
        "%.1f million weights, and %.1f million of the encoder, which stay as they are",
        trained / 1e6,
        (model.num_parameters() - trained) / 1e6,
    )


if __name__ == "__main__":
    call_main(parser(), main)
