"""The prefix tree of all docids, as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddro.command import UserError


@dataclass(frozen=True)
class DocidTrie:
    """Prefix tree of docids, nodes numbered level by level in the order of the sorted docids; node 0 is the root.

    In that numbering the children of a node stand side by side, so two arrays hold the tree and a third one the leaves.

    Attributes:
        token: int32 [nodes]: the token on the edge into a node (0 for the root).
        first_child: int32 [nodes + 1]: the children of node n are ``first_child[n] .. first_child[n + 1] - 1``.
        docid: int32 [nodes]: the row of the docid that ends in a node, -1 where none does.
        first_document: int32 [docids + 1]: the documents of docid row d are
            ``documents[first_document[d] : first_document[d + 1]]``.
        documents: int32 [documents]: positions in the docid table, those of one docid in the order of the table.
        depth: the length of the longest docid.
    """

    token: np.ndarray
    first_child: np.ndarray
    docid: np.ndarray
    first_document: np.ndarray
    documents: np.ndarray
    depth: int

    @classmethod
    def build(cls, docids: Sequence[Sequence[int]]) -> DocidTrie:
        """Build the tree of ``docids`` (token ids >= 0, one sequence a document).

        Raises:
            UserError: no docid, an empty one, or one that is a strict prefix of another (it could never be generated).
        """
        lengths = np.fromiter((len(docid) for docid in docids), np.int64, len(docids))
        if not len(lengths):
            raise UserError("there is no docid, so there is nothing to retrieve. Is docids.parquet empty?")
        if not lengths.all():
            raise UserError(f"document {int(np.argmin(lengths))} has an empty docid. Rebuild docids.parquet.")
        depth = int(lengths.max())
        table = np.full((len(docids), depth), -1, np.int32)
        table[np.arange(depth) < lengths[:, None]] = np.concatenate([np.asarray(docid, np.int32) for docid in docids])

        order = np.lexsort(table.T[::-1])
        table = table[order]
        # differs[i, d]: row i leaves the path of row i - 1 at depth d or before, so it opens a node there.
        differs = np.ones(table.shape, bool)
        differs[1:] = np.logical_or.accumulate(table[1:] != table[:-1], axis=1)
        opens = differs & (table >= 0)

        token, parent = [np.zeros(1, np.int32)], [np.zeros(1, np.int64)]
        node_of_row = np.zeros(len(table), np.int64)
        nodes = 1
        for d in range(depth):
            rows = np.flatnonzero(opens[:, d])
            token.append(table[rows, d])
            parent.append(node_of_row[rows])
            inside = table[:, d] >= 0
            node_of_row[inside] = nodes - 1 + np.cumsum(opens[:, d])[inside]
            nodes += len(rows)
        first_child = np.searchsorted(np.concatenate(parent)[1:], np.arange(nodes + 1)).astype(np.int32) + 1

        first_row = np.flatnonzero(differs[:, -1])
        docid = np.full(nodes, -1, np.int32)
        docid[node_of_row[first_row]] = np.arange(len(first_row))
        inner = (docid >= 0) & (np.diff(first_child) > 0)
        if inner.any():
            row = first_row[docid[np.argmax(inner)]]
            raise UserError(
                f"the docid of document {order[row]}, {table[row][table[row] >= 0].tolist()}, is a prefix of another. "
                "Docids of different lengths need an end token."
            )
        return cls(
            token=np.concatenate(token),
            first_child=first_child,
            docid=docid,
            first_document=np.append(first_row, len(table)).astype(np.int32),
            documents=order.astype(np.int32),
            depth=depth,
        )

    def documents_of(self, docid: int) -> np.ndarray:
        """Positions in the docid table of the documents that share docid row ``docid``, in the order of the table."""
        return self.documents[self.first_document[docid] : self.first_document[docid + 1]]

    def children_of(self, prefix: Sequence[int]) -> list[int]:
        """The tokens that may follow ``prefix``; none after a whole docid or after what is no prefix."""
        node = 0
        for wanted in prefix:
            first, last = self.first_child[node], self.first_child[node + 1]
            position = first + np.searchsorted(self.token[first:last], wanted)
            if position >= last or self.token[position] != wanted:
                return []
            node = position
        return self.token[self.first_child[node] : self.first_child[node + 1]].tolist()
