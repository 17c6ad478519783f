"""Docids by number, and the documents that share one."""

import numpy as np
import pyarrow as pa
import pytest

from ddro.core.command import UserError
from ddro.docids.tokens import (
    atomic_tokens,
    check_docids,
    code_tokens,
    code_usage,
    collision_report,
    collisions,
    extend,
    with_padding,
    with_tokens_of_its_own,
)
from ddro.docids.trie import DocidTrie


def test_code_tokens_of_the_paper():
    """24 sub-spaces of 256 centroids behind T5's 32,128 embeddings: 6,144 new tokens, 38,272 in all."""
    codes = np.zeros((2, 24), np.int32)
    codes[1] = 255
    tokens = code_tokens(codes, 256, 32128)
    assert tokens.dtype == np.int32
    assert tokens[0].tolist() == list(range(32128, 38272, 256))
    assert tokens[1].tolist() == list(range(32128 + 255, 38272, 256))
    assert tokens.max() + 1 == 38272


def test_code_tokens_of_different_subspaces_are_different():
    codes = np.stack(np.meshgrid(*[np.arange(4)] * 3), axis=-1).reshape(-1, 3)
    tokens = code_tokens(codes, 4, 10)
    assert [set(column) for column in tokens.T.tolist()] == [{10, 11, 12, 13}, {14, 15, 16, 17}, {18, 19, 20, 21}]


def test_atomic_tokens():
    assert atomic_tokens(3, 100).tolist() == [[100], [101], [102]]
    assert atomic_tokens(3, 100).dtype == np.int32


SHARED = [[1, 2], [3], [1, 2], [3], [1, 2], [4], [2, 1]]


def test_documents_of_the_same_docid():
    assert collisions(SHARED) == [[0, 2, 4], [1, 3]]
    assert collision_report(collisions(SHARED)) == {
        "groups": 2,
        "documents": 5,
        "largest": 3,
        "groups_of_size": {"2": 1, "3": 1},
    }
    assert collision_report(collisions([[1, 2], [1]])) == {
        "groups": 0,
        "documents": 0,
        "largest": 1,
        "groups_of_size": {},
    }


def test_one_more_token_tells_documents_apart():
    docids = [list(docid) for docid in SHARED]
    extend(docids, collisions(docids), 50, None)
    assert docids == [[1, 2, 50], [3, 50], [1, 2, 51], [3, 51], [1, 2, 52], [4], [2, 1]]
    assert len(DocidTrie.build(docids).documents) == 7  # no docid is the beginning of another


def test_the_end_token_stays_the_last():
    docids = [[7, 8, 1], [7, 1], [7, 8, 1]]
    extend(docids, collisions(docids), 50, 1)
    assert docids == [[7, 8, 50, 1], [7, 1], [7, 8, 51, 1]]
    assert len(DocidTrie.build(docids).documents) == 3


def test_code_usage():
    """Two bits where four codes are used alike, none where one is; 1/2, 1/4, 1/4 has 1.5."""
    codes = np.array([[0, 3, 1], [1, 3, 1], [2, 3, 0], [3, 3, 2]])
    assert code_usage(codes, 4) == {"entropy_bits": [2.0, 0.0, 1.5], "codes_in_use": [4, 1, 3]}


ALLOWED = [range(100, 104), range(104, 108)]


@pytest.mark.parametrize(
    ("docid", "shortest", "end", "message"),
    [
        ([104, 105], 2, None, "t:3: token 104 at position 0 .* isn't one of this position, 100 to 103"),
        ([100, 108], 2, None, "t:3: token 108 at position 1 .* 104 to 107"),
        ([100], 2, None, "t:3: a docid of 1 tokens; 2 to 2 are possible"),
        ([100, 105, 100], 2, None, "t:3: a docid of 3 tokens; 2 to 2 are possible"),
        ([], 1, None, "t:3: a docid of 0 tokens"),
        ([], 0, 1, "t:3: the docid doesn't end with the end token, 1"),
        ([100, 105], 0, 1, "t:3: the docid doesn't end with the end token, 1"),
        ([100, 1, 1], 0, 1, "t:3: token 1 at position 1"),
    ],
)
def test_a_docid_that_no_model_has_is_named(docid, shortest, end, message):
    good = [103, 107] if end is None else [103, end]
    check_docids([good], ["t:1"], ALLOWED, shortest, end)
    with pytest.raises(UserError, match=message):
        check_docids([good, docid], ["t:1", "t:3"], ALLOWED, shortest, end)


def test_docids_of_words_for_a_decoder_that_has_no_words():
    docids, first_new = with_tokens_of_its_own([[700, 50, 102], [50, 90, 50, 102]], 102, 1, 2)
    assert docids == [[4, 2, 1], [2, 3, 2, 1]]
    assert first_new == 5


def test_padding_takes_the_place_of_the_end_token():
    docids = pa.chunked_array([[[7, 8, 1], [9, 1]], [[5], [1], [7, 1, 8, 1]]], pa.list_(pa.int32()))
    assert with_padding(docids, None, "ABCDE") is docids
    padded = with_padding(docids, 3, "ABCDE")
    assert padded.to_pylist() == [[7, 8, 0], [9, 0, 0], [5, 0, 0], [0, 0, 0], [7, 1, 8]]
    assert padded.type == docids.type
    assert with_padding(docids.slice(1, 2), 1, "ABCDE").to_pylist() == [[9], [5]]  # of a part of a table
    assert len(DocidTrie.build(padded).documents) == 5
    with pytest.raises(UserError, match=r"padding is 2, but the docid of E has 3 tokens .* Write 3 or more"):
        with_padding(docids, 2, "ABCDE")
