"""The prefix tree, against a search through all docids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddro.command import UserError
from ddro.trie import DocidTrie

DOCIDS = [[5, 7, 1], [5, 7, 2], [5, 8, 1], [4, 1], [5, 7, 2]]


def test_the_arrays_of_a_small_tree():
    r"""Nodes by level: 0 the root; 1 = 4, 2 = 5; 3 = 4 1, 4 = 5 7, 5 = 5 8; 6 = 5 7 1, 7 = 5 7 2, 8 = 5 8 1."""
    trie = DocidTrie.build(DOCIDS)
    assert trie.token.tolist() == [0, 4, 5, 1, 7, 8, 1, 2, 1]
    assert trie.first_child.tolist() == [1, 3, 4, 6, 6, 8, 9, 9, 9, 9]
    assert trie.docid.tolist() == [-1, -1, -1, 0, -1, -1, 1, 2, 3]
    assert trie.first_document.tolist() == [0, 1, 2, 4, 5]
    assert trie.documents.tolist() == [3, 0, 1, 4, 2]
    assert trie.depth == 3
    assert {array.dtype for array in vars(trie).values() if isinstance(array, np.ndarray)} == {np.dtype(np.int32)}


def test_documents_that_share_a_docid_are_all_there_in_the_order_of_the_table():
    trie = DocidTrie.build([[3], [2], [3], [1], [3], [2]])
    assert [trie.documents_of(docid).tolist() for docid in range(3)] == [[3], [1, 5], [0, 2, 4]]


def test_what_follows_a_prefix():
    trie = DocidTrie.build(DOCIDS)
    assert trie.children_of([]) == [4, 5]
    assert trie.children_of([5]) == [7, 8]
    assert trie.children_of([5, 7]) == [1, 2]
    assert trie.children_of([5, 7, 1]) == trie.children_of([9]) == trie.children_of([4, 7]) == []


@pytest.mark.parametrize(
    ("docids", "message"),
    [
        ([], "there is no docid"),
        ([[1], [], [2]], "document 1 has an empty docid"),
        ([[1, 2], [3, 1], [1]], r"the docid of document 2, \[1\], is a prefix of another"),
        ([[1, 2, 3], [1, 2, 4], [1, 2]], r"the docid of document 2, \[1, 2\], is a prefix of another"),
        ([[7], [7], [7, 7]], r"the docid of document 0, \[7\], is a prefix of another"),
    ],
)
def test_docids_that_could_never_be_generated_are_refused(docids, message):
    with pytest.raises(UserError, match=message):
        DocidTrie.build(docids)


END = 0
tokens = st.integers(1, 4)
fixed_length = st.integers(1, 4).flatmap(
    lambda length: st.lists(st.lists(tokens, min_size=length, max_size=length), min_size=1, max_size=40)
)
with_end = st.lists(st.lists(tokens, max_size=5).map(lambda docid: [*docid, END]), min_size=1, max_size=40)


@given(st.one_of(fixed_length, with_end))
def test_the_tree_knows_each_prefix_and_each_docid(docids):
    trie = DocidTrie.build(docids)
    distinct = sorted(map(tuple, {tuple(docid) for docid in docids}))
    prefixes = {docid[:length] for docid in distinct for length in range(len(docid) + 1)}
    assert len(trie.token) == len(prefixes)
    assert len(trie.first_child) == len(prefixes) + 1
    assert trie.depth == max(map(len, distinct))
    for prefix in prefixes:
        expected = {docid[len(prefix)] for docid in distinct if docid[: len(prefix)] == prefix and docid != prefix}
        assert trie.children_of(prefix) == sorted(expected)

    def paths(node, path):
        if trie.docid[node] >= 0:
            yield int(trie.docid[node]), path
        for child in range(trie.first_child[node], trie.first_child[node + 1]):
            yield from paths(child, (*path, int(trie.token[child])))

    assert dict(paths(0, ())) == dict(enumerate(distinct))
    for row, docid in enumerate(distinct):
        assert trie.documents_of(row).tolist() == [i for i, other in enumerate(docids) if tuple(other) == docid]


def test_many_docids_of_many_tokens():
    docids = np.random.default_rng(0).integers(0, 256, (20000, 8))
    trie = DocidTrie.build(docids.tolist())
    assert sorted(trie.documents.tolist()) == list(range(20000))
    for row in (0, 1234, 19999):
        document = int(trie.documents_of(row)[0])
        node = 0
        for token in docids[document]:
            children = slice(trie.first_child[node], trie.first_child[node + 1])
            node = children.start + int(np.flatnonzero(trie.token[children] == token)[0])
        assert trie.docid[node] == row
