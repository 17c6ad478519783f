"""The best docids that a beam search has found so far."""

from __future__ import annotations

import torch

NONE = -1


class FoundDocids:
    """Docids that have ended, the ``wanted`` best of each query, and the score that others must reach.

    Attributes:
        wanted: docids a query.
        floor: float32 [queries]: what scores less doesn't count. It rises to the score of a query's last wanted docid.
    """

    def __init__(self, wanted: int, floor: torch.Tensor) -> None:
        self.wanted, self.floor = wanted, floor
        self._query = torch.empty(0, dtype=torch.long, device=floor.device)  # ordered by query, score, row
        self._row, self._score = self._query, floor.new_empty(0)

    def add(self, query: torch.Tensor, row: torch.Tensor, score: torch.Tensor) -> None:
        """Add docids (rows of the trie); those below the floor are left out."""
        keep = score >= self.floor[query]
        query = torch.cat([self._query, query[keep]])
        row = torch.cat([self._row, row[keep]])
        score = torch.cat([self._score, score[keep]])
        order = row.argsort(stable=True)
        order = order[score[order].argsort(stable=True, descending=True)]
        order = order[query[order].argsort(stable=True)]
        query, row, score = query[order], row[order], score[order]

        rank = self._rank(query)
        keep = rank < self.wanted
        self._query, self._row, self._score = query[keep], row[keep], score[keep]
        last = rank == self.wanted - 1
        reached = torch.maximum(score[last], self.floor[query[last]])
        self.floor = self.floor.index_copy(0, query[last], reached)

    def may_drop(self, query: torch.Tensor) -> bool:
        """Whether any of the live beams, which belong to ``query`` [beams], may yet fall below the floor."""
        ended, live = (torch.bincount(of, minlength=len(self.floor)) for of in (self._query, query))
        return bool((((ended + live > self.wanted) | (self.floor > -torch.inf)) & (live > 0)).any())

    def ranked(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Docids, int64 [queries, wanted], -1 where there is none, and their scores, float32, -inf there."""
        docids = self._query.new_full((len(self.floor), self.wanted), NONE)
        scores = self._score.new_full(docids.shape, -torch.inf)
        place = self._query, self._rank(self._query)
        docids[place], scores[place] = self._row, self._score
        return docids, scores

    def _rank(self, query: torch.Tensor) -> torch.Tensor:
        """The place of each docid among those of its query, from 0."""
        counts = torch.bincount(query, minlength=len(self.floor))
        return torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]
