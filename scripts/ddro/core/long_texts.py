"""The beginning of a text that is far longer than what is read of it."""

from __future__ import annotations

import re
from itertools import islice

_WORD_AND_BLANK = re.compile(r"[^\W_\u037a\ufe70-\ufe7e\uff9e\uff9f][^ \n]*[ \n]")
"""From a letter or digit on; those left out are marks in Unicode's NFKC, of which a tokenizer may make nothing."""


def beginning(text: str, tokens: int) -> str:
    """As much of a text as has its first ``tokens`` tokens, whatever the tokenizer; a document of megabytes is cut.

    A word with a letter or digit has at least one, and none reaches over a blank. So many words are kept; a text that
    has fewer is whole.
    """
    if len(text) < 2 * tokens:  # too short for so many words
        return text
    last = next(islice(_WORD_AND_BLANK.finditer(text), tokens - 1, None), None)
    return text[: last.end()] if last else text
