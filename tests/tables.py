"""Small tables for tests, written as rows."""

import pyarrow as pa


def table(schema, *rows):
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=schema)


def ranking(qid, docnos, scores=None):
    return [
        (qid, docno, rank, -float(rank) if scores is None else scores[rank - 1]) for rank, docno in enumerate(docnos, 1)
    ]
