"""The prefix tree, against a search through all docids."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddro.core.command import UserError
from ddro.docids.trie import DocidTrie

DOCIDS = [[5, 7, 1], [5, 7, 2], [5, 8, 1], [4, 1], [5, 7, 2]]


def test_the_arrays_of_a_small_tree():
    """Nodes by level: 0 the root; 1 = 4, 2 = 5; 3 = 5 7, 4 = 5 8; 5 = 5 7 1, 6 = 5 7 2. Below 4 and 5 8 all is said."""
    trie = DocidTrie.build(DOCIDS)
    assert trie.tokens.tolist() == [4, 1, 5, 7, 1, 5, 7, 2, 5, 8, 1]
    assert trie.first_token.tolist() == [0, 2, 5, 8, 11]
    assert trie.first_row.tolist() == [0, 0, 1, 1, 3, 1, 2]
    assert trie.end_row.tolist() == [4, 1, 4, 3, 4, 2, 3]
    assert trie.first_child.tolist() == [1, 3, 3, 5, 7, 7, 7, 7]
    assert trie.first_document.tolist() == [0, 1, 2, 4, 5]
    assert trie.documents.tolist() == [3, 0, 1, 4, 2]
    assert trie.levels == [(0, 1), (1, 3), (3, 5), (5, 7)]
    assert (trie.depth, trie.shortest, trie.largest_token) == (3, 2, 8)
    assert [trie.documents_below(node) for node in range(7)] == [5, 1, 4, 3, 1, 1, 2]


def test_a_saved_tree_is_the_same_tree(tmp_path):
    trie = DocidTrie.build(DOCIDS)
    trie.save(tmp_path / "trie.safetensors")
    loaded = DocidTrie.load(tmp_path / "trie.safetensors")
    for name, array in vars(DocidTrie.build(DOCIDS)).items():
        assert np.array_equal(getattr(loaded, name), array)
        assert getattr(loaded, name).dtype == array.dtype
    assert loaded.children_of([5, 7]) == [1, 2]


@pytest.mark.parametrize("content", [b"", b"not a trie"])
def test_another_file_is_no_tree(tmp_path, content):
    (tmp_path / "trie.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="not the file of a trie"):
        DocidTrie.load(tmp_path / "trie.safetensors")
    with pytest.raises(UserError, match="not the file of a trie"):
        DocidTrie.load(tmp_path / "nothing.safetensors")


def test_an_arrow_column_in_chunks_and_a_slice_of_it():
    column = pa.chunked_array([[[9, 9]], DOCIDS[:2], DOCIDS[2:]], pa.list_(pa.int32()))
    for docids in (column[1:], column.combine_chunks()[1:]):
        trie = DocidTrie.build(docids)
        assert trie.tokens.tolist() == DocidTrie.build(DOCIDS).tokens.tolist()
        assert trie.documents.tolist() == [3, 0, 1, 4, 2]


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
        ([[1, 2], [3, 4, 5], [6, -1]], "the docid of document 2 has the token -1"),
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
    assert trie.depth == max(map(len, distinct))
    for prefix in prefixes:
        expected = {docid[len(prefix)] for docid in distinct if docid[: len(prefix)] == prefix and docid != prefix}
        assert trie.children_of(prefix) == sorted(expected)
    for row, docid in enumerate(distinct):
        assert tuple(trie.docid(row)) == docid
        assert trie.documents_of(row).tolist() == [i for i, other in enumerate(docids) if tuple(other) == docid]

    def below(prefix):
        return [row for row, docid in enumerate(distinct) if docid[: len(prefix)] == prefix]

    kept = {prefix for prefix in prefixes if not prefix or len(below(prefix[:-1])) > 1}
    assert len(trie.first_row) == len(kept)

    def check(node, prefix):
        rows = list(range(trie.first_row[node], trie.end_row[node]))
        assert rows == below(prefix)
        assert trie.documents_below(node) == sum(tuple(docid) in {distinct[row] for row in rows} for docid in docids)
        children = range(trie.first_child[node], trie.first_child[node + 1])
        tokens = [int(trie.docid(trie.first_row[child])[len(prefix)]) for child in children]
        assert tokens == (trie.children_of(prefix) if len(rows) > 1 else [])
        return 1 + sum(check(child, (*prefix, token)) for child, token in zip(children, tokens, strict=True))

    assert check(0, ()) == len(kept)


def test_many_docids_of_many_tokens():
    docids = np.random.default_rng(0).integers(0, 256, (20000, 8))
    trie = DocidTrie.build(docids.tolist())
    assert sorted(trie.documents.tolist()) == list(range(20000))
    assert np.array_equal(trie.tokens.reshape(-1, 8), docids[np.lexsort(docids.T[::-1])])
    assert np.array_equal(docids[trie.documents].ravel(), trie.tokens)
