"""Instances: literal documents in, literal tokens out."""

import math

from ddro.docids.tokens import docid_token
from ddro.models.t5 import train_tokenizer
from ddro.training.instances import docid_to_docid, from_texts, passages, sampled_terms

BODY = "alpha beta gamma delta epsilon zeta eta theta"


def tokenizer():
    return train_tokenizer([BODY, "name"], 80)


def tokens_of(text):
    return tokenizer()(text, add_special_tokens=False)["input_ids"]


def test_passages_are_consecutive_windows_after_the_title():
    title, body = tokens_of("name"), tokens_of(BODY)
    width = len(body) // 3
    found = list(passages(tokenizer(), "d1", "name", BODY, passage_tokens=len(title) + width + 1, passages=3))
    assert [instance.docno for instance in found] == ["d1"] * 3
    for index, instance in enumerate(found):
        assert instance.input_ids == [*title, *body[width * index : width * (index + 1)], 1]
    assert width > 1
    joined = "".join(instance.text.removeprefix("name").replace(" ", "") for instance in found)
    assert BODY.replace(" ", "").startswith(joined)


def test_a_long_body_stops_at_the_last_passage_and_an_empty_one_leaves_the_title():
    assert len(list(passages(tokenizer(), "d", "name", BODY * 50, passage_tokens=12, passages=4))) == 4
    (only,) = passages(tokenizer(), "d", "name", "", passage_tokens=12, passages=4)
    assert (only.text, only.input_ids) == ("name", [*tokens_of("name"), 1])


def test_no_passages_are_none():
    assert not list(passages(tokenizer(), "d", "a title", "a body", passage_tokens=9, passages=0))


def test_a_long_title_leaves_room_for_the_body():
    (first, *_) = passages(tokenizer(), "d", "name " * 50, BODY, passage_tokens=12, passages=1)
    assert first.input_ids[6:] == [*tokens_of(BODY)[:5], 1]


def test_sampled_terms_are_those_of_highest_tf_idf():
    texts = ["cat cat dog the", "dog bird", "dog ant"]
    # idf(dog) = ln(4/4) + 1 = 1; idf of a term of one text = ln(4/2) + 1. "the" is a function word.
    rare = math.log(2) + 1
    assert 2 * rare > rare > 1
    assert list(sampled_terms(texts, 2)) == ["cat dog", "bird dog", "ant dog"]
    assert list(sampled_terms(texts, 1)) == ["cat", "bird", "ant"]


def test_ties_of_tf_idf_are_in_alphabetical_order():
    assert list(sampled_terms(["pear apple fig", "plum"], 3))[0] == "apple fig pear"


def test_a_docid_is_its_own_input():
    instance = docid_to_docid(tokenizer(), "d", [103, 101], 100)
    assert instance.input_ids == [103, 101, 1]
    assert instance.text == docid_token(3) + docid_token(1)
    assert docid_to_docid(tokenizer(), "d", [5, 1], 100).input_ids == [5, 1]


def test_texts_are_cut():
    (instance,) = from_texts(tokenizer(), ["d"], [BODY], 4)
    assert instance.input_ids == [*tokens_of(BODY)[:3], 1]
    assert instance.text == BODY
