"""What an exported model has beside its weights: docids, test set and model card, as text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddro.core.tables import MEASURES


def test_lines(
    qrels: Iterable[Mapping[str, Any]], input_ids: Mapping[str, Sequence[int]], docids: Iterable[Mapping[str, Any]]
) -> Iterator[str]:
    """JSON lines in the form that `hub.read_test_set` describes: one per judgement of a query of ``input_ids``.

    Args:
        qrels: rows of `tables.QRELS`; those of relevance 0 or less are left out.
        input_ids: the tokens of each query by its qid.
        docids: rows of `tables.DOCIDS`.
    """
    tokens = {row["docno"]: ",".join(map(str, row["tokens"])) for row in docids}
    for row in qrels:
        if row["qid"] in input_ids and row["relevance"] > 0:
            line = {"query_id": row["docno"], "doc_id": tokens[row["docno"]], "input_ids": input_ids[row["qid"]]}
            yield json.dumps(line) + "\n"


test_lines.__test__ = False  # not pytest's


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


WITH_TRANSFORMERS = """\
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
    model = AutoModelForSeq2SeqLM.from_pretrained("{name}")
    tokenizer = AutoTokenizer.from_pretrained("{name}")"""
WITH_PIPELINE = """\
    from ddro.models.t5 import load  # of the pipeline's folder scripts, which has to be on sys.path
    model, tokenizer = load(".")"""


def model_card(
    name: str, metrics: Mapping[str, Any], decoding: Mapping[str, Any], hashes: Mapping[str, str], parameters: int
) -> str:
    """The README.md of a model's repository: data, how to use it, measures, and the hash of each file.

    Args:
        name: of the model.
        metrics: what evaluate.py wrote of it.
        decoding: ``beams``, ``length_penalty``, ``max_query_tokens``, ``padding``, ``tied_head``, ``frozen_encoder``,
            ``lower_case``.
        hashes: SHA-256 by file name.
        parameters: number of weights.
    """
    overall = metrics["groups"]["all"]
    measures = ""
    for measure in MEASURES:
        interval = " to ".join(f"{end:.4f}" for end in overall["intervals"][measure] or ()) or "-"
        measures += f"| {measure} | {overall[measure]:.4f} | {interval} |\n"
    files = "".join(f"| {file} | `{digest}` |\n" for file, digest in hashes.items())
    loading = WITH_PIPELINE if decoding["frozen_encoder"] else WITH_TRANSFORMERS
    case = " Write queries in lower case: plain transformers doesn't do it." if decoding["lower_case"] else ""
    head = "--tied-head" if decoding["tied_head"] else "--no-tied-head"
    padding = f" --padding {decoding['padding']}" if decoding["padding"] else ""
    return f"""---
library_name: transformers
tags: [generative-retrieval, ddro, t5]
---

# {name}

A T5 of {parameters:,} weights that answers a query with the docid of a document (generative retrieval), made by the
DDRO pipeline: supervised fine-tuning, then Direct Document Relevance Optimization (doi 10.1145/3726302.3730023).
`recipe.json` holds every setting, `docids.txt` the docid of each document, `tests.jsonl` the test queries.

{loading.format(name=name)}

Only docids of `docids.txt` are answers, so decode with them as constraint, {decoding["beams"]} beams, queries of at
most {decoding["max_query_tokens"]} tokens.{case} With the pipeline's code, in this folder:

    python scripts/retrieve_published.py --model . --docids docids.txt --tests tests.jsonl {head} \\
        --beams {decoding["beams"]} --length-penalty {decoding["length_penalty"]:g}{padding} \\
        --max-query-tokens {decoding["max_query_tokens"]} --output evaluation

## Measures

On {overall["n_queries"]} test queries (protocol `{metrics["protocol"]}`), with 95 % bootstrap intervals.

| measure | value | interval |
|---|---|---|
{measures}
## Files

| file | SHA-256 |
|---|---|
{files}"""
