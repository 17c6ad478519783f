"""The best docids that a beam search has found so far, and what may still be better."""

from __future__ import annotations

import torch

NONE = -1


class FoundDocids:
    """Docids that have ended, the ``wanted`` best of each query, and the score that others must reach.

    The score of a docid is the sum of its tokens' log-probabilities divided by length^length_penalty, its length being
    the number of these tokens, an end token among them.

    Attributes:
        wanted: docids a query.
        floor: float32 [queries]: what scores less doesn't count. It rises to the score of a query's last wanted docid.
        length_penalty: at least 0.
    """

    def __init__(self, wanted: int, floor: torch.Tensor, length_penalty: float = 0) -> None:
        self.wanted, self.floor, self.length_penalty = wanted, floor, length_penalty
        self._query = torch.empty(0, dtype=torch.long, device=floor.device)  # ordered by query, score, row
        self._row, self._score = self._query, floor.new_empty(0)

    def add(self, query: torch.Tensor, row: torch.Tensor, total: torch.Tensor, length: torch.Tensor | int) -> None:
        """Add docids (rows of the trie) with the sums of their log-probabilities, but for those below the floor."""
        score = self._divided(total, length)
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

    def may_count(
        self,
        query: torch.Tensor,
        total: torch.Tensor,
        live: torch.Tensor,
        length: int,
        longest: torch.Tensor | int,
    ) -> torch.Tensor:
        """Which of the ``live`` beams may yet end among the wanted: bool [beams].

        Sums only fall, so none ends with more than its sum divided by the length of the ``longest`` docid below it.
        With a length penalty, `generate` also gives a query up as soon as none of its beams, divided by the length they
        have now, is above the floor, though they may rise again (transformers' `early_stopping=False`). What is dropped
        for the first reason is too low to matter for the second.

        Args:
            query: int64 [beams].
            total: float32 [beams]: the sums of the log-probabilities.
            live: bool [beams].
            length: tokens of all beams.
            longest: tokens, of all docids or int64 [beams].
        """
        if not self.length_penalty:
            return live & (total >= self.floor[query])
        floor = self.floor[query]
        above = live & (self._divided(total, length) > floor)
        open_queries = torch.zeros_like(self.floor).index_add_(0, query, above.to(self.floor.dtype)) > 0
        return live & open_queries[query] & (self._divided(total, longest) >= floor)

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

    def _divided(self, total: torch.Tensor, length: torch.Tensor | int) -> torch.Tensor:
        return total / length**self.length_penalty if self.length_penalty else total

    def _rank(self, query: torch.Tensor) -> torch.Tensor:
        """The place of each docid among those of its query, from 0."""
        counts = torch.bincount(query, minlength=len(self.floor))
        return torch.arange(len(query), device=query.device) - (counts.cumsum(0) - counts)[query]


def best_of_rows(table: torch.Tensor, count: int) -> torch.Tensor:
    """Which values of each row of [rows, columns] are the ``count`` best; of equal ones those that stand first."""
    if table.shape[1] <= count:
        return table > -torch.inf
    last = table.topk(count, dim=1).values[:, -1:]
    above, equal = table > last, (table == last) & (table > -torch.inf)
    return above | (equal & (equal.cumsum(1) <= count - above.sum(1, keepdim=True)))
