"""Validation by retrieval during training: held-out queries, ranked with the model as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ddro.core.command import UserError
from ddro.core.text import smallest_hashes
from ddro.corpora.judgements import JudgedQuery, read_own_documents, relevant_documents
from ddro.docids.trie import DocidTrie
from ddro.models.tokenizer import encode
from ddro.retrieval.beam_search import rank_documents
from ddro.retrieval.ranking import reciprocal_rank
from ddro.training.batches import instance_dataset

MRR = "eval_mrr@10"  # the name of the measure in the Trainer's log


@dataclass
class ValidationRetrieval:
    """Retrieval for held-out queries.

    Attributes:
        trie: the docids.
        qids: of the queries.
        input_ids: the tokens of each query.
        relevant: the rows of the docid table that are relevant to each query.
        num_beams: at least 10.
        length_penalty: of the beam search.
        batch_size: queries that are decoded together.
        own: of each query the row that is the query itself, which its ranking leaves out, or None.
    """

    trie: DocidTrie
    qids: Sequence[str]
    input_ids: Sequence[Sequence[int]]
    relevant: Sequence[set[int]]
    num_beams: int
    length_penalty: float = 0
    batch_size: int = 64
    own: Sequence[int | None] | None = None

    def reciprocal_ranks(self, model: PreTrainedModel, share: slice = slice(None)) -> Iterator[float]:
        """For each query of ``share`` 1 / rank of the first relevant document among the first ten, 0 without one."""
        own = [None] * len(self.qids) if self.own is None else self.own
        queries = list(zip(self.input_ids, self.relevant, own, strict=True))[share]
        for first in range(0, len(queries), self.batch_size):
            batch = queries[first : first + self.batch_size]
            rankings = rank_documents(
                model,
                self.trie,
                [query for query, _, _ in batch],
                self.num_beams,
                length_penalty=self.length_penalty,
                own=[row for _, _, row in batch],
            )
            for (documents, _), (_, relevant, _) in zip(rankings, batch, strict=True):
                yield reciprocal_rank(documents[:10].tolist(), relevant)


def sample_queries(judged: Sequence[JudgedQuery], count: int | None, where: Path) -> Sequence[JudgedQuery]:
    """The ``count`` queries whose qids have the smallest hashes, in their order; all of them where it is None.

    Raises:
        UserError: there are fewer.
    """
    if count is None:
        return judged
    if len(judged) < count:
        raise UserError(
            f"{where}: {len(judged)} validation queries have a relevant document, {count} are asked for. Lower "
            "validation_queries in the recipe, write null for all, or raise split.validation_share."
        )
    chosen = set(smallest_hashes([query.qid for query in judged], count))
    return [query for query in judged if query.qid in chosen]


def validation_retrieval(
    queries: Path,
    qrels: Path,
    docids: pa.Table,
    tokenizer: PreTrainedTokenizerBase,
    *,
    count: int | None,
    num_beams: int,
    length_penalty: float,
    max_query_tokens: int,
) -> ValidationRetrieval:
    """Retrieval for ``count`` of the validation queries; ``docids`` is the whole docid table."""
    judged = sample_queries(relevant_documents(queries, qrels, "validation", docids["docno"]), count, queries)
    own = read_own_documents(queries)
    row_of = {docno: row for row, docno in enumerate(docids["docno"].to_pylist())}
    return ValidationRetrieval(
        trie=DocidTrie.build(docids["tokens"]),
        qids=[query.qid for query in judged],
        input_ids=encode(tokenizer, [query.text for query in judged], max_query_tokens),
        relevant=[{row_of[docno] for docno in query.docnos} for query in judged],
        num_beams=num_beams,
        length_penalty=length_penalty,
        own=[row_of.get(query.qid) if query.qid in own else None for query in judged],
    )


def validation_instances(retrieval: ValidationRetrieval) -> datasets.Dataset:
    """Each validation query with each of its relevant documents, for the validation loss."""
    pairs = [
        (tokens, row)
        for tokens, relevant in zip(retrieval.input_ids, retrieval.relevant, strict=True)
        for row in sorted(relevant)
    ]
    return instance_dataset([tokens for tokens, _ in pairs], [row for _, row in pairs])
