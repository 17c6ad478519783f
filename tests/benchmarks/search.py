"""How long the search page and scripts/search.py take for a query, on the results that are here.

    python tests/benchmarks/search.py           # 200 test queries
    python tests/benchmarks/search.py --quick

All systems are asked for five documents, one query after the other. The last line is a JSON object: queries, first_s,
median_s, p95_s, max_s.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT / "scripts")  # in place of this folder, which has names of the scripts

from ddro.core import tables  # noqa: E402
from ddro.core.files import read_table  # noqa: E402
from ddro.models.t5 import be_quiet  # noqa: E402
from ddro.retrieval.search import SearchEngine  # noqa: E402
from search import chosen  # noqa: E402


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="20 queries")
    options.add_argument("--results", type=Path, default=ROOT / "results", help="folder of the results (results)")
    arguments = options.parse_args()
    be_quiet()
    experiment, settings = chosen(arguments.results, None)
    engine = SearchEngine(arguments.results, experiment, settings)
    queries = read_table(arguments.results / experiment.split("/")[0] / "queries.parquet", tables.QUERIES).to_pylist()
    seconds = []
    for query in [row["text"] for row in queries if row["split"] == "test"][: 20 if arguments.quick else 200]:
        start = time.perf_counter()
        engine.search(query, 5)
        seconds.append(time.perf_counter() - start)
    quantiles = {f"{name}_s": np.quantile(seconds, q) for name, q in (("median", 0.5), ("p95", 0.95), ("max", 1))}
    print(json.dumps({"queries": len(seconds), "first_s": seconds[0], **quantiles}))


if __name__ == "__main__":
    main()
