"""Docids of the scheme TU: words of the title or of the URL (METHOD 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:  # it takes seconds to import
    from transformers import PreTrainedTokenizerBase

TEXTS_AT_A_TIME = 1024

UNINFORMATIVE = frozenset({"index", "page", "item", "view", "default", "home"})

PATH = "the URL's path and domain, for the path is semantically rich"
TITLE = "the title and the URL's domain"
POOR_PATH = "the URL's path and domain, although poor, for there is no title"
DOCNO = "the docno, for there is neither title nor URL"


def split_url(url: str) -> tuple[str, list[str]]:
    """The domain of ``url`` and the segments of its path, decoded and in lower case; ("", []) of what is no URL.

    Without scheme, user, port, query and fragment; empty segments are left out. A URL may lack its scheme. The file's
    extension stays: what a segment is made of is the tokenizer's business.
    """
    url = url.strip()
    try:
        parts = urlsplit(url if "//" in url.partition("?")[0] else f"//{url}")
        domain = parts.hostname or ""
    except ValueError:  # such as http://[1/
        return "", []
    segments = (unquote(segment).strip().lower() for segment in parts.path.split("/"))
    return domain, [segment for segment in segments if segment]


def is_word(segment: str) -> bool:
    """Whether a path segment is a word: not numeric, longer than 2 characters, none of `UNINFORMATIVE`."""
    return not segment.isnumeric() and len(segment) > 2 and segment not in UNINFORMATIVE


def is_semantically_rich(segments: list[str]) -> bool:
    """Whether more than half of the path segments are words."""
    return 2 * sum(map(is_word, segments)) > len(segments)


def docid_text(docno: str, url: str, title: str) -> tuple[str, str]:
    """The text of a document's docid, and what it is made of (one of `PATH`, `TITLE`, `POOR_PATH`, `DOCNO`).

    Lower case, parts joined by blanks; in a path a hyphen parts words.
    """
    domain, segments = split_url(url)
    path = " ".join(reversed(segments)).replace("-", " ")
    title = " ".join(title.lower().split())
    if is_semantically_rich(segments):
        return f"{path} {domain}".strip(), PATH
    if title:
        return f"{title} {domain}".strip(), TITLE
    if domain or path:
        return f"{path} {domain}".strip(), POOR_PATH
    return docno, DOCNO


def docid_tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Iterator[list[int]]:
    """Yield the first ``max_tokens`` tokens of each text and the end token.

    A text that spells out the end token or the padding, such as a title "</s>", doesn't get it inside its docid: a
    docid that ends early would be the beginning of another.
    """
    special = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        some = texts[start : start + TEXTS_AT_A_TIME]
        encoded = tokenizer(some, add_special_tokens=False, return_attention_mask=False, verbose=False)
        for tokens in encoded.input_ids:
            yield [token for token in tokens if token not in special][:max_tokens] + [tokenizer.eos_token_id]
