"""What one line of Natural Questions says: a question and the Wikipedia page that it was asked about."""

from __future__ import annotations

import hashlib
import html
import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from ddro.core.lines import identifier_of

TAG = re.compile(r"<[^<>]*>")
HEADING = re.compile(r"<H1>(.*?)</H1>", re.DOTALL)
PARAGRAPH = re.compile(r"<P>(.*?)</P>", re.DOTALL)


class Example(NamedTuple):
    """A question and its page."""

    qid: str
    question: str
    url: str
    title: str
    page: str
    """The page as words and HTML tags between blanks: see `page_text`."""


def parse_example(record: Mapping[str, Any]) -> Example:
    """Read one record of the simplified training file or of the original development file.

    The first has the page as ``document_text`` (words and HTML tags between blanks) and no title: its first H1 heading
    is the title. The second has ``document_title`` and the page as ``document_tokens``.

    Raises:
        ValueError: what the record lacks.
    """
    needed = {key: identifier_of(record.get(key)) or "" for key in ("example_id", "question_text", "document_url")}
    if lacking := [key for key, text in needed.items() if not without_tags(text)]:
        raise ValueError(f"no {lacking[0]}")
    if isinstance(record.get("document_text"), str):
        marked_up = record["document_text"]
    else:
        try:
            marked_up = " ".join(token["token"] for token in record["document_tokens"])
        except (KeyError, TypeError) as error:
            raise ValueError("neither document_text nor document_tokens") from error
    heading = HEADING.search(marked_up)
    title = identifier_of(record.get("document_title")) or (heading and heading.group(1))
    title = without_tags(title or marked_up.split(" - Wikipedia")[0])
    if not title or len(title) > 300:  # Wikipedia's limit is 255 bytes: more is a page, not a title
        raise ValueError("no title")
    return Example(
        qid=needed["example_id"],
        question=without_tags(needed["question_text"]),
        url=html.unescape(needed["document_url"]),
        title=title,
        page=marked_up,
    )


def page_text(page: str) -> tuple[str, int]:
    """The abstract of a page, its first paragraph with words, then the rest of what follows its heading; no HTML tags.

    The order matters, for models read no more than the beginning, and there many pages have a table.

    Returns:
        The text, and where in it the rest begins, which is the page's content: 0 where there is no abstract.
    """
    heading = HEADING.search(page)
    body = page[heading.end() :] if heading else page
    for paragraph in PARAGRAPH.finditer(body):
        if abstract := without_tags(paragraph.group(1)):
            rest = without_tags(body[: paragraph.start()] + " " + body[paragraph.end() :])
            return with_content_start(abstract, rest)
    return without_tags(body), 0


def with_content_start(abstract: str, content: str) -> tuple[str, int]:
    """A body, the abstract and the content with a blank between, and where in it the content begins."""
    body = " ".join(filter(None, (abstract, content)))
    return body, len(body) - len(content)


def title_key(title: str) -> str:
    """What two spellings of a title have in common: lower case, no accents, words and punctuation between blanks.

    The files tokenise the titles of one page differently ("Lost (TV series)", "Lost ( TV series )").
    """
    decomposed = unicodedata.normalize("NFKD", title.casefold())
    letters = "".join(character for character in decomposed if not unicodedata.combining(character))
    return " ".join(re.findall(r"\w+|[^\w\s]", letters))


def page_docno(example: Example, by: str) -> str:
    """The docno of a page, a 64-bit hash, so it depends on no order and no other page.

    ``by`` title: pages with the same `title_key` are one document; by id: those with the same URL, which names a
    revision of a page.
    """
    key = title_key(example.title) if by == "title" else example.url
    return "nq-" + hashlib.blake2b(key.encode(), digest_size=8).hexdigest()


def without_tags(text: str) -> str:
    return " ".join(TAG.sub(" ", text).split())
