"""From what people wrote above examples to queries: what the data sets that are made of examples have in common."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddro.core.text import content_stems
from ddro.corpora.collection import Collection

MIN_CONTENT_WORDS = 3
MAX_RELEVANT = 3


@dataclass(frozen=True)
class Document:
    """A reference text: of an AWS operation (docno ``command/operation``), of an Ansible module (its full name)."""

    docno: str
    url: str
    title: str
    body: str


@dataclass(frozen=True)
class Phrase:
    """What a human wrote above an example; ``kind``: ``heading`` or ``sentence`` (AWS), ``task`` (Ansible)."""

    text: str
    kind: str
    docno: str


@dataclass(frozen=True)
class Need:
    """An information need: one query text and the documents that answer it."""

    qid: str
    text: str
    kind: str
    docnos: tuple[str, ...]


def information_needs(found: list[Phrase]) -> tuple[list[Need], Counter]:
    """Unite phrases that have the same set of content-word stems; return the needs and the counts of what is dropped.

    A need is named by its first heading (else its first sentence); its documents are those of all its phrases. Needs of
    fewer than 3 content words or with more than 3 documents are dropped and counted. Sorted by qid.
    """
    groups: dict[frozenset[str], list[Phrase]] = defaultdict(list)
    for phrase in found:
        groups[content_stems(phrase.text)].append(phrase)
    dropped: Counter = Counter()
    needs = []
    for stems, members in groups.items():
        docnos = tuple(sorted({phrase.docno for phrase in members}))
        if len(stems) < MIN_CONTENT_WORDS:
            dropped["phrases with fewer than 3 content words"] += len(members)
        elif len(docnos) > MAX_RELEVANT:
            dropped["phrases with more than 3 relevant documents"] += len(members)
        else:
            dropped["phrases united with another of the same content words"] += len(members) - 1
            first = min(members, key=lambda phrase: (phrase.kind != "heading", phrase.docno))
            needs.append((first, docnos))
    needs.sort(key=lambda pair: (pair[1], pair[0].kind, pair[0].text))
    return [Need(f"q{i:05d}", phrase.text, phrase.kind, docnos) for i, (phrase, docnos) in enumerate(needs)], dropped


def write_collection(
    documents: Sequence[Document],
    needs: Iterable[Need],
    left_out: Counter,
    variant: str,
    *,
    output: Path,
    report: Path,
    expected: Iterable[tuple[str, int]],
) -> None:
    """Write a data set of documents and needs as `Collection.write` does, where the arguments are described."""
    import pyarrow as pa

    from ddro.core.files import write_table
    from ddro.core.tables import DOCUMENTS

    rows = pa.Table.from_pylist([vars(document) for document in documents], DOCUMENTS)
    write_table(rows, output / "documents.parquet", DOCUMENTS, ["docno"])
    collection = Collection(tolerance=0)
    collection.left_out = left_out
    for need in needs:
        collection.queries[need.qid] = (need.text, need.kind)
        collection.judgements |= {(need.qid, docno): 1 for docno in need.docnos}
    collection.write(output, report, variant, {document.docno for document in documents}, expected=expected)
