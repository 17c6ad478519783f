"""The columns of every table that one rule hands to another."""

import pyarrow as pa


def columns(schema: pa.Schema, *names: str) -> pa.Schema:
    """The named columns of a table alone, for whoever reads no others."""
    return pa.schema([schema.field(name) for name in names])


DOCUMENTS = pa.schema({"docno": pa.string(), "url": pa.string(), "title": pa.string(), "body": pa.string()})
CONTENT_START = pa.field("content_start", pa.int32())
"""A further column of documents and corpus, only where a page has an abstract (Natural Questions): the characters of
the body before its content."""

CORPUS = DOCUMENTS.append(pa.field("judged_queries", pa.int32()))
"""Sorted by judged_queries (descending), then docno: row i is document i of every array that follows."""

RAW_QUERIES = pa.schema({"qid": pa.string(), "text": pa.string(), "kind": pa.string()})
"""``kind`` is the part of the source that a query comes from; the split rule of its data set reads it."""

QUERIES = pa.schema({"qid": pa.string(), "text": pa.string(), "split": pa.string()})
OWN_DOCUMENTS = b"own_documents"
"""Metadata of a table of `QUERIES`: JSON, the qids of those that are documents of the corpus, under the same id."""

QRELS = pa.schema({"qid": pa.string(), "docno": pa.string(), "relevance": pa.int32()})
PSEUDO_QUERIES = pa.schema({"docno": pa.string(), "rank": pa.int32(), "text": pa.string()})
PSEUDO_QUERY_RANKS = pa.schema({"docno": pa.string(), "rank": pa.int32(), "bm25_rank": pa.int32()})
"""``bm25_rank`` is BM25's rank of the document for its own pseudo query, 0 where BM25 doesn't find it."""

RUN = pa.schema({"qid": pa.string(), "docno": pa.string(), "rank": pa.int32(), "score": pa.float64()})
DOCIDS = pa.schema({"docno": pa.string(), "tokens": pa.list_(pa.int32())})
"""``tokens`` are ids of the model's extended vocabulary; documents may share a docid, each keeps its row.

The rows stand in the order in which documents of one docid are ranked: that of `ddro.docids.tokens.ranking_order`."""

INSTANCES = pa.schema({"docno": pa.string(), "text": pa.string(), "input_ids": pa.list_(pa.int32())})
NEGATIVES = pa.schema({"qid": pa.string(), "positive": pa.string(), "negative": pa.string(), "rank": pa.int32()})
"""``rank`` is the negative's BM25 rank."""

SPLITS = ("train", "validation", "test")
QUERY_SETS = (*SPLITS, "documents")
"""What a query may be in ``QUERIES``: of a split, or a document's own words (make_document_queries)."""

STAGES = ("pretrain", "search_pretrain", "finetune")
BASELINES = ("doct5query", "dense")
SYSTEMS = ("bm25", *BASELINES, "sft", "ddro")
"""All systems of the table, in its order; of the baselines a recipe chooses."""

PRECISIONS = ("float32", "tf32", "bfloat16")
"""What a model computes in (see `ddro.models.precision`)."""

MEASURES = ("MRR@10", "R@1", "R@5", "R@10", "Success@1", "Success@10", "nDCG@10")
PER_QUERY = pa.schema(
    [("qid", pa.string()), ("docno", pa.string()), ("group", pa.string())]
    + [("relevant_documents", pa.int32()), ("query_words", pa.int32())]
    + [(measure, pa.float64()) for measure in MEASURES]
)
"""One row per instance of a split, sorted by qid and docno; ``group`` is seen or unseen. With the protocol ``query`` an
instance is a query, and docno is empty; with ``judgement`` it is a query and one of its relevant documents."""
