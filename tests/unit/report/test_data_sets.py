from ddro.report.data_sets import data_set_tables

DATA = {
    "variant": "by title, dev all",
    "found": {"documents": 109000, "dev_queries": 7830},
    "expected": [
        {"name": "documents", "expected": 109739, "found": 109000, "verdict": "differs"},
        {"name": "dev_queries", "expected": 7830, "found": 7830, "verdict": "OK"},
    ],
    "left_out": {"pages whose title was there before": 12},
    "noted": {"documents with an empty body": 0, "odd": 3},
    "files": [
        {"file": "train.gz", "lines": 9, "invalid": {"not JSON": {"count": 2, "first_lines": [4, 7]}}},
        {"file": "dev.gz", "lines": 9, "invalid": {}},
    ],
}
SPLIT = {"splits": {"train": 5, "test": 7}, "counts": {"queries without a relevant document in the corpus": 1}}


def test_counts_beside_those_published_and_all_that_was_left_out():
    counts, remarks = data_set_tables({"nq": (DATA, SPLIT)})
    published = "documents 109739: differs (109000); dev_queries 7830: OK"
    assert counts.rows == [["nq", "by title, dev all", "109000", "5", "0", "7", published]]
    assert remarks.rows == [
        ["nq", "train.gz: not JSON", "2", "4, 7"],
        ["nq", "pages whose title was there before", "12", "-"],
        ["nq", "(kept) odd", "3", "-"],
        ["nq", "queries without a relevant document in the corpus", "1", "-"],
    ]


def test_nothing_left_out_needs_no_table():
    clean = DATA | {"expected": [], "left_out": {}, "noted": {}, "files": []}
    (counts,) = data_set_tables({"mine": (clean, SPLIT | {"counts": {}})})
    assert counts.rows[0][-1] == "-"
