"""Which queries train, validate and test."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass

from ddro.core.text import content_stems, fraction_of_hash, jaccard


@dataclass(frozen=True)
class Query:
    """A query before it is split: ``kind`` is the part of the source that it comes from."""

    qid: str
    text: str
    kind: str
    docnos: tuple[str, ...]


def has_official_split(kinds: Iterable[str]) -> bool:
    """Whether the collection itself says which queries test."""
    return not {"test", "dev"}.isdisjoint(kinds)


def keep_official(queries: Sequence[Query], *, validation_share: float) -> dict[str, str]:
    """Split as the collection does, by the kinds train, dev, test.

    Queries of kind test test and those of dev validate; where there is no kind test, those of dev test. Where nothing
    validates yet, ``validation_share`` of the training queries do, by a hash of their text; where nothing trains
    either, that share of the test queries do.
    """
    kinds = {query.kind for query in queries}
    names = {"test": "test", "dev": "validation"} if "test" in kinds else {"dev": "test"}
    splits = {query.qid: names.get(query.kind, "train") for query in queries}
    if "validation" not in splits.values():
        carved = "train" if "train" in splits.values() else "test"
        for query in queries:
            if splits[query.qid] == carved and fraction_of_hash(query.text) < validation_share:
                splits[query.qid] = "validation"
    return splits


def hold_out(
    queries: Sequence[Query],
    *,
    test_share: float,
    validation_share: float,
    unseen_share: float,
    validation_unseen_share: float,
    max_overlap: float,
    held_out_kinds: Container[str] = ("heading",),
) -> tuple[dict[str, str], Counter]:
    """Assign each qid to train, validation or test by a hash of its text, and count what is left out.

    * ``unseen_share`` of the documents, by a hash of the docno, are unseen: their queries of ``held_out_kinds`` test,
      their others are dropped, so that training never meets them. Another ``validation_unseen_share`` do the same for
      validation; a query of both kinds of document tests.
    * Of the other queries of ``held_out_kinds``, in the order of their hash, ``test_share`` of all queries test and
      ``validation_share`` validate; a query is taken only if each of its documents keeps a training query and its
      overlap (Jaccard of content-word stems) with every training query of its documents is below ``max_overlap``.
    * The rest train.

    Returns:
        {qid: split} of the queries that are kept, and counts of those that are not.
    """
    counts: Counter = Counter()
    splits: dict[str, str] = {}
    for query in queries:
        least = min(fraction_of_hash(docno) for docno in query.docnos)
        if least >= unseen_share + validation_unseen_share:
            splits[query.qid] = "train"
        elif query.kind in held_out_kinds:
            splits[query.qid] = "test" if least < unseen_share else "validation"
        else:
            counts["queries dropped because their document is unseen"] += 1

    stems = {query.qid: content_stems(query.text) for query in queries}
    training: dict[str, set[str]] = defaultdict(set)
    for query in queries:
        if splits.get(query.qid) == "train":
            for docno in query.docnos:
                training[docno].add(query.qid)

    def may_leave_training(query: Query) -> bool:
        others = [training[docno] - {query.qid} for docno in query.docnos]
        return all(others) and all(
            jaccard(stems[query.qid], stems[other]) < max_overlap for qids in others for other in qids
        )

    unseen = Counter(splits.values())
    quotas = [
        (split, round(share * len(queries)) - unseen[split])
        for split, share in (("test", test_share), ("validation", validation_share))
    ]
    candidates = [query for query in queries if query.kind in held_out_kinds and splits.get(query.qid) == "train"]
    in_order = iter(sorted(candidates, key=lambda query: (fraction_of_hash(query.text), query.qid)))
    for split, quota in quotas:
        taken = 0
        while taken < quota and (query := next(in_order, None)):
            if may_leave_training(query):
                splits[query.qid] = split
                taken += 1
                for docno in query.docnos:
                    training[docno].remove(query.qid)
            else:
                counts["held-out candidates kept for training (too close to a training query, or its only one)"] += 1
    return splits, counts
