"""Docids of the scheme TU: words of the title or of the URL, by one of several rules (docs/method.md)."""

from __future__ import annotations

import re
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
DOMAIN = "the URL's domain, for its path is poor and there is no title"
WORDS = "the URL's words and domain, for the title has no more than two words"
DOCNO = "the docno, for there is neither title nor URL"

SCHEME = re.compile("https?://")
ULTRON_DROPPED = re.compile(r"\.html|\.php|\.aspx")
ULTRON_BLANKS = re.compile(r"[-_?=+]")


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


def docid_text(docno: str, url: str, title: str, rule: str = "ours") -> tuple[str, str]:
    """The text of a document's docid, in lower case, and what it is made of (one of the constants above).

    Parts are joined by blanks; in a URL a hyphen parts words. Of a document without any, it is the docno.

    Args:
        docno: the document's own key.
        url: may lack its scheme, or be empty.
        title: may be empty.
        rule: of `RULES`.
    """
    text, made_of = RULES[rule](url.lower(), title.lower())
    text = " ".join(text.split())
    return (text, made_of) if text else (docno, DOCNO)


def our_text(url: str, title: str) -> tuple[str, str]:
    """Rich path and domain, else title and domain; the domain is no segment, queries are cut, %XX is decoded.

    The fragment behind a path counts, too: documents may be parts of one page.
    """
    domain, segments = split_url(url)
    fragment = unquote(url.partition("#")[2]).lower().split("/")
    path = " ".join(reversed([*segments, *fragment])).replace("-", " ")
    if is_semantically_rich(segments):
        return f"{path} {domain}", PATH
    return (f"{title} {domain}", TITLE) if title.strip() else (f"{path} {domain}", POOR_PATH)


def authors_text(url: str, title: str) -> tuple[str, str]:
    """Rich path and domain, else title and domain, as the authors' code has it in 2026 (docs/method.md).

    The domain, what comes before the first slash, counts as a segment when richness is judged; nothing is decoded, and
    nothing cut but the scheme. A poor path without a title leaves the domain alone.
    """
    segments = [segment for segment in SCHEME.sub("", url).replace("-", " ").split("/") if segment]
    if is_semantically_rich(segments):
        return " ".join(reversed(segments)), PATH
    return f"{title} {' '.join(segments[:1])}", TITLE if title.strip() else DOMAIN


def ultron_text(url: str, title: str) -> tuple[str, str]:
    """Title and domain, where the title has more than two words; else the URL's words (Ultron; docs/method.md)."""
    url = ULTRON_BLANKS.sub(" ", ULTRON_DROPPED.sub("", SCHEME.sub("", url)))
    domain, *path = [segment for segment in url.split("/") if segment] or [""]
    if len(title.split()) > 2:
        return f"{title} {domain}", TITLE
    words = "".join(letter for letter in " ".join(reversed(path)) if not letter.isdigit())
    return f"{words} {domain}", WORDS


def authors_text_of_2025(url: str, title: str) -> tuple[str, str]:
    """Title and domain, where the title has more than two words; else the reversed path and the domain.

    So the authors' code had it in January 2025 (docs/method.md): Ultron's choice, but nothing of the URL is dropped.
    """
    domain, *path = SCHEME.sub("", url).replace("-", " ").split("/")
    if len(title.split()) > 2:
        return f"{title} {domain}", TITLE
    return f"{' '.join(reversed(path))} {domain}", WORDS


GENERATED = "generated"

RULES = {
    "ours": our_text,
    "authors": authors_text,
    "authors_2025": authors_text_of_2025,
    "ultron": ultron_text,
    GENERATED: ultron_text,
}
"""(URL, title), both in lower case -> the text and what it is made of. Its tokens are the docid; with `GENERATED` those
that T5 writes when it reads the text, as the authors' code of January 2025 has it for Natural Questions."""


def docid_tokens(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> Iterator[list[int]]:
    """Yield the first ``max_tokens`` tokens of each text and the end token."""
    for start in range(0, len(texts), TEXTS_AT_A_TIME):
        some = texts[start : start + TEXTS_AT_A_TIME]
        encoded = tokenizer(some, add_special_tokens=False, return_attention_mask=False, verbose=False)
        for tokens in encoded.input_ids:
            yield closed(tokens, tokenizer, max_tokens)


def closed(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> list[int]:
    """The first ``max_tokens`` tokens and the end token; no end token and no padding before it.

    A text may spell them out, such as a title "</s>": a docid that ends early would be the beginning of another.
    """
    special = {tokenizer.eos_token_id, tokenizer.pad_token_id}
    return [token for token in tokens if token not in special][:max_tokens] + [tokenizer.eos_token_id]
