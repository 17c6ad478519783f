"""Validation queries as the trainers want them."""

from __future__ import annotations

from pathlib import Path

import datasets
import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from ddro.judgements import relevant_documents
from ddro.seq2seq import encode
from ddro.training import ValidationRetrieval, instance_dataset
from ddro.trie import DocidTrie


def validation_retrieval(
    queries: Path,
    qrels: Path,
    docids: pa.Table,
    tokenizer: PreTrainedTokenizerBase,
    *,
    num_beams: int,
    max_query_tokens: int,
) -> ValidationRetrieval:
    """Retrieval for the validation queries; ``docids`` is the whole docid table."""
    judged = relevant_documents(queries, qrels, "validation", docids["docno"])
    row_of = {docno: row for row, docno in enumerate(docids["docno"].to_pylist())}
    return ValidationRetrieval(
        trie=DocidTrie.build(docids["tokens"]),
        input_ids=encode(tokenizer, [query.text for query in judged], max_query_tokens),
        relevant=[{row_of[docno] for docno in query.docnos} for query in judged],
        num_beams=num_beams,
    )


def validation_instances(retrieval: ValidationRetrieval) -> datasets.Dataset:
    """Each validation query with each of its relevant documents, for the validation loss."""
    pairs = [
        (tokens, row)
        for tokens, relevant in zip(retrieval.input_ids, retrieval.relevant, strict=True)
        for row in sorted(relevant)
    ]
    return instance_dataset([tokens for tokens, _ in pairs], [row for _, row in pairs])
