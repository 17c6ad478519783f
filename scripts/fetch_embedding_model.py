"""Fetch a sentence-transformers model from the hub, for jobs that have no network."""

import argparse
from pathlib import Path

from ddro.core.command import UserError, call_main, in_one_line, log


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", required=True, help="the hub's name of the model")
    options.add_argument("--revision", help="the hub's revision (a commit hash)")
    options.add_argument("--output", type=Path, required=True, help="folder of the model")
    return options


def main(arguments: argparse.Namespace) -> None:
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    from ddro.core.files import write_whole

    disable_progress_bar()
    try:
        model = SentenceTransformer(
            arguments.model, revision=arguments.revision, device="cpu", model_kwargs={"use_safetensors": True}
        )
    except Exception as error:  # the libraries': of the hub, of the network, of a proxy, of what was fetched
        raise UserError(
            f"{arguments.model}: no embedding model could be fetched ({in_one_line(error)}). Fetch it where there is "
            "network, or name a folder with a model of sentence-transformers as embedding.model in the recipe."
        ) from error
    with write_whole(arguments.output) as folder:
        model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
    log.info("%s: vectors of %d dimensions", arguments.model, model.get_embedding_dimension())


if __name__ == "__main__":
    call_main(parser(), main, hub=True)
