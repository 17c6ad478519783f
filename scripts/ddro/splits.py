"""Which queries train, validate and test, and which documents make the corpus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ddro.text import content_stems, fraction_of_hash, jaccard


@dataclass(frozen=True)
class Query:
    """A query before it is split: ``kind`` is the part of the source that it comes from."""

    qid: str
    text: str
    kind: str
    docnos: tuple[str, ...]


def most_judged(judged: Mapping[str, int], top_k: int) -> list[str]:
    """The ``top_k`` docnos with most judged queries (at least one), most judged first, ties by docno (METHOD 2)."""
    ranked = sorted((docno for docno, count in judged.items() if count > 0), key=lambda docno: (-judged[docno], docno))
    return ranked[:top_k]


def keep_official(queries: Sequence[Query], *, validation_share: float, test_kind: str = "dev") -> dict[str, str]:
    """Split as the collection does: queries of ``test_kind`` test, the others train.

    Of the others, ``validation_share`` validate, by a hash of their text.
    """
    return {
        query.qid: "test"
        if query.kind == test_kind
        else ("validation" if fraction_of_hash(query.text) < validation_share else "train")
        for query in queries
    }


def hold_out(
    queries: Sequence[Query],
    *,
    test_share: float,
    validation_share: float,
    unseen_share: float,
    max_overlap: float,
    held_out_kind: str = "heading",
) -> tuple[dict[str, str], Counter]:
    """Assign each qid to train, validation or test by a hash of its text, and count what is left out.

    * ``unseen_share`` of the documents, by a hash of the docno, are unseen: their queries of ``held_out_kind`` test,
      their others are dropped, so that training never meets them.
    * Of the other queries of ``held_out_kind``, in the order of their hash, ``test_share`` of all queries test and
      ``validation_share`` validate; a query is taken only if each of its documents keeps a training query and its
      overlap (Jaccard of content-word stems) with every training query of its documents is below ``max_overlap``.
    * The rest train.

    Returns:
        {qid: split} of the queries that are kept, and counts of those that are not.
    """
    counts: Counter = Counter()
    splits: dict[str, str] = {}
    for query in queries:
        if not any(fraction_of_hash(docno) < unseen_share for docno in query.docnos):
            splits[query.qid] = "train"
        elif query.kind == held_out_kind:
            splits[query.qid] = "test"
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

    unseen_tests = sum(split == "test" for split in splits.values())
    quotas = [("test", round(test_share * len(queries)) - unseen_tests)]
    quotas += [("validation", round(validation_share * len(queries)))]
    candidates = [query for query in queries if query.kind == held_out_kind and splits.get(query.qid) == "train"]
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
