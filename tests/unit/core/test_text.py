"""Plain text and content words, on literal text."""

import pytest

from ddro.core.text import (
    collapse_spaces,
    content_stems,
    first_sentence,
    fraction_of_hash,
    has_no_blanks,
    html_to_text,
    jaccard,
    words,
)


def test_words_are_case_folded_runs_of_letters_and_digits():
    assert words("To create_an OTA-update (v2), straße!") == ["to", "create", "an", "ota", "update", "v2", "strasse"]
    assert words(" _-. ") == []
    assert words("日本 語") == ["日本", "語"]


def test_marks_belong_to_their_words():
    assert words("हिन्दी भाषा, தமிழ் மொழி") == ["हिन्दी", "भाषा", "தமிழ்", "மொழி"]
    assert words("كَتَبَ؛ cafe\u0301 ❤\ufe0f 1.") == ["كَتَبَ", "cafe\u0301", "1"]
    assert words("می\u200cخواهم") == ["می\u200cخواهم"]


def test_scripts_without_blanks_between_words():
    assert [has_no_blanks(text) for text in ("ภาษาไทย", "日本語", "ひらがな", "한국어 말", "हिन्दी", "a b")] == [
        *[True] * 3,
        *[False] * 3,
    ]


def test_content_stems_leave_out_function_words_and_inflection():
    assert content_stems("The following example creates a new key pair") == {"creat", "new", "key", "pair"}
    assert content_stems("to create new key pairs") == content_stems("Creating the new key-pair")
    assert content_stems("the following is an example of it") == frozenset()


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [("ab", "ab", 1.0), ("abc", "bcd", 0.5), ("a", "b", 0.0), ("", "", 0.0), ("a", "", 0.0)],
)
def test_jaccard(left, right, expected):
    assert jaccard(frozenset(left), frozenset(right)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two.", "One."),
        (" Ends? Yes! ", "Ends?"),
        ("Version 2.0 of e.g. a thing. Next", "Version 2.0 of e.g. a thing."),  # no capital follows the others
        ('Stop. "Quoted" goes on.', "Stop."),
        ("No end at all", "No end at all"),
        ("", ""),
    ],
)
def test_first_sentence_ends_where_a_capital_follows(text, expected):
    assert first_sentence(text) == expected


def test_collapse_spaces():
    assert collapse_spaces(" a \n\t b\u00a0c ") == "a b c"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("<p>One</p><p>two</p>", "One two"),  # blocks part words
        ("in<b>line</b>, <code>tags</code> don't", "inline, tags don't"),
        ("a &lt;b&gt; &amp; &eacute;&#33;", "a <b> & é!"),
        ("line<br>break<br/>s", "line break s"),
        ("<style>p {}</style>seen<script>if (1 < 2) {}</script>", "seen"),
        ("</script>stray ends and <p>open", "stray ends and open"),
        ("", ""),
    ],
)
def test_html_to_text(html, expected):
    assert html_to_text(html) == expected


def test_fraction_of_hash_is_the_start_of_sha256():
    # sha256("abc") = ba7816bf 8f01cfea ... (FIPS 180-4, example 1)
    assert fraction_of_hash("abc") == 0xBA7816BF8F01CFEA / 2**64
    fractions = [fraction_of_hash(str(number)) for number in range(2000)]
    assert 0 <= min(fractions) < max(fractions) < 1
    assert abs(sum(fraction < 0.25 for fraction in fractions) / 2000 - 0.25) < 0.04
