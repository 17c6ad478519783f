"""Plain text and content words."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from html.parser import HTMLParser

import snowballstemmer

FUNCTION_WORDS = frozenset(
    """a about above across after again against all also an and any are as at be because been before being below between
    both but by can could did do does each either every few for from had has have having here how i if in into is it its
    itself just may me might more most must my no nor not of off on once one only or other our out over own same shall
    she should so some such than that the their them then there these they this those through to too under until up upon
    us very was we were what when where whether which while who whom whose why will with within without would you
    your command commands example examples following follows show shows use used uses using via""".split()
)
"""English function words, and the words by which every usage example speaks of itself."""

LEAST_CONTENT_WORDS = 2
"""That a text of a document must have to be a query."""

_WORD = re.compile(r"[^\W_]+")
_WITHOUT_BLANKS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Myanmar, Khmer, kana, Chinese characters."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_UNSHOWN = frozenset({"script", "style"})


def words(text: str) -> list[str]:
    """Case-folded maximal runs of letters and digits, with the marks that combine with them (vowels, accents)."""
    folded = text.casefold()
    return (_WORD if folded.isascii() else _word_with_marks()).findall(folded)


@cache
def _word_with_marks() -> re.Pattern[str]:
    """As `_WORD`, with Unicode's marks (M) and the two joiners, which stand within words, behind a letter or digit."""
    marks = "".join(chr(code) for code in range(0x300, 0x1F000) if unicodedata.category(chr(code)).startswith("M"))
    return re.compile(f"[^\\W_](?:[^\\W_]|[{re.escape(marks)}\u200c\u200d])*")


def has_no_blanks(text: str) -> bool:
    """Whether something of it is in a script that puts no blanks between words: then `words` are phrases."""
    return bool(_WITHOUT_BLANKS.search(text))


def content_stems(text: str) -> frozenset[str]:
    """The set of stems (Snowball English) of the words that are not function words."""
    return frozenset(_stem(word) for word in words(text) if word not in FUNCTION_WORDS)


def can_be_query(text: str) -> bool:
    """Whether a text has `LEAST_CONTENT_WORDS` different content words, so that it asks for something."""
    return len(content_stems(text)) >= LEAST_CONTENT_WORDS


@cache
def _stem(word: str) -> str:
    return _stemmer().stemWord(word)


@cache
def _stemmer() -> snowballstemmer.stemmer:
    return snowballstemmer.stemmer("english")


def jaccard(left: frozenset[str], right: frozenset[str]) -> float:
    """|left and right| / |left or right|; 0 for two empty sets."""
    union = len(left | right)
    return len(left & right) / union if union else 0.0


def first_sentence(text: str) -> str:
    """The text up to the first full stop, question or exclamation mark that a capital follows."""
    return _SENTENCE_END.split(text.strip(), maxsplit=1)[0]


def sentences(text: str) -> list[str]:
    """The text, cut after each full stop, question or exclamation mark that a capital follows."""
    return _SENTENCE_END.split(text.strip())


def collapse_spaces(text: str) -> str:
    """One blank for each run of white space, none at the ends."""
    return " ".join(text.split())


def html_to_text(html: str) -> str:
    """The text of an HTML fragment, tags dropped, entities resolved, white space collapsed."""
    parser = _TextOfHtml()
    parser.feed(html)
    parser.close()
    return collapse_spaces("".join(parser.pieces))


class _TextOfHtml(HTMLParser):
    """Collects text; block elements part words, inline ones don't."""

    inline = frozenset({"a", "b", "code", "em", "i", "span", "strong", "sub", "sup", "u"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _UNSHOWN:
            self.hidden += 1
        elif tag not in self.inline:
            self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _UNSHOWN:
            self.hidden = max(0, self.hidden - 1)
        elif tag not in self.inline:
            self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.pieces.append(data)


def smallest_hashes(texts: Sequence[str], count: int) -> list[str]:
    """The ``count`` texts with the smallest SHA-256, by that: the same each time, and nobody's choice."""
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode("utf-8")).digest())[:count]


def fraction_of_hash(text: str) -> float:
    """A number in [0, 1) that depends on ``text`` alone: the first 8 bytes of its SHA-256, as a fraction."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big") / 2**64
