"""What the lines of the NQ320K say that the authors of DDRO have published (kiyam/ddro-nq-dataset on the hub).

``nq_merged.json`` has the documents, JSON lines with id, title, abstract, content, document_url and more: one page for
each title, under the id of the first question that was asked about it, a signed 64-bit number. ``nq_train.gz`` and
``nq_val.gz`` have the questions, with the page of each: text as pandas writes it, fields between tabs, quoted as in
csv, no header. So say the page of the data set and the code that made it; nobody here has seen the files.
"""

from __future__ import annotations

import csv
import html
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ddro.core.command import UserError
from ddro.core.lines import SourceLines, cant_be_kept, identifier_of
from ddro.corpora.natural_questions import title_key, with_content_start, without_tags

COLUMNS = (
    "query",
    "id",
    "long_answer",
    "short_answer",
    "title",
    "abstract",
    "content",
    "document_url",
    "doc_tac",
    "language",
)
LONGEST_FIELD = 2**26
"""Characters, more than a page of Wikipedia has. A quote that isn't closed would take the whole file."""


class Question(NamedTuple):
    """A question, and what tells its page."""

    text: str
    document: str
    title: str
    url: str


def parse_document(record: Mapping[str, Any]) -> dict[str, Any]:
    """Read one record of nq_merged.json as a row of `tables.DOCUMENTS`; the body is the abstract, then the content.

    It has `tables.CONTENT_START`, too.

    Raises:
        ValueError: what the record lacks.
    """
    docno = identifier_of(record.get("id"))
    if docno is None:
        raise ValueError(f"no id (found: {', '.join(map(str, record)) or 'no fields'})")
    texts = {name: record.get(name) or "" for name in ("document_url", "title", "abstract", "content")}
    if wrong := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise ValueError(f"{wrong[0]} is no text")
    body, content_start = with_content_start(*(without_tags(texts[name]) for name in ("abstract", "content")))
    document = {
        "docno": docno.strip(),
        "url": html.unescape(texts["document_url"]),
        "title": without_tags(texts["title"]),
        "body": body,
    }
    if reason := cant_be_kept(*document.values()):
        raise ValueError(reason)
    return {**document, "content_start": content_start}


def read_questions(lines: SourceLines) -> Iterator[Question | None]:
    """Yield the question of each row of nq_train.gz or nq_val.gz; None for one that is rejected.

    Raises:
        UserError: a quote that isn't closed: what follows can't be told apart.
    """
    csv.field_size_limit(LONGEST_FIELD)
    rows = csv.reader((f"{line}\n" for line in lines), delimiter="\t", strict=True)
    while True:
        start = lines.number + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if "expected after" not in str(error):
                raise UserError(
                    f"{lines.path}:{start}: a quote is opened here, or soon after, that isn't closed ({error}). Is it "
                    "the file as published?"
                ) from error
            lines.reject("text behind a closed quote")
            yield None
            continue
        if start == 1 and row[:2] == list(COLUMNS[:2]):
            lines.header = 1
        else:
            yield _question_of(row, lines)


def _question_of(row: list[str], lines: SourceLines) -> Question | None:
    """The question of the current row, which is rejected if it is none."""
    if len(row) != len(COLUMNS):
        lines.reject(f"not the {len(COLUMNS)} columns {', '.join(COLUMNS)}")
        return None
    fields = dict(zip(COLUMNS, row, strict=True))
    question = Question(
        text=without_tags(fields["query"]),
        document=fields["id"].strip(),
        title=without_tags(fields["title"]),
        url=html.unescape(fields["document_url"]),
    )
    if not question.text:
        lines.reject("no query")
        return None
    return question


class Pages:
    """The documents, found as a question names its page: by its id, else by its title, else by its URL."""

    def __init__(self) -> None:
        """None at first."""
        self.docnos: set[str] = set()
        self.of_title: dict[str, str] = {}
        self.of_url: dict[str, str] = {}

    def add(self, document: Mapping[str, str]) -> None:
        """Add a row of `tables.DOCUMENTS`; of those with the same title or URL the first is found."""
        docno = document["docno"]
        self.docnos.add(docno)
        if document["title"]:
            self.of_title.setdefault(title_key(document["title"]), docno)
        if document["url"]:
            self.of_url.setdefault(document["url"], docno)

    def find(self, question: Question) -> tuple[str, str] | None:
        """The docno of a question's page, and what it was found by; None where it is none of the documents."""
        if question.document in self.docnos:
            return question.document, "id"
        if docno := self.of_title.get(title_key(question.title)):
            return docno, "title"
        if docno := self.of_url.get(question.url):
            return docno, "URL"
        return None
