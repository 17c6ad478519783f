"""Read the MS MARCO document ranking data: the documents judged for a training query, and all queries."""

import argparse
from collections import Counter
from pathlib import Path

from ddro.command import UserError, log, run

KINDS = ("train", "dev")


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        description=__doc__,
        epilog="Only documents judged relevant to a training query are kept, so that the memory and the disk hold a "
        "tenth of the collection. Judgements of other documents are left out and counted.",
    )
    options.add_argument("--documents", type=Path, required=True, help="msmarco-docs.tsv.gz: docno, url, title, body")
    for kind in KINDS:
        options.add_argument(f"--{kind}-queries", type=Path, required=True, help=f"msmarco-doc{kind}-queries.tsv.gz")
        options.add_argument(f"--{kind}-qrels", type=Path, required=True, help=f"msmarco-doc{kind}-qrels.tsv.gz")
    options.add_argument(
        "--max-malformed", type=float, default=0.001, help="stop above this share of malformed lines in a file (0.001)"
    )
    options.add_argument("--output", type=Path, required=True, help="folder for documents, queries and qrels (Parquet)")
    options.add_argument("--report", type=Path, required=True, help="JSON file for what was found and what left out")
    return options


def main(arguments: argparse.Namespace) -> None:
    import pyarrow as pa

    from ddro.files import write_json, write_table
    from ddro.tables import QRELS, RAW_QUERIES

    left_out: Counter = Counter()
    queries, judgements = {}, {}
    for kind in KINDS:
        options = vars(arguments)
        read_queries(options[f"{kind}_queries"], kind, arguments.max_malformed, queries, left_out)
        read_qrels(options[f"{kind}_qrels"], kind, arguments.max_malformed, judgements, left_out)
    judged = {docno for (_, docno), (relevance, kind) in judgements.items() if kind == "train" and relevance > 0}
    if not judged:
        raise UserError(f"{arguments.train_qrels}: no document is relevant, so the collection would be empty.")
    kept = keep_documents(arguments.documents, judged, arguments.max_malformed, arguments.output, left_out)
    if missing := len(judged) - len(kept):
        left_out["judged documents that are not in the collection"] = missing
    if not kept:
        raise UserError(f"{arguments.documents}: holds none of the {len(judged)} judged documents.")

    rows = []
    for (qid, docno), (relevance, kind) in judgements.items():
        if qid not in queries:
            left_out[f"{kind} judgements of a query that is not there"] += 1
        elif docno not in kept:
            left_out[f"{kind} judgements of a document that is not kept"] += 1
        else:
            rows.append({"qid": qid, "docno": docno, "relevance": relevance})
    write_table(pa.Table.from_pylist(rows, QRELS), arguments.output / "qrels.parquet", QRELS, ["qid", "docno"])
    table = pa.Table.from_pylist(list(queries.values()), RAW_QUERIES)
    write_table(table, arguments.output / "queries.parquet", RAW_QUERIES, ["qid"])

    log.info("%d documents, %d queries, %d judgements", len(kept), len(queries), len(rows))
    for reason, count in sorted(left_out.items()):
        log.info("left out: %d %s", count, reason)
    report = {"documents": len(kept), "queries": len(queries), "qrels": len(rows), "left_out": dict(left_out)}
    write_json(report, arguments.report)


def read_queries(path: Path, kind: str, tolerance: float, queries: dict[str, dict], left_out: Counter) -> None:
    """Add the queries (qid, text) of a file to ``queries``."""
    from ddro.source import SourceLines

    lines = SourceLines(path, tolerance)
    for line in lines:
        fields = line.split("\t")
        if len(fields) != 2 or not fields[0]:
            lines.reject("not the 2 columns qid, text")
        elif not fields[1].strip():
            lines.reject("a query without text")
        elif fields[0] in queries:
            lines.reject("a qid that was there before")
        else:
            queries[fields[0]] = {"qid": fields[0], "text": fields[1].strip(), "kind": kind}
    left_out.update({f"{kind} query lines: {reason}": count for reason, count in lines.rejected.items()})


def read_qrels(path: Path, kind: str, tolerance: float, judgements: dict[tuple, tuple], left_out: Counter) -> None:
    """Add the judgements (qid, unused, docno, relevance) of a file: (qid, docno) -> (relevance, kind)."""
    from ddro.source import SourceLines

    lines = SourceLines(path, tolerance)
    for line in lines:
        fields = line.split()
        if len(fields) != 4 or not fields[3].lstrip("-").isdecimal():
            lines.reject("not the 4 columns qid, 0, docno, relevance")
        elif (fields[0], fields[2]) in judgements:
            lines.reject("a judgement that was there before")
        else:
            judgements[fields[0], fields[2]] = (int(fields[3]), kind)
    left_out.update({f"{kind} qrels lines: {reason}": count for reason, count in lines.rejected.items()})


def keep_documents(path: Path, wanted: set[str], tolerance: float, output: Path, left_out: Counter) -> set[str]:
    """Write the wanted documents in the order of the file, without holding them; return the docnos found."""
    from ddro.source import SourceLines, row_writer
    from ddro.tables import DOCUMENTS

    found: set[str] = set()
    lines = SourceLines(path, tolerance)
    with row_writer(output / "documents.parquet", DOCUMENTS) as add:
        for line in lines:
            if line.count("\t") != 3:
                lines.reject("not the 4 columns docno, url, title, body")
                continue
            docno, url, title, body = line.split("\t")
            if docno in found:
                lines.reject("a docno that was there before")
            elif docno in wanted:
                found.add(docno)
                add({"docno": docno, "url": url, "title": title, "body": body})
    left_out.update({f"document lines: {reason}": count for reason, count in lines.rejected.items()})
    return found


if __name__ == "__main__":
    run(parser(), main)
