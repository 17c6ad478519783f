"""Read Natural Questions: each question with its Wikipedia page; pages with the same title are one document."""

import argparse
from collections import Counter
from pathlib import Path

from ddro.command import UserError, log, run

KINDS = ("train", "dev")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="Titles are compared without case, accents and blanks at punctuation. The first page of a title is "
        "kept, training pages first. Every question counts, whether annotators found an answer or not.",
    )
    options.add_argument("--train", type=Path, required=True, help="simplified-nq-train.jsonl.gz")
    options.add_argument("--dev", type=Path, required=True, help="nq-dev-all.jsonl.gz")
    options.add_argument(
        "--max-malformed", type=float, default=0.001, help="stop above this share of malformed lines in a file (0.001)"
    )
    options.add_argument("--output", type=Path, required=True, help="folder for documents, queries and qrels (Parquet)")
    options.add_argument("--report", type=Path, required=True, help="JSON file for what was found and what left out")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow as pa

    from ddro.files import write_json, write_table
    from ddro.natural_questions import page_docno
    from ddro.source import row_writer
    from ddro.tables import DOCUMENTS, QRELS, RAW_QUERIES

    left_out: Counter = Counter()
    pages: Counter = Counter()
    queries, qrels = {}, []
    with row_writer(arguments.output / "documents.parquet", DOCUMENTS) as add:
        for kind, path in zip(KINDS, (arguments.train, arguments.dev), strict=True):
            for example in read_examples(path, kind, arguments.max_malformed, queries, left_out):
                docno = page_docno(example.title)
                if docno not in pages:
                    add({"docno": docno, "url": example.url, "title": example.title, "body": example.text})
                pages[docno] += 1
                queries[example.qid] = {"qid": example.qid, "text": example.question, "kind": kind}
                qrels.append({"qid": example.qid, "docno": docno, "relevance": 1})
        if not queries:
            raise UserError(f"{arguments.train}: no question was found. Is it the right file?")
    table = pa.Table.from_pylist(list(queries.values()), RAW_QUERIES)
    write_table(table, arguments.output / "queries.parquet", RAW_QUERIES, ["qid"])
    write_table(pa.Table.from_pylist(qrels, QRELS), arguments.output / "qrels.parquet", QRELS, ["qid", "docno"])

    left_out["pages whose title was there before"] = pages.total() - len(pages)
    log.info("%d documents, %d queries, %d judgements", len(pages), len(queries), len(qrels))
    for reason, count in sorted(left_out.items()):
        log.info("left out: %d %s", count, reason)
    report = {"documents": len(pages), "queries": len(queries), "qrels": len(qrels), "left_out": dict(left_out)}
    write_json(report, arguments.report)


def read_examples(path: Path, kind: str, tolerance: float, known: dict, left_out: Counter):
    """Yield the examples of a file whose qid is not ``known``."""
    import json

    from ddro.natural_questions import parse_example
    from ddro.source import SourceLines

    lines = SourceLines(path, tolerance)
    for line in lines:
        try:
            record = json.loads(line)
            example = parse_example(record if isinstance(record, dict) else {})
        except json.JSONDecodeError:
            lines.reject("not JSON")
        except ValueError as error:
            lines.reject(str(error))
        else:
            if example.qid in known:
                lines.reject("an example_id that was there before")
            else:
                yield example
    left_out.update({f"{kind} lines: {reason}": count for reason, count in lines.rejected.items()})


if __name__ == "__main__":
    run(parser(), main)
