"""Retrieval: constrained beam search, BM25, runs."""
