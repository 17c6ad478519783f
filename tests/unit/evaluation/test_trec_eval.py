"""Our measures are those of the program trec_eval, run on the very file that we read. The oracle is the binary that
Anserini's jar, a part of Pyserini, carries for this kind of machine."""

import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ddro.core.command import UserError
from ddro.core.tables import QRELS, RUN
from ddro.evaluation.measures import evaluate_run
from ddro.retrieval.bm25 import anserini_jar
from ddro.retrieval.runs import read_run, write_trec

NAMES = {"recip_rank": "MRR@10", "recall": "R", "success": "Success", "ndcg_cut": "nDCG"}


@pytest.fixture(scope="session")
def trec_eval(tmp_path_factory):
    kind = {"linux": "linux-amd64", "darwin": f"macosx-{platform.machine()}"}.get(sys.platform)
    path = tmp_path_factory.mktemp("trec_eval") / "trec_eval"
    with zipfile.ZipFile(anserini_jar()) as archive:
        if f"trec_eval/trec_eval-{kind}" not in archive.namelist() or platform.machine() == "aarch64":
            pytest.skip("no trec_eval for this machine")
        path.write_bytes(archive.read(f"trec_eval/trec_eval-{kind}"))
    path.chmod(0o700)

    def start(qrels: Path, run: Path) -> subprocess.CompletedProcess:
        # -M 10: rank 10 is the last one, so that recip_rank is MRR@10; -c: queries without a ranking count as zero.
        measures = ["-m", "recip_rank", "-m", "recall.1,5,10", "-m", "success.1,10", "-m", "ndcg_cut.10"]
        options = ["-q", "-c", "-M", "10", *measures, str(qrels), str(run)]
        return subprocess.run([path, *options], capture_output=True, text=True)

    return start


def their_measures(text):
    values = {}
    for name, qid, value in (line.split() for line in text.splitlines()):
        measure, _, cutoff = name.rpartition("_") if name[-1].isdigit() else (name, "", "")
        values[qid, NAMES[measure] + (f"@{cutoff}" if cutoff else "")] = float(value)
    return values


def write_qrels(path, rows):
    path.write_text("".join(f"{qid} 0 {docno} {relevance}\n" for qid, docno, relevance in rows))
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=QRELS)


def random_qrels(generator, queries=60):
    return [
        (f"q{query}", f"d{document}", int(generator.integers(1, 4) if place == 0 else generator.integers(-2, 4)))
        for query in range(queries)
        for place, document in enumerate(generator.choice(100, size=generator.integers(1, 30), replace=False))
    ]


def check(trec_eval, folder, qrels, run):
    done = trec_eval(folder / "qrels", run)
    assert done.returncode == 0, done.stderr
    theirs = their_measures(done.stdout)
    ours = evaluate_run(read_run(run), qrels).droplevel("docno")
    for (qid, measure), value in theirs.items():
        value_of_ours = ours[measure].mean() if qid == "all" else ours.loc[qid, measure]
        assert value_of_ours == pytest.approx(value, abs=5.1e-5), (qid, measure)  # it prints four digits
    shown = {qid for qid, _ in theirs} - {"all"}
    assert len(theirs) == (len(shown) + 1) * len(ours.columns)
    assert (ours.drop(index=sorted(shown)) == 0).all(axis=None)  # it shows no query without a ranking


@pytest.mark.parametrize("scores", ["distinct", "tied", "tied in single precision"])
def test_a_random_run_with_ties_missing_queries_and_graded_judgements(trec_eval, tmp_path, scores):
    generator = np.random.default_rng(7)
    qrels = write_qrels(tmp_path / "qrels", random_qrels(generator))
    lines = []
    for query in range(50):  # ten queries have no ranking
        documents = generator.permutation(100)[: generator.integers(1, 60)]
        values = generator.normal(size=len(documents))
        if scores == "tied":
            values = np.round(values)
        elif scores == "tied in single precision":
            values = 1 + np.round(values) * 1e-9
        for place, (document, value) in enumerate(zip(documents, values, strict=True)):
            lines.append(f"q{query} Q0 d{document} {place} {float(value)!r} tag\n")
    (tmp_path / "run.trec").write_text("".join(lines))
    check(trec_eval, tmp_path, qrels, tmp_path / "run.trec")


def test_a_run_that_we_write_has_our_order_also_where_our_scores_tie(trec_eval, tmp_path):
    generator = np.random.default_rng(8)
    qrels = write_qrels(tmp_path / "qrels", random_qrels(generator))
    rows = []
    for query in range(60):
        scores = -np.sort(generator.integers(0, 5, size=30) / 7)
        documents = generator.permutation(100)[:30]
        rows += [
            (f"q{query}", f"d{document}", rank, float(score))
            for rank, (document, score) in enumerate(zip(documents, scores, strict=True), 1)
        ]
    run = pa.table([list(column) for column in zip(*rows, strict=True)], schema=RUN)
    write_trec(run, tmp_path / "run.trec.gz", "tag")
    back = read_run(tmp_path / "run.trec.gz")
    assert back.drop_columns("score").equals(run.drop_columns("score"))
    (tmp_path / "run.trec").write_text(
        "".join("{qid} Q0 {docno} 1 {score} t\n".format(**row) for row in back.to_pylist())
    )
    check(trec_eval, tmp_path, qrels, tmp_path / "run.trec")


def test_a_document_that_stands_twice_is_refused_by_both(trec_eval, tmp_path):
    write_qrels(tmp_path / "qrels", [("q", "a", 1)])
    (tmp_path / "run.trec").write_text("q Q0 a 1 2.0 t\nq Q0 b 2 1.0 t\nq Q0 a 3 0.5 t\n")
    done = trec_eval(tmp_path / "qrels", tmp_path / "run.trec")
    assert done.returncode != 0 and "uplicate" in done.stderr
    with pytest.raises(UserError, match="run.trec:3: .*in the ranking of this query already"):
        read_run(tmp_path / "run.trec")
