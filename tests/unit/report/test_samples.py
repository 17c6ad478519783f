import note_versions
import show_samples
from ddro.core.files import write_json, write_table
from ddro.core.tables import CORPUS, MEASURES, PER_QUERY, QRELS, QUERIES, RUN
from ddro.core.text import smallest_hashes
from ddro.report.samples import Sample, first_relevant, samples_page
from ddro.retrieval.runs import write_trec
from tables import ranking, table


def test_the_choice_is_the_same_in_any_order_and_of_any_subset():
    qids = [f"q{number}" for number in range(50)]
    chosen = smallest_hashes(qids, 5)
    assert chosen == smallest_hashes(qids[::-1], 5)
    assert smallest_hashes([qid for qid in qids if qid != chosen[0]], 4) == chosen[1:]


def test_rank_of_the_first_relevant_document():
    assert first_relevant(["a", "b", "c"], frozenset("cb")) == 2
    assert first_relevant(["a"], frozenset("b")) is None


def test_page_marks_what_is_relevant_and_escapes():
    ranks = {"bm25": 2, "sft": None}
    sample = Sample("a <b> query", "seen", frozenset("y"), {"bm25": ["x", "y"], "sft": ["x"]}, ranks)
    page = samples_page([sample], {"x": "X & Co", "y": "Y"}, depth=2)
    assert "a &lt;b&gt; query" in page and "X &amp; Co" in page
    assert "first relevant at rank 2" in page and "not found" in page
    assert page.count('class="relevant"') == 1
    assert '<tr><td>2</td><td class="relevant"><b>y</b><small>Y</small></td><td></td></tr>' in page


def test_script_shows_all_queries_of_a_small_collection(tmp_path):
    write_trec(table(RUN, *ranking("q1", "AB"), *ranking("q2", "B")), tmp_path / "run.trec.gz", "t")
    write_table(table(QUERIES, ("q1", "one", "test"), ("q2", "two", "test")), tmp_path / "queries", QUERIES)
    write_table(table(QRELS, ("q1", "B", 1), ("q2", "A", 1)), tmp_path / "qrels", QRELS)
    write_table(table(CORPUS, *((docno, "", f"title {docno}", "", 1) for docno in "AB")), tmp_path / "corpus", CORPUS)
    rows = [(qid, "", "seen", 1, 1, *[0.0] * len(MEASURES)) for qid in ("q1", "q2")]
    write_table(table(PER_QUERY, *rows), tmp_path / "per-query", PER_QUERY)
    options = [f"--{system}={tmp_path}/run.trec.gz" for system in ("bm25", "sft", "ddro")]
    options += [f"--{name}={tmp_path}/{name}" for name in ("per-query", "queries", "qrels", "corpus")]
    show_samples.main(show_samples.parser().parse_args([*options, f"--output={tmp_path}/samples.html"]))
    page = (tmp_path / "samples.html").read_text()
    assert page.count("first relevant at rank 2") == 3 and page.count("not found") == 3
    assert "relevant: B (title B)" in page


def test_versions(tmp_path):
    (tmp_path / "lock.txt").write_text("torchless==1.2 \\\n    --hash=sha256:00\nother==3 ; python_version < '4'\n")
    write_json({"awscli/pq/demo": {"seed": 42}}, tmp_path / "settings.json")
    options = [f"--lock={tmp_path}/lock.txt", f"--settings={tmp_path}/settings.json", f"--output={tmp_path}/v.html"]
    note_versions.main(note_versions.parser().parse_args(options))
    page = (tmp_path / "v.html").read_text()
    assert "torchless==1.2\nother==3" in page and "&quot;seed&quot;: 42" in page
    assert (note_versions.git("rev-parse", "HEAD") or "not a git checkout") in page
