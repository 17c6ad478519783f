"""Fetch a pretrained encoder-decoder model and its tokenizer from the hub, or copy them from a folder."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, in_one_line, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--source", required=True, help="the hub's name of the model, or a folder")
    options.add_argument("--revision", help="the hub's revision (a commit hash)")
    options.add_argument("--output", type=Path, required=True, help="folder of model and tokenizer")
    return options


def main(arguments: argparse.Namespace) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from ddro.models.t5 import be_quiet, note_whether_tied, save_whole

    be_quiet()
    where = {"revision": arguments.revision} if arguments.revision else {}
    try:
        model = AutoModelForSeq2SeqLM.from_pretrained(arguments.source, use_safetensors=True, **where)
        tokenizer = AutoTokenizer.from_pretrained(arguments.source, **where)
    except Exception as error:  # the libraries': of the hub, of the network, of a proxy, of what was fetched
        raise UserError(
            f"{arguments.source}: no model could be fetched ({in_one_line(error)}). Fetch it where there is "
            "network, or name a folder with config.json, model.safetensors and the tokenizer's files as model.source "
            "in the recipe."
        ) from error
    note_whether_tied(model)
    save_whole(model, tokenizer, arguments.output)
    log.info("%s: %.1f million weights", arguments.source, model.num_parameters() / 1e6)


if __name__ == "__main__":
    call_main(parser(), main, hub=True)
