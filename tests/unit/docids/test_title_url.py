"""Docids of words of the title or the URL."""

import json
import os
from pathlib import Path

import pytest
from transformers import T5Tokenizer

from ddro.docids.title_url import (
    DOCNO,
    DOMAIN,
    PATH,
    POOR_PATH,
    TITLE,
    WORDS,
    docid_text,
    docid_tokens,
    is_semantically_rich,
    is_word,
    split_url,
)

AUTHORS = json.loads((Path(__file__).parents[2] / "fixtures/authors_code/tu_docids.json").read_text())
T5 = os.environ.get("DDRO_T5_TOKENIZER")
LONGEST = {"authors": 98, "authors_2025": 99, "ultron": 99}


@pytest.mark.parametrize(
    ("url", "domain", "segments"),
    [
        ("https://www.example.com/health/heart-attack", "www.example.com", ["health", "heart-attack"]),
        ("http://user:secret@Example.COM:8080/A/B/", "example.com", ["a", "b"]),
        ("https://example.com/a/b?page=2&title=Not_Used#part/c", "example.com", ["a", "b"]),
        ("https://example.com/caf%C3%A9/and%2For/%20", "example.com", ["café", "and/or"]),
        ("https://example.com/%E6%97%A5%E6%9C%AC/%FF", "example.com", ["日本", "\ufffd"]),
        ("https://en.wikipedia.org//w/index.php?title=Email&oldid=8", "en.wikipedia.org", ["w", "index.php"]),
        ("example.com:80/path", "example.com", ["path"]),
        ("//example.com/path", "example.com", ["path"]),
        ("example.com/login?next=https://other.org/x", "example.com", ["login"]),
        ("http://[2001:db8::1]:80/path", "2001:db8::1", ["path"]),
        ("https://example.com", "example.com", []),
        ("https://example.com///", "example.com", []),
        ("/only/a/path", "", ["only", "a", "path"]),
        ("http://[1/", "", []),
        ("  ", "", []),
        ("", "", []),
    ],
)
def test_split_url(url, domain, segments):
    assert split_url(url) == (domain, segments)


@pytest.mark.parametrize(
    ("segment", "expected"),
    [("heart", True), ("abc", True), ("ab", False), ("2024", False), ("2024-05", True), ("index", False)]
    + [(word, False) for word in ("page", "item", "view", "default", "home")]
    + [("index.html", True), ("pages", True), ("日本", False), ("日本語", True)],
)
def test_is_word(segment, expected):
    assert is_word(segment) is expected


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([], False),
        (["health"], True),
        (["health", "42"], False),  # half is not more than half
        (["health", "heart", "42"], True),
        (["health", "42", "home"], False),
    ],
)
def test_a_path_is_rich_if_more_than_half_of_it_are_words(segments, expected):
    assert is_semantically_rich(segments) is expected


@pytest.mark.parametrize(
    ("url", "title", "text", "made_of"),
    [
        (
            "https://www.WebMD.com/heart-disease/guide/heart-attack",
            "What Is a Heart Attack?",
            "heart attack guide heart disease www.webmd.com",
            PATH,
        ),
        ("https://example.com:8443/12/index?q=heart+attack", "Heart  Attack\n", "heart attack example.com", TITLE),
        ("https://en.wikipedia.org//w/index.php?title=X", "Café au lait", "café au lait en.wikipedia.org", TITLE),
        ("https://ja.wikipedia.org/1", "日本の歴史", "日本の歴史 ja.wikipedia.org", TITLE),
        ("https://example.com/", "Home", "home example.com", TITLE),
        ("https://example.com/stack#az-st%41ck%2Dcreate", "Create", "az stack create stack example.com", PATH),
        ("https://example.com/stack?q=%23no#/a/b", "Create", "b a stack example.com", PATH),
        ("https://example.com/42#part", "Create", "create example.com", TITLE),
        ("", "A Title", "a title", TITLE),
        ("http://[1/", "A Title", "a title", TITLE),
        ("https://example.com/a/42", " ", "42 a example.com", POOR_PATH),
        ("https://example.com", "", "example.com", POOR_PATH),
        ("/health/heart", "", "heart health", PATH),
        ("", "", "D7", DOCNO),
        (" ", "\n", "D7", DOCNO),
        ("http://[1/", "", "D7", DOCNO),
    ],
)
def test_docid_text(url, title, text, made_of):
    assert docid_text("D7", url, title) == (text, made_of)


class Characters:
    """A tokenizer of lower-case letters: a is 10; </s> is 1 and <pad> is 0, also where a text spells them out."""

    eos_token_id, pad_token_id = 1, 0

    def __call__(self, texts, add_special_tokens, **options):
        assert not add_special_tokens
        self.input_ids = []
        for text in texts:
            text = text.replace("</s>", "\1").replace("<pad>", "\0")
            self.input_ids.append([ord(c) - 87 if c.islower() else ord(c) for c in text])
        return self


def test_a_docid_is_the_first_tokens_and_the_end_token():
    tokens = list(docid_tokens(["abc", "abcdefg", "", "abcd"], Characters(), 4))
    assert tokens == [[10, 11, 12, 1], [10, 11, 12, 13, 1], [1], [10, 11, 12, 13, 1]]


def test_an_end_token_within_a_text_is_left_out():
    tokens = list(docid_tokens(["ab</s>c", "a<pad></s>b", "</s>"], Characters(), 3))
    assert tokens == [[10, 11, 12, 1], [10, 11, 1], [1]]


def test_many_texts_keep_their_order():
    texts = [chr(97 + number % 26) for number in range(3000)]
    assert [tokens[0] for tokens in docid_tokens(texts, Characters(), 9)] == [10 + n % 26 for n in range(3000)]


@pytest.mark.parametrize("rule", LONGEST)
@pytest.mark.parametrize("example", AUTHORS, ids=lambda example: example["url"][:60])
def test_texts_are_those_of_public_code(example, rule):
    text, _ = docid_text("D7", example["url"], example["title"], rule)
    assert text == example[rule]["text"]


@pytest.mark.skipif(not T5, reason="DDRO_T5_TOKENIZER doesn't name a folder with T5's spiece.model")
@pytest.mark.parametrize("rule", LONGEST)
def test_docids_are_those_of_public_code(rule):
    texts = [docid_text("D7", example["url"], example["title"], rule)[0] for example in AUTHORS]
    found = list(docid_tokens(texts, T5Tokenizer.from_pretrained(T5), LONGEST[rule]))
    assert found == [example[rule]["ids"] for example in AUTHORS]


@pytest.mark.parametrize(
    ("rule", "url", "title", "text", "made_of"),
    [
        ("authors", "https://example.com/12/a", " ", "example.com", DOMAIN),
        ("authors", "https://example.com/12/a", "Title", "title example.com", TITLE),
        ("authors", "", "", "D7", DOCNO),
        ("ultron", "https://ex-am_ple.com/a_b/index.html", "Two words", "index a b ex am ple.com", WORDS),
        ("ultron", "https://4you.com/a1", "Three words here", "three words here 4you.com", TITLE),
        ("ultron", "https://4you.com/a1", "", "a 4you.com", WORDS),
        ("ultron", " ", "", "D7", DOCNO),
        ("authors_2025", "https://ex-am.com/a_b/12/x.html?q=1", "Two words", "x.html?q=1 12 a_b ex am.com", WORDS),
        ("authors_2025", "https://4you.com/a1", "Three words here", "three words here 4you.com", TITLE),
        ("authors_2025", "", "", "D7", DOCNO),
    ],
)
def test_what_the_rules_of_others_do_besides(rule, url, title, text, made_of):
    assert docid_text("D7", url, title, rule) == (text, made_of)
