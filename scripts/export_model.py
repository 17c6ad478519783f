"""Export a trained model: weights, tokenizer, docids, test set, generation settings and a model card in one folder.

Plain transformers loads the folder, and retrieve_published.py evaluates it. With --push it goes to the hub.
"""

import argparse
import json
from pathlib import Path

from ddro.core import tables
from ddro.core.command import UserError, call_main, log
from ddro.core.files import read_json, read_table, write_whole


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--name", required=True, help="of the model, for its card")
    options.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their splits (Parquet)")
    options.add_argument("--qrels", type=Path, required=True, help="relevant documents of the queries (Parquet)")
    options.add_argument("--metrics", type=Path, required=True, help="measures on the test queries (JSON)")
    options.add_argument("--recipe", type=json.loads, required=True, help="all settings that it was made with (JSON)")
    options.add_argument("--beams", type=int, required=True, help="width of the beam")
    options.add_argument(
        "--length-penalty", type=float, required=True, help="a docid's score is divided by length^this: 0 or 1"
    )
    options.add_argument("--max-query-tokens", type=int, required=True, help="a query is cut to this length")
    options.add_argument("--padding", type=int, help="tokens that docids are padded to (default: none)")
    options.add_argument("--push", metavar="OWNER/MODEL", help="upload to this repository of the hub, too")
    options.add_argument("--output", type=Path, required=True, help="folder that is made")
    return options


def main(arguments: argparse.Namespace) -> None:
    import shutil

    from ddro.corpora.judgements import read_queries
    from ddro.docids.text_format import write_docid_table
    from ddro.models.export import model_card, sha256, test_lines
    from ddro.models.t5 import be_quiet, load
    from ddro.models.tokenizer import LOWER_CASE, encode

    be_quiet()
    model, tokenizer = load(arguments.model)
    docids = read_table(arguments.docids, tables.DOCIDS, ["docno"])
    tests = dict(read_queries(arguments.queries, "test"))
    tokens = encode(tokenizer, list(tests.values()), arguments.max_query_tokens)
    input_ids = dict(zip(tests, tokens, strict=True))
    qrels = read_table(arguments.qrels, tables.QRELS, ["qid", "docno"]).to_pylist()

    with write_whole(arguments.output) as folder:
        folder.mkdir()
        for path in sorted(arguments.model.glob("*.json")) + sorted(arguments.model.glob("*.safetensors")):
            shutil.copyfile(path, folder / path.name)
        write_docid_table(docids["docno"].to_pylist(), docids["tokens"].to_pylist(), folder / "docids.txt")
        (folder / "tests.jsonl").write_text("".join(test_lines(qrels, input_ids, docids.to_pylist())), encoding="utf-8")
        decoding = {"beams": arguments.beams, "length_penalty": arguments.length_penalty}
        decoding["max_query_tokens"] = arguments.max_query_tokens
        decoding["padding"] = arguments.padding
        decoding["tied_head"] = bool(model.config.tie_word_embeddings)
        decoding["frozen_encoder"] = model.config.model_type == "frozen_encoder"
        decoding["lower_case"] = bool(tokenizer.init_kwargs.get(LOWER_CASE))
        (folder / "decoding.json").write_text(json.dumps(decoding, indent=2) + "\n", encoding="utf-8")
        (folder / "recipe.json").write_text(json.dumps(arguments.recipe, indent=2) + "\n", encoding="utf-8")
        hashes = {path.name: sha256(path) for path in sorted(folder.iterdir())}
        card = model_card(arguments.name, read_json(arguments.metrics), decoding, hashes, model.num_parameters())
        (folder / "README.md").write_text(card, encoding="utf-8")
    log.info("%s: %d files", arguments.output, len(hashes) + 1)
    if arguments.push:
        push(arguments.output, arguments.push)


def push(folder: Path, repository: str) -> None:
    """Upload the folder, as who is logged in (`hf auth login`)."""
    from httpx2 import HTTPError
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().create_repo(repository, exist_ok=True)
        HfApi().upload_folder(repo_id=repository, folder_path=folder)
    except (OSError, ValueError, HTTPError, HfHubHTTPError) as error:
        raise UserError(f"{repository}: not uploaded ({error}). The folder {folder} is whole; try again.") from error
    log.info("uploaded to %s", repository)


if __name__ == "__main__":
    call_main(parser(), main, hub=True)
