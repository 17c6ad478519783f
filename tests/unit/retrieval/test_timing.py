from ddro.retrieval.runs import summarise_timings

SIZES = {"beams": 20, "model_bytes": 1000, "precision": "float32", "trie_bytes": 10}


def test_the_account_of_two_shards():
    """Six queries: four of 0.1 s, one of 0.2 s, one of 1 s."""
    shards = [
        {"batches": [{"queries": 4, "seconds": 0.4}, {"queries": 1, "seconds": 0.2}], "device": "cpu"} | SIZES,
        {"batches": [{"queries": 1, "seconds": 1.0}], "device": "A GPU"} | SIZES,
    ]
    account = summarise_timings(shards)
    assert account.pop("ms_per_query") == {"median": 100.0, "p95": 800.0}
    assert account.pop("queries_per_s") == 6 / 1.6
    assert account == SIZES | {"batch_size": 4, "device": "A GPU, cpu", "queries": 6, "seconds": 1.6}
