import pyarrow as pa
import pytest

import make_training_queries
from ddro.core.command import UserError
from ddro.core.files import read_table, write_table
from ddro.core.tables import PSEUDO_QUERIES, QRELS, QUERIES


def judge(folder, pseudo):
    tables = {
        "queries": ([{"qid": "q1", "text": "one", "split": "test"}], QUERIES),
        "qrels": ([{"qid": "q1", "docno": "D1", "relevance": 1}], QRELS),
        "pseudo-queries": (pseudo, PSEUDO_QUERIES),
    }
    options = []
    for name, (rows, schema) in tables.items():
        write_table(pa.Table.from_pylist(rows, schema), folder / f"{name}.parquet", schema)
        options += [f"--{name}", str(folder / f"{name}.parquet")]
    for name in ("queries", "qrels"):
        options += [f"--output-{name}", str(folder / "training" / f"{name}.parquet")]
    make_training_queries.main(make_training_queries.parser().parse_args(options))
    return [
        [tuple(row.values()) for row in read_table(folder / "training" / f"{name}.parquet", schema).to_pylist()]
        for name, schema in (("queries", QUERIES), ("qrels", QRELS))
    ]


def test_each_pseudo_query_trains_for_its_document(tmp_path):
    pseudo = [
        {"docno": "D1", "rank": 1, "text": "a"},
        {"docno": "D1", "rank": 2, "text": " "},
        {"docno": "D2", "rank": 1, "text": "a"},
    ]
    queries, qrels = judge(tmp_path, pseudo)
    assert queries == [("q1", "one", "test"), ("pseudo-D1-1", "a", "train"), ("pseudo-D2-1", "a", "train")]
    assert qrels == [("q1", "D1", 1), ("pseudo-D1-1", "D1", 1), ("pseudo-D2-1", "D2", 1)]


def test_no_pseudo_query_is_an_error(tmp_path):
    with pytest.raises(UserError, match="pseudo-queries.parquet: holds no query, so nothing would train"):
        judge(tmp_path, [{"docno": "D1", "rank": 1, "text": " "}])
