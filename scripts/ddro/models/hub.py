"""Published checkpoints: a model, a table of docids and a test set from the Hugging Face hub, and whether they fit.

The files have the form in which the authors of DDRO published theirs. A docid table is text, a line per document:
docno, tab, token ids with commas (0 is padding). A test set is JSON lines, one per query and relevant document:
``input_ids``, the query's tokens; ``query_id``, which is the docno of the relevant document; ``doc_id``, its token ids
with commas.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ddro.core.command import UserError
from ddro.core.lines import SourceLines
from ddro.docids.text_format import END, PADDING, read_docid_table, without_brackets

MOST_UNMATCHED = 0.01
"""Share of the test lines that may have no document, or another docid, in the docid table: they count as misses."""


class TestLine(NamedTuple):
    """A query and the document that is relevant to it."""

    __test__ = False  # not pytest's

    docno: str
    docid: tuple[int, ...]
    input_ids: list[int]


def fetch(source: str, revision: str | None = None) -> Path:
    """The path of a folder or file that is here, or that is fetched from the hub into its cache.

    Args:
        source: a path; ``OWNER/MODEL``, a model's repository; or ``OWNER/DATA:PATH``, a file of a data set's.
        revision: a commit of the repository.

    Raises:
        UserError: there is neither such a path nor such a repository, or no network.
    """
    from huggingface_hub import hf_hub_download, snapshot_download

    if Path(source).exists():
        return Path(source)
    repository, _, file = source.partition(":")
    try:
        if file:
            return Path(hf_hub_download(repository, file, repo_type="dataset", revision=revision))
        wanted = ["*.json", "*.safetensors", "*.model"]  # no pickled weights
        return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{source}: neither a path here nor fetched from the hub ({error}). "
            "Fetch it where there is network, or name a folder or file."
        ) from error


def name_of_document(docno: str) -> str:
    """The docno without the brackets and capitals that differ between the published files."""
    return without_brackets(docno).lower()


def read_docids(path: Path) -> dict[str, tuple[int, ...]]:
    """The docid of each document by `name_of_document`, padding left out, in file order.

    Raises:
        UserError: what `read_docid_table` refuses, or two docnos differ in case alone.
    """
    table = read_docid_table(path)
    docids = {name_of_document(docno): tuple(entry.docid) for docno, entry in table.items()}
    if len(docids) < len(table):
        seen: dict[str, str] = {}
        for docno, entry in table.items():
            if (other := seen.setdefault(name_of_document(docno), docno)) != docno:
                raise UserError(f"{path}:{entry.line}: documents {other!r} and {docno!r} differ in case alone.")
    return docids


def read_test_set(path: Path) -> list[TestLine]:
    """The lines of a test set.

    Raises:
        UserError: no text file, a line of another form, or none.
    """
    lines = []
    source = SourceLines(path, tolerance=0)
    for line in source:
        try:
            row = json.loads(line)
            docno = name_of_document(str(row["query_id"]))  # some files have numbers
            lines.append(TestLine(docno, _tokens(row["doc_id"]), [int(token) for token in row["input_ids"]]))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{path}:{source.number}: expected JSON with query_id (a docno), doc_id (numbers with commas) and "
                f"input_ids (a list): {line[:80]!r}."
            ) from error
    return lines


def _tokens(text: str) -> tuple[int, ...]:
    return tuple(token for token in map(int, text.split(",")) if token != PADDING)


def weight_shapes(folder: Path) -> dict[str, list[int]]:
    """Name and shape of each weight in the folder's safetensors files, without reading the weights.

    Raises:
        UserError: there is no such file, or one that is broken.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as weights:
                shapes |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise UserError(
                f"{path}: no whole safetensors file ({error}). Fetch it again; in a git clone: git lfs pull."
            ) from error
    if not shapes:
        raise UserError(f"{folder}: no .safetensors file. Pickled weights (.bin) are not read; convert them first.")
    return shapes


def mismatches(
    config: Mapping[str, object],
    shapes: Mapping[str, Sequence[int]],
    docids: Mapping[str, Sequence[int]],
    tests: Sequence[TestLine],
    *,
    tied_head: bool,
) -> list[str]:
    """Return, in words, all that doesn't fit together of a model, its docids and its test set; [] if all does.

    Args:
        config: the model's config.json.
        shapes: see `weight_shapes`.
        docids: see `read_docids`.
        tests: see `read_test_set`.
        tied_head: whether the model was trained with an output head that is its word embeddings.
    """
    found = []
    size = config.get("vocab_size")
    words = (config.get("encoder") or config).get("vocab_size")  # a frozen encoder has its own
    rows = {name: shapes[name][0] for name in ("shared.weight", "encoder.embed_tokens.weight") if name in shapes}
    if set(rows.values()) - {size}:
        found.append(f"config.json says {size} tokens, but the embeddings have {next(iter(rows.values()))} rows")
    if not tied_head:
        if "lm_head.weight" not in shapes:
            found.append(
                "the untied output head (lm_head.weight) is missing in the weights: the upload lost it, "
                "and with the word embeddings in its place all measures would be near zero"
            )
        elif shapes["lm_head.weight"][0] != size:
            found.append(f"config.json says {size} tokens, but the output head has {shapes['lm_head.weight'][0]} rows")
        if config.get("tie_word_embeddings", True):
            found.append(
                "config.json ties the output head to the embeddings (tie_word_embeddings), yet it was trained untied"
            )
    largest = max(max(tokens, default=0) for tokens in docids.values())
    if isinstance(size, int) and largest >= size:
        found.append(f"docid token {largest} is beyond the model's {size} tokens: the docids belong to another model")
    if isinstance(words, int) and (word := max(max(line.input_ids, default=0) for line in tests)) >= words:
        found.append(
            f"query token {word} is beyond the model's {words} tokens: the test set was made for another model"
        )
    unknown = [line.docno for line in tests if line.docno not in docids]
    if len(unknown) > MOST_UNMATCHED * len(tests):
        found.append(
            f"{len(unknown)} of {len(tests)} relevant documents are not in the docid table (such as {unknown[0]!r}; "
            f"the table has {next(iter(docids))!r}): the two name documents differently, or belong to other corpora"
        )
    other = [line.docno for line in tests if line.docno in docids and _bare(line.docid) != _bare(docids[line.docno])]
    if len(other) > MOST_UNMATCHED * len(tests):
        found.append(
            f"{len(other)} of {len(tests)} relevant documents have another docid in the test set than in the docid "
            f"table (such as {other[0]!r}): the two were made from different docids"
        )
    return found


def _bare(docid: Sequence[int]) -> tuple[int, ...]:
    return tuple(token for token in docid if token != END)
