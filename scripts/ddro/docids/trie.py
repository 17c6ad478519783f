"""The prefix tree of all docids, as flat arrays that can be memory-mapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ddro.core.command import UserError
from ddro.core.files import write_whole

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)
class DocidTrie:
    """Prefix tree of docids: the sorted docids, and the nodes above the places where each of them stands alone.

    A docid's row is its place among the sorted docids, so the docids below a node are a range of rows. A node is kept
    only if several docids pass through its parent: below it, what follows is read from the docid itself. Nodes are
    numbered level by level in the order of the rows; node 0 is the root; the children of a node stand side by side.

    Attributes:
        tokens: int32 [tokens]: the sorted docids, one after the other.
        first_token: int64 [docids + 1]: docid d is ``tokens[first_token[d] : first_token[d + 1]]``.
        first_row: int32 [nodes]: the first docid below a node. The token on the edge into a node of level l is token
            l - 1 of this docid.
        end_row: int32 [nodes]: one after the last docid below a node.
        first_child: int32 [nodes + 1]: the children of node n are ``first_child[n] .. first_child[n + 1] - 1``.
        first_document: int32 [docids + 1]: the documents of docid d are
            ``documents[first_document[d] : first_document[d + 1]]``.
        documents: int32 [documents]: positions in the docid table, those of one docid in the order of the table.
    """

    tokens: np.ndarray
    first_token: np.ndarray
    first_row: np.ndarray
    end_row: np.ndarray
    first_child: np.ndarray
    first_document: np.ndarray
    documents: np.ndarray

    @classmethod
    def build(cls, docids: pa.Array | pa.ChunkedArray | Sequence[Sequence[int]]) -> DocidTrie:
        """Build the tree of ``docids``: one list of token ids >= 0 a document, best as an Arrow column.

        Raises:
            UserError: no docid, an empty one, one with a negative token, or one that is a strict prefix of another
                (where it ends, beam search couldn't know whether to stop).
        """
        docids = _as_list_array(docids)
        order, shared = _sort(docids)
        distinct = np.flatnonzero(shared != _SAME)
        sorted_docids = docids.take(pa.array(order[distinct]))
        first_token = sorted_docids.offsets.to_numpy().astype(np.int64)
        shared = shared[distinct]
        _check_no_prefix(shared, np.diff(first_token), order[distinct], sorted_docids)
        first_row, end_row, first_child = _nodes(shared)
        return cls(
            tokens=np.array(sorted_docids.flatten()),
            first_token=first_token - first_token[0],
            first_row=first_row,
            end_row=end_row,
            first_child=first_child,
            first_document=np.append(distinct, len(order)).astype(np.int32),
            documents=order.astype(np.int32),
        )

    def save(self, path: Path | str) -> None:
        """Write the arrays as safetensors, whole or not at all."""
        with write_whole(path) as temporary:
            save_file(
                {field.name: np.ascontiguousarray(getattr(self, field.name)) for field in fields(self)}, temporary
            )

    @classmethod
    def load(cls, path: Path | str) -> DocidTrie:
        """Map what `save` has written into memory: what isn't looked at isn't read.

        Raises:
            UserError: the file isn't there, or isn't such a file.
        """
        from safetensors.torch import load_file  # the one of numpy copies

        try:
            return cls(**{name: tensor.numpy() for name, tensor in load_file(path).items()})
        except (OSError, SafetensorError, TypeError) as error:
            raise UserError(f"{path}: not the file of a trie ({error}). Delete it and run snakemake.") from error

    @cached_property
    def depth(self) -> int:
        """The length of the longest docid."""
        return int(np.diff(self.first_token).max())

    @cached_property
    def shortest(self) -> int:
        """The length of the shortest docid."""
        return int(np.diff(self.first_token).min())

    @cached_property
    def largest_token(self) -> int:
        """The largest token of any docid."""
        return int(self.tokens.max())

    @cached_property
    def _on_devices(self) -> dict[str, SimpleNamespace]:
        return {}

    def on(self, device: torch.device) -> SimpleNamespace:
        """The arrays as tensors on a device, copied there once (a CPU's share our memory); nodes and rows as int64."""
        import torch

        if str(device) not in self._on_devices:
            self._on_devices[str(device)] = SimpleNamespace(
                **{field.name: torch.from_numpy(getattr(self, field.name)).to(device) for field in fields(self)}
            )
        return self._on_devices[str(device)]

    @cached_property
    def levels(self) -> list[tuple[int, int]]:
        """The nodes of each level, from the root's on: (first, one after the last)."""
        levels = [(0, 1)]
        while levels[-1][0] < levels[-1][1]:
            levels.append(tuple(int(self.first_child[node]) for node in levels[-1]))
        return levels[:-1]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def documents_below(self, node: int) -> int:
        """How many documents lie below a node."""
        return int(self.first_document[self.end_row[node]] - self.first_document[self.first_row[node]])

    def documents_of(self, docid: int) -> np.ndarray:
        """Positions in the docid table of the documents that share docid row ``docid``, in the order of the table."""
        return self.documents[self.first_document[docid] : self.first_document[docid + 1]]

    def docid(self, row: int) -> np.ndarray:
        """The tokens of docid row ``row``."""
        return self.tokens[self.first_token[row] : self.first_token[row + 1]]

    def children_of(self, prefix: Sequence[int]) -> list[int]:
        """The tokens that may follow ``prefix``; none after a whole docid or after what is no prefix."""
        first, end = 0, len(self.first_token) - 1
        for position, token in enumerate(prefix):
            column = self._column(first, end, position)
            first, end = first + np.searchsorted(column, token), first + np.searchsorted(column, token, side="right")
        return np.unique(self._column(first, end, len(prefix))).tolist()

    def _column(self, first: int, end: int, position: int) -> np.ndarray:
        """The tokens at ``position`` of rows first .. end - 1, which agree before; none if these end there."""
        starts = self.first_token[first:end] + position
        return self.tokens[starts[starts < self.first_token[first + 1 : end + 1]]]


_SAME = -1


def _as_list_array(docids: pa.Array | pa.ChunkedArray | Sequence[Sequence[int]]) -> pa.ListArray:
    if isinstance(docids, pa.ChunkedArray):
        docids = docids.combine_chunks()
    elif not isinstance(docids, pa.Array):
        docids = pa.array(docids, pa.list_(pa.int32()))
    if not len(docids):
        raise UserError("there is no docid, so there is nothing to retrieve. Is docids.parquet empty?")
    lengths = docids.value_lengths().to_numpy()
    if not lengths.all():
        raise UserError(f"document {int(np.argmin(lengths))} has an empty docid. Rebuild docids.parquet.")
    tokens = docids.flatten().to_numpy()
    if tokens.min() < 0:
        row = int(np.searchsorted(np.cumsum(lengths), np.argmin(tokens), side="right"))
        raise UserError(f"the docid of document {row} has the token {tokens.min()}. Rebuild docids.parquet.")
    return docids


def _sort(docids: pa.ListArray) -> tuple[np.ndarray, np.ndarray]:
    """The order of the docids, and how many tokens each shares with the one before: int64 [docids] both.

    The first shares 0, and one that equals the one before `_SAME`. Sorted level by level: a level looks only at
    docids that share all tokens so far with another, which after a few levels are few.
    """
    tokens = docids.flatten().to_numpy()
    starts = docids.offsets.to_numpy()[:-1].astype(np.int64) - docids.offsets[0].as_py()
    ends = starts + docids.value_lengths().to_numpy()
    base = int(tokens.max()) + 2
    order = np.arange(len(docids))
    shared = np.full(len(docids), _SAME)
    shared[0] = 0
    together = np.arange(len(docids)) if len(docids) > 1 else np.empty(0, np.int64)  # places that aren't settled yet
    level = 0
    while len(together):
        rows = order[together]
        at = starts[rows] + level
        token = np.where(at < ends[rows], tokens[np.minimum(at, len(tokens) - 1)] + 1, 0)  # 0: it has ended
        key = np.cumsum(shared[together] != _SAME) * base + token  # first what was told apart before
        by_key = np.argsort(key, kind="stable")
        order[together], key, token = rows[by_key], key[by_key], token[by_key]
        differs = np.append(True, key[1:] != key[:-1])
        opens = together[differs]
        shared[opens[shared[opens] == _SAME]] = level
        alone = differs & np.append(differs[1:], True)
        together = together[~alone & (token > 0)]
        level += 1
    return order, shared


def _check_no_prefix(shared: np.ndarray, lengths: np.ndarray, documents: np.ndarray, docids: pa.ListArray) -> None:
    inner = np.flatnonzero(shared[1:] == lengths[:-1])
    if len(inner):
        raise UserError(
            f"the docid of document {documents[inner[0]]}, {docids[int(inner[0])].as_py()}, is a prefix of another. "
            "Docids of different lengths need an end token."
        )


def _nodes(shared: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """first_row, end_row and first_child of the tree whose row i shares ``shared[i]`` tokens with row i - 1."""
    rows = len(shared)
    reach = np.maximum(shared, np.append(shared[1:], 0))  # tokens that a row shares with either neighbour
    first_row, end_row = [np.zeros(1, np.int64)], [np.full(1, rows)]
    below = np.arange(rows if rows > 1 else 0)  # the rows below any node of this level
    level = 1
    while len(below):
        opens = np.flatnonzero(shared[below] < level)
        first_row.append(below[opens])
        end_row.append(below[opens] + np.diff(np.append(opens, len(below))))
        below = below[reach[below] >= level]
        level += 1
    sizes = np.cumsum([len(level_rows) for level_rows in first_row])
    first_child = [
        start + np.searchsorted(children, parents)
        for start, parents, children in zip(sizes, first_row, [*first_row[1:], np.empty(0, np.int64)], strict=True)
    ]
    return (
        np.concatenate(first_row).astype(np.int32),
        np.concatenate(end_row).astype(np.int32),
        np.append(np.concatenate(first_child), sizes[-1]).astype(np.int32),
    )
