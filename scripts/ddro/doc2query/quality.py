"""What pseudo queries are worth: numbers of all of them, and a page with the queries of some documents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ddro.core.text import words
from ddro.doc2query.shards import corpus_file, with_queries

SAMPLES = 10
"""Documents whose queries are shown."""


def with_documents(pseudo_queries: Path, corpus: Path) -> Iterator[tuple[dict[str, Any], list[str], bool]]:
    """Yield each document of the corpus (docno, title, body), its queries, and whether it is to be shown.

    Both tables are in the order of the corpus; memory holds a few documents.
    """
    total = corpus_file(corpus).metadata.num_rows
    shown = set(np.linspace(0, total - 1, min(SAMPLES, total)).astype(int).tolist())
    for number, (document, texts) in enumerate(with_queries(pseudo_queries, corpus)):
        yield document, texts, number in shown


def quality(
    documents: Iterable[tuple[Mapping[str, Any], list[str], bool]], ranks: np.ndarray, kept: int
) -> tuple[dict[str, Any], list[tuple[str, str, list[str]]], Counter[int]]:
    """Numbers about pseudo queries.

    Args:
        documents: of `with_documents`.
        ranks: int [searched]: BM25's rank of the document of each query that was searched, 0 for not found.
        kept: the number of queries that the filter kept.

    Returns:
        The numbers by name (shares from 0 to 1); (docno, title, queries) of the documents to be shown; how many queries
        have 1, 2, ... words. A query repeats another if both have the same words in the same order.
    """
    counts: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    samples = []
    for document, texts, shown in documents:
        vocabulary = set(words(f"{document['title']} {document['body']}"))
        of_queries = [words(text) for text in texts]
        counts["documents"] += 1
        counts["documents_without_queries"] += not texts
        counts["repeated"] += len(texts) - len(set(map(tuple, of_queries)))
        counts["words"] += sum(map(len, of_queries))
        counts["words_in_document"] += sum(word in vocabulary for query in of_queries for word in query)
        lengths.update(map(len, of_queries))
        if shown:
            samples.append((document["docno"], document["title"], texts))
    queries = lengths.total()
    numbers = {
        "documents": counts["documents"],
        "documents_without_queries": counts["documents_without_queries"],
        "queries": queries,
        "share_kept": kept / max(queries, 1),
        "share_repeated": counts["repeated"] / max(queries, 1),
        "mean_words": counts["words"] / max(queries, 1),
        "share_of_words_in_document": counts["words_in_document"] / max(counts["words"], 1),
        "queries_searched": len(ranks),
    }
    for depth in (1, 10, 100):
        found = int(((ranks > 0) & (ranks <= depth)).sum())
        numbers[f"share_bm25_rank_{depth}"] = found / max(len(ranks), 1)
    return numbers, samples, lengths
