"""Runs: for each query, a ranked list of documents. Two formats, one meaning: TREC text (gzip) and Parquet.

The rank says the order. Ranks count from 1 in file order within a query, and the score never rises with the rank, so a
tool that sorts by score can only disagree with us about documents of equal score.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from ddro.command import UserError
from ddro.files import read_table, whole
from ddro.tables import RUN


def read_run(path: Path | str) -> pa.Table:
    """Read a run of `tables.RUN` columns, in file order: Parquet if ``path`` ends so, else TREC text, gzipped or not.

    Raises:
        UserError: what `check_run` refuses, a line that is not ``qid Q0 docno rank score tag``, or an empty file.
    """
    path = Path(path)
    run = read_table(path, RUN) if path.suffix == ".parquet" else _read_trec(path)
    if not run.num_rows:
        raise UserError(f"{path}: the run is empty. Delete it and run its rule again.")
    return check_run(run, path)


def write_trec(run: pa.Table, path: Path | str, tag: str) -> None:
    """Write a run of `tables.RUN` columns as gzipped TREC text. Equal runs are equal bytes: the header has no time.

    Raises:
        UserError: what `check_run` refuses, or white space inside a qid, docno or ``tag`` (TREC's separator).
    """
    check_run(run, path)
    columns = [run[name].to_pylist() for name in ("qid", "docno", "rank", "score")]
    for name, values in (("tag", [tag]), ("qid", columns[0]), ("docno", columns[1])):
        for value in values:
            if len(value.split()) != 1 or value.split()[0] != value:
                raise UserError(f"{path}: {name} {value!r} is empty or has white space, which a TREC run can't hold.")
    lines = (f"{qid} Q0 {docno} {rank} {score!r} {tag}\n" for qid, docno, rank, score in zip(*columns, strict=True))
    with (
        whole(path) as temporary,
        temporary.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0) as compressed,
    ):
        compressed.writelines(line.encode() for line in lines)


def check_run(run: pa.Table, path: Path | str) -> pa.Table:
    """Return ``run`` as it is, if it is a run. Row numbers in messages count from 1, as lines do.

    Raises:
        UserError: two rows with the same (qid, docno); a score that is not finite; ranks of a query that are not
            1, 2, 3, ... in file order; a score above that of the rank before.
    """
    frame = run.to_pandas()

    def refuse(wrong: pd.Series, what: str) -> None:
        if wrong.any():
            row = int(np.argmax(wrong.to_numpy()))
            values = frame.iloc[row]
            raise UserError(f"{path}:{row + 1}: qid {values.qid!r}, docno {values.docno!r}: " + what.format(**values))

    refuse(~np.isfinite(frame["score"]), "the score is {score}, not a finite number.")
    refuse(frame.duplicated(["qid", "docno"]), "the document is in the ranking of this query already.")
    by_query = frame.groupby("qid", sort=False)
    refuse(frame["rank"] != by_query.cumcount() + 1, "rank {rank} breaks the count 1, 2, 3, ... of its query.")
    refuse(frame["score"] > by_query["score"].shift(), "the score {score} is above that of the rank before.")
    return run


def _read_trec(path: Path) -> pa.Table:
    columns: dict[str, list] = {name: [] for name in RUN.names}
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        try:
            qid, _, docno, rank, score, _ = line.split()
            values = {"qid": qid, "docno": docno, "rank": int(rank), "score": float(score)}
        except ValueError as error:
            raise UserError(f"{path}:{number}: expected qid Q0 docno rank score tag, found {line[:80]!r}.") from error
        for name, value in values.items():
            columns[name].append(value)
    return pa.table(columns, schema=RUN)


def _read_text(path: Path) -> str:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file. Run snakemake to make it.") from error
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not a whole text file ({error}). Delete it and run its rule again.") from error
