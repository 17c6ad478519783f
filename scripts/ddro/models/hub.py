"""Published checkpoints: a model, a table of docids and a test set from the Hugging Face hub, and whether they fit.

The files have the form in which the authors of DDRO published theirs. A docid table is text, a line per document:
docno, tab, token ids with commas (0 is padding). A test set is JSON lines, one per query and relevant document:
``input_ids``, the query's tokens; ``query_id``, which is the docno of the relevant document; ``doc_id``, its token ids
with commas. What these files don't say of how they are meant is a `Reading`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ddro.core.command import UserError, in_one_line, log
from ddro.core.lines import SourceLines, cant_be_kept, identifier_of, record_of
from ddro.docids.text_format import Entry, docid_lines, without_brackets
from ddro.docids.tokens import END, PADDING

MOST_UNMATCHED = 0.01
"""Share of the test lines that may have no document, or another docid, in the docid table: they count as misses."""


TOKEN = re.compile(r"\s*[0-9]{1,9}\s*")
EMBEDDINGS = ("shared.weight", "encoder.embed_tokens.weight")
HEAD = "lm_head.weight"


class Reading(NamedTuple):
    """How the weights and docids of a checkpoint are meant; each field is a key of config/published.yaml.

    Attributes:
        scaled_output: the decoder's output is multiplied by d_model^-0.5 before the output head.
        end_token: docids end with an end token.
        leading_zero: docids begin with a 0 of their own, behind the 0 that every decoder starts with.
    """

    scaled_output: bool
    end_token: bool
    leading_zero: bool

    def docid(self, tokens: Sequence[int], closed: bool) -> tuple[int, ...]:
        """A docid of `read_docids`, as it is generated.

        Args:
            tokens: the docid.
            closed: whether docids of its table end with an end token: one that doesn't was cut off, and gets none.
        """
        bare = without_end(tokens)
        ends = self.end_token and (len(bare) < len(tokens) or not closed)
        return (*[PADDING] * self.leading_zero, *bare, *[END] * ends)

    def __str__(self) -> str:
        """As config/published.yaml has it."""
        return ", ".join(f"{name}: {str(value).lower()}" for name, value in self._asdict().items())


def without_end(docid: Sequence[int]) -> tuple[int, ...]:
    """A docid without the end token behind it."""
    return tuple(docid[:-1] if docid and docid[-1] == END else docid)


def are_closed(docids: Iterable[Sequence[int]]) -> bool:
    """Whether there are docids that end with an end token."""
    return any(docid[-1] == END for docid in docids)


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
    except Exception as error:  # the library's: of the hub, of the network, of a proxy
        raise UserError(
            f"{source}: neither a path here nor fetched from the hub ({in_one_line(error)}). "
            "Fetch it where there is network, or name a folder or file."
        ) from error


def name_of_document(docno: str) -> str:
    """The docno without the brackets and capitals that differ between the published files, ``_`` for its blanks."""
    return "_".join(without_brackets(docno).lower().split())


def read_docids(path: Path) -> dict[str, list[tuple[int, ...]]]:
    """The docids of each document by `name_of_document`, padding left out, in file order.

    A document has several where it stands in several lines, as the titles of Natural Questions do; how many is logged.

    Raises:
        UserError: what `docid_lines` refuses, or a docid without a token.
    """
    docids: dict[str, dict[tuple[int, ...], None]] = {}
    lines = 0
    for docno, entry in docid_lines(path):
        if not entry.open_docid:
            raise UserError(f"{path}:{entry.line}: the docid of {docno!r} is nothing but padding.")
        if reason := cant_be_kept(name_of_document(docno)):
            raise UserError(f"{path}:{entry.line}: {reason}, in {docno[:80]!r}.")
        docids.setdefault(name_of_document(docno), {})[tuple(entry.docid)] = None
        lines += 1
    different = sum(map(len, docids.values()))
    if lines > len(docids):
        log.warning(
            "%s: %d lines, but %d documents: %d lines repeat one before, %d give a document another docid; all count",
            path,
            lines,
            len(docids),
            lines - different,
            different - len(docids),
        )
    return {docno: list(of_document) for docno, of_document in docids.items()}


def check_no_prefix(docids: Iterable[tuple[str, tuple[int, ...]]], path: Path) -> None:
    """Raise a `UserError` where the docid of a document, as it is generated, is the beginning of another's.

    Args:
        docids: documents, as `name_of_document` has them, and their docids.
        path: their table.
    """
    for (docid, docno), (longer, other) in pairwise(sorted((docid, docno) for docno, docid in docids)):
        if len(docid) < len(longer) and longer[: len(docid)] == docid:
            lines = {(name_of_document(name), tuple(entry.open_docid)): entry.line for name, entry in docid_lines(path)}
            first, second = (
                lines[name, tuple(Entry(0, [*tokens]).open_docid)] for name, tokens in ((docno, docid), (other, longer))
            )
            raise UserError(
                f"{path}:{first}: the docid of {docno!r} is the beginning of that of {other!r} in line {second}. "
                "Docids of different lengths need an end token: is end_token of the checkpoint right?"
            )


def read_test_set(path: Path) -> list[TestLine]:
    """The lines of a test set.

    Raises:
        UserError: no text file, a line of another form, or none.
    """
    lines = []
    source = SourceLines(path, tolerance=0)
    for line in source:
        try:
            row = record_of(line)
            docno = name_of_document(identifier_of(row["query_id"]) or "")  # some files have numbers
            input_ids = _tokens(row["input_ids"])
            if cant_be_kept(docno) or not input_ids:
                raise ValueError("a docno that no run can have, or an empty query")
            lines.append(TestLine(docno, _tokens(row["doc_id"]), list(input_ids)))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}:{source.number}: expected JSON with query_id (a docno), doc_id (numbers with commas) and "
                f"input_ids (a list): {line[:80]!r}."
            ) from error
    return lines


def _tokens(listed: str | Sequence[int]) -> tuple[int, ...]:
    """Token ids, with commas or in a list, without padding; a `ValueError` says that one is none."""
    tokens = [identifier_of(token) or "" for token in (listed.split(",") if isinstance(listed, str) else listed)]
    if not all(map(TOKEN.fullmatch, tokens)):
        raise ValueError("a token that is no number")
    tokens = list(map(int, tokens))
    return tuple(token for token in tokens if token != PADDING)


def gold_docid(line: TestLine, docids: Mapping[str, Sequence[tuple[int, ...]]]) -> tuple[int, ...]:
    """The docid of `read_docids` that a test line means: its own, else its document's first; () where there is none."""
    of_document = docids.get(line.docno, [()])
    return next((docid for docid in of_document if without_end(docid) == without_end(line.docid)), of_document[0])


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


def has_own_head(folder: Path) -> bool | None:
    """Whether the output head that the folder stores differs from its embeddings; None where it stores none.

    Raises:
        UserError: what `weight_shapes` refuses.
    """
    from safetensors import safe_open

    shapes = weight_shapes(folder)
    embeddings = next((name for name in EMBEDDINGS if name in shapes), None)
    if HEAD not in shapes or embeddings is None:
        return None
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as weights:
            names = {HEAD, embeddings} & set(weights.keys())
            found |= {name: weights.get_tensor(name) for name in names}
    return not found[HEAD].equal(found[embeddings])


def mismatches(
    config: Mapping[str, object],
    shapes: Mapping[str, Sequence[int]],
    docids: Mapping[str, Sequence[Sequence[int]]],
    tests: Sequence[TestLine],
    *,
    tied_head: bool,
    own_head: bool | None,
) -> list[str]:
    """Return, in words, all that doesn't fit together of a model, its docids and its test set; [] if all does.

    Args:
        config: the model's config.json.
        shapes: see `weight_shapes`.
        docids: see `read_docids`.
        tests: see `read_test_set`.
        tied_head: whether the model is said to be trained with an output head that is its word embeddings.
        own_head: see `has_own_head`.
    """
    found = []
    size = config.get("vocab_size")
    words = (config.get("encoder") or config).get("vocab_size")  # a frozen encoder has its own
    rows = {name: shapes[name][0] for name in EMBEDDINGS if name in shapes}
    if set(rows.values()) - {size}:
        found.append(f"config.json says {size} tokens, but the embeddings have {next(iter(rows.values()))} rows")
    if not tied_head:
        if HEAD not in shapes:
            found.append(
                f"the untied output head ({HEAD}) is missing in the weights: the upload lost it, "
                "and with the word embeddings in its place all measures would be near zero"
            )
        elif shapes[HEAD][0] != size:
            found.append(f"config.json says {size} tokens, but the output head has {shapes[HEAD][0]} rows")
        elif own_head is False:
            found.append(
                "the output head in the weights is a copy of the word embeddings: the model was trained with a tied "
                "head (write tied_head: true in config/published.yaml), or the upload lost its own"
            )
    elif own_head:
        found.append(
            f"the weights have an output head of their own ({HEAD} differs from the word embeddings), so the model was "
            "trained untied: write tied_head: false in config/published.yaml"
        )
    largest = max(max(tokens) for of_document in docids.values() for tokens in of_document)
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
    other = [
        line.docno
        for line in tests
        if line.docno in docids and without_end(line.docid) not in map(without_end, docids[line.docno])
    ]
    if len(other) > MOST_UNMATCHED * len(tests):
        found.append(
            f"{len(other)} of {len(tests)} relevant documents have another docid in the test set than in the docid "
            f"table (such as {other[0]!r}): the two were made from different docids"
        )
    return found
