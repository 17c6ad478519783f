"""The beginning of a long text, on literal text."""

import pytest

from ddro.core.long_texts import beginning


@pytest.mark.parametrize(
    ("text", "tokens", "expected"),
    [
        ("One, two. Three", 2, "One, two. "),
        ("One, two. Three", 3, "One, two. Three"),
        ("- ... one\ntwo three", 1, "- ... one\n"),
        ("_ \uff9e \ufe70 a b c", 1, "_ \uff9e \ufe70 a "),  # a tokenizer may make nothing of the first three
        ("日本語日本語日本語", 2, "日本語日本語日本語"),
        ("", 5, ""),
        ("any text", 10**30, "any text"),
    ],
)
def test_beginning_has_so_many_words_to_a_blank(text, tokens, expected):
    assert beginning(text, tokens) == expected
