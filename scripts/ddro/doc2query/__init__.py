"""Pseudo queries: the models that write them, their shards, and their quality."""
