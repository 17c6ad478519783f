"""The rules of the splits, each on literal queries, and all of them on random ones."""

import random
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from ddro.core.text import content_stems, fraction_of_hash, jaccard
from ddro.corpora.sampling import most_judged
from ddro.corpora.splits import Query, hold_out, keep_official


def test_most_judged_is_most_judged_first_and_ties_by_docno():
    assert most_judged({"b": 2, "a": 2, "c": 5, "d": 0, "e": 1}, 3) == ["c", "a", "b"]
    assert most_judged({"b": 2, "d": 0}, 9) == ["b"]
    assert most_judged({}, 9) == []
    assert most_judged({"b": 2, "d": 0}, 3, ["e", "d", "b", "a"]) == ["b", "a", "d"]


def shares(test=0.0, validation=0.0, unseen=0.0, max_overlap=0.7, validation_unseen=0.0):
    return {
        "test_share": test,
        "validation_share": validation,
        "unseen_share": unseen,
        "validation_unseen_share": validation_unseen,
        "max_overlap": max_overlap,
    }


COLOURS = "red orange yellow green blue indigo violet black white grey".split()
ANIMALS = "cat dog horse cow pig sheep goat hen duck goose".split()


def distinct(count, docno="d", kind="heading"):
    """Queries of one document that share no word."""
    return [Query(f"q{i}", f"{COLOURS[i]} {ANIMALS[i]}", kind, (docno,)) for i in range(count)]


def test_quotas_are_shares_of_all_queries():
    queries = [
        Query(f"{docno}{query.qid}", query.text, query.kind, (docno,)) for docno in "abcd" for query in distinct(10)
    ]
    splits, left_out = hold_out(queries, **shares(test=0.15, validation=0.05))
    counts = [list(splits.values()).count(split) for split in ("train", "validation", "test")]
    assert counts == [32, 2, 6]
    assert not left_out


def test_held_out_are_those_of_the_smallest_hash():
    queries = distinct(10)
    in_order = sorted(queries, key=lambda query: fraction_of_hash(query.text))
    splits, _ = hold_out(queries, **shares(test=0.2, validation=0.1))
    assert [splits[query.qid] for query in in_order] == ["test", "test", "validation"] + ["train"] * 7


def test_a_document_keeps_a_training_query():
    splits, left_out = hold_out(distinct(3), **shares(test=1, validation=1))
    assert sorted(splits.values()) == ["test", "test", "train"]
    assert list(left_out.values()) == [1]
    assert hold_out(distinct(1), **shares(test=1))[0] == {"q0": "train"}


def test_every_document_of_a_query_keeps_a_training_query():
    both = Query("both", "green hen", "heading", ("d", "alone"))
    splits, _ = hold_out([both, *distinct(2)], **shares(test=1))
    assert splits["both"] == "train"


def test_a_query_too_close_to_a_training_query_of_its_documents_trains():
    close = [
        Query("a", "red blue green", "heading", ("d",)),
        Query("b", "red blue green grey", "sentence", ("d",)),  # 3 of 4 words in common
    ]
    assert hold_out(close, **shares(test=0.5))[0]["a"] == "train"
    assert hold_out(close, **shares(test=0.5, max_overlap=0.75))[0]["a"] == "train"  # below, not at
    assert hold_out(close, **shares(test=0.5, max_overlap=0.76))[0]["a"] == "test"
    elsewhere = [close[0], Query("b", close[1].text, "sentence", ("other",)), Query("c", "white", "sentence", ("d",))]
    assert hold_out(elsewhere, **shares(test=0.4))[0]["a"] == "test"  # another document's query may be as close


def test_only_headings_are_held_out():
    queries = [*distinct(5, kind="sentence"), Query("h", "brown bear", "heading", ("d",))]
    splits, _ = hold_out(queries, **shares(test=1, validation=1))
    assert {qid for qid, split in splits.items() if split != "train"} == {"h"}


def test_unseen_documents_test_with_all_their_headings_and_train_with_nothing():
    unseen = next(f"d{i}" for i in range(1000) if fraction_of_hash(f"d{i}") < 0.05)
    seen = next(f"d{i}" for i in range(1000) if fraction_of_hash(f"d{i}") >= 0.05)
    queries = [
        Query("u1", "red cat", "heading", (unseen,)),
        Query("u2", "red cat", "heading", (unseen,)),  # not even overlap matters: nothing of it trains
        Query("u3", "blue dog", "sentence", (unseen,)),
        Query("both", "green cow", "heading", (seen, unseen)),
        Query("s1", "grey hen", "heading", (seen,)),
        Query("s2", "white duck", "sentence", (seen,)),
    ]
    splits, left_out = hold_out(queries, **shares(test=0.5, unseen=0.05))
    assert splits == {"u1": "test", "u2": "test", "both": "test", "s1": "train", "s2": "train"}
    assert left_out["queries dropped because their document is unseen"] == 1


def test_documents_unseen_by_training_validate_too():
    of_share = {
        name: next(f"d{i}" for i in range(1000) if low <= fraction_of_hash(f"d{i}") < high)
        for name, low, high in (("test", 0, 0.05), ("validation", 0.05, 0.07), ("seen", 0.07, 1))
    }
    queries = [
        Query("v", "red cat", "heading", (of_share["validation"],)),
        Query("dropped", "blue dog", "sentence", (of_share["validation"],)),
        Query("t", "green cow", "heading", (of_share["validation"], of_share["test"])),
        *distinct(9, of_share["seen"]),
    ]
    splits, left_out = hold_out(queries, **shares(validation=0.25, unseen=0.05, validation_unseen=0.02))
    assert splits["v"] == "validation" and splits["t"] == "test" and "dropped" not in splits
    assert list(splits.values()).count("validation") == 3  # it counts towards the share
    assert left_out["queries dropped because their document is unseen"] == 1


def test_unseen_tests_count_towards_the_share_of_tests():
    unseen = next(f"d{i}" for i in range(1000) if fraction_of_hash(f"d{i}") < 0.05)
    seen = next(f"d{i}" for i in range(1000) if fraction_of_hash(f"d{i}") >= 0.05)
    queries = [Query("u", "red cat", "heading", (unseen,)), *distinct(9, seen)]
    splits, _ = hold_out(queries, **shares(test=0.3, unseen=0.05))
    assert list(splits.values()).count("test") == 3
    splits, _ = hold_out(queries, **shares(unseen=0.05))
    assert list(splits.values()).count("test") == 1


texts = st.lists(st.sampled_from(COLOURS[:5] + ANIMALS[:3]), min_size=1, max_size=4).map(" ".join)
random_queries = st.lists(
    st.tuples(texts, st.sampled_from(["heading", "sentence"]), st.sets(st.integers(0, 5), min_size=1, max_size=2)),
    max_size=30,
).map(lambda rows: [Query(f"q{i}", t, k, tuple(f"d{d}" for d in sorted(ds))) for i, (t, k, ds) in enumerate(rows)])
share = st.floats(0, 1)


@settings(deadline=None)
@given(random_queries, share, share, share, share, st.randoms(use_true_random=False))
def test_the_rules_hold_for_any_queries(queries, test, validation, unseen, max_overlap, chance: random.Random):
    options = shares(test, validation, unseen, max_overlap)
    splits, left_out = hold_out(queries, **options)

    training = defaultdict(list)
    for query in queries:
        if splits.get(query.qid) == "train":
            for docno in query.docnos:
                training[docno].append(content_stems(query.text))
    dropped = 0
    for query in queries:
        split = splits.get(query.qid)
        if any(fraction_of_hash(docno) < unseen for docno in query.docnos):
            dropped += split is None
            assert split == ("test" if query.kind == "heading" else None)
        else:
            assert split is not None
            if split != "train":
                assert query.kind == "heading"
                stems = content_stems(query.text)
                for docno in query.docnos:
                    assert training[docno]
                    assert all(jaccard(stems, other) < max_overlap for other in training[docno])
    assert left_out["queries dropped because their document is unseen"] == dropped
    assert list(splits.values()).count("validation") <= round(validation * len(queries))

    shuffled = chance.sample(queries, len(queries))
    assert hold_out(shuffled, **options) == (splits, left_out)


def test_no_query_is_no_problem():
    assert hold_out([], **shares(0.5, 0.5, 0.5)) == ({}, {})


def test_official_test_queries_stay_and_validation_is_carved_out_of_the_rest():
    queries = [Query(f"t{i}", f"training query {i}", "train", ("d",)) for i in range(200)]
    queries += [Query(f"d{i}", f"training query {i}", "dev", ("d",)) for i in range(50)]
    splits = keep_official(queries, validation_share=0.1)
    assert [split for qid, split in splits.items() if qid.startswith("d")] == ["test"] * 50
    expected = ["validation" if fraction_of_hash(f"training query {i}") < 0.1 else "train" for i in range(200)]
    assert [splits[f"t{i}"] for i in range(200)] == expected
    assert 5 < expected.count("validation") < 40
    assert keep_official(queries[::-1], validation_share=0.1) == splits


def kinds_and_splits(*kinds, share=0.3):
    """The splits that each kind ends in."""
    queries = [Query(f"{kind}{i}", f"{kind} {i}", kind, ("d",)) for kind in kinds for i in range(50)]
    splits = keep_official(queries, validation_share=share)
    return {kind: {split for qid, split in splits.items() if qid.startswith(kind)} for kind in kinds}


def test_official_splits_of_each_shape():
    carved = {"train", "validation"}
    assert kinds_and_splits("train", "dev", "test") == {"train": {"train"}, "dev": {"validation"}, "test": {"test"}}
    assert kinds_and_splits("train", "test") == {"train": carved, "test": {"test"}}
    assert kinds_and_splits("train", "dev") == {"train": carved, "dev": {"test"}}
    assert kinds_and_splits("dev", "test") == {"dev": {"validation"}, "test": {"test"}}
    assert kinds_and_splits("test") == {"test": {"test", "validation"}}
