"""Shards of pseudo queries: written, stopped, refused, united; and a published file in their place."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gather_pseudo_queries
import generate_pseudo_queries
import read_pseudo_queries
from ddro.core.command import UserError
from ddro.core.files import read_table, write_table
from ddro.core.lines import SourceLines
from ddro.core.tables import CORPUS, PSEUDO_QUERIES
from ddro.doc2query import shards, writers
from ddro.models.t5 import initialise_t5, save
from ddro.models.tokenizer import train_tokenizer

N = 11
DOCUMENTS = [(f"d{row}", f"Title {row}", "creates a stack of things " * row) for row in range(1, N)]
SCRIPTS = Path(__file__).parents[3] / "scripts"
MEASURE = """
import json, sys
from collections import Counter
from pathlib import Path
from ddro.doc2query.shards import BLOCK, corpus_blocks, rows_of, union_of_shards, write_with_metadata

def peak(corpus, blocks):
    found = corpus_blocks(corpus, range(blocks))
    shard = corpus.with_suffix(".shard")
    tables = (rows_of([row["docno"] for row in rows], [["a query"] * 3] * len(rows)) for _, rows in found)
    write_with_metadata(tables, {}, shard)
    counts = Counter()
    write_with_metadata(union_of_shards([shard], corpus, 3, counts), {}, corpus.with_suffix(".union"))
    assert counts["queries"] == 3 * BLOCK * blocks
    # ru_maxrss counts what the process was before it became this program
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024

few, many = map(Path, sys.argv[1:])
print(json.dumps([peak(few, 2), peak(many, 16)]))
"""


def write_corpus(path, documents):
    rows = [
        {"docno": docno, "url": "", "title": title, "body": body, "judged_queries": 1}
        for docno, title, body in documents
    ]
    write_table(pa.Table.from_pylist(rows, CORPUS), path, CORPUS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("doc2query")
    tokenizer = train_tokenizer([f"{title} {body}" for _, title, body in DOCUMENTS], 60)
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "layers": 1, "decoder_layers": 1, "heads": 2}
    save(initialise_t5(len(tokenizer), **shape, seed=0), tokenizer, path / "model")
    # One document without any text, in the middle; blocks of four.
    write_corpus(path / "corpus.parquet", [*DOCUMENTS[:5], ("d0", " ", ""), *DOCUMENTS[5:]])
    return path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(shards, "BLOCK", 4)


def generate(folder, output, shard="1-of-1", **settings):
    options = {
        "corpus": folder / "corpus.parquet", "model": folder / "model", "shard": shard, "engine": "transformers",
        "per_document": 3, "top_k": 5, "redraws": 1, "max_document_tokens": 20, "max_query_tokens": 6, "seed": 3,
        "output": output,
    } | settings  # fmt: skip
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    generate_pseudo_queries.main(generate_pseudo_queries.parser().parse_args(words))
    return output


def gather(folder, parts, output, per_document=3):
    words = ["--corpus", folder / "corpus.parquet", "--shards", *parts, "--per-document", per_document]
    words += ["--output", output]
    gather_pseudo_queries.main(gather_pseudo_queries.parser().parse_args(list(map(str, words))))
    return read_table(output, PSEUDO_QUERIES, ["docno", "rank"])


@pytest.mark.parametrize("engine", ["transformers", "ctranslate2"])
def test_the_number_of_shards_changes_nothing(folder, tmp_path, engine):
    united = {}
    for count in (1, 2, 5):  # of three blocks: with five some shards have none
        paths = [
            generate(folder, tmp_path / f"{engine}.{part}-of-{count}.parquet", f"{part}-of-{count}", engine=engine)
            for part in range(1, count + 1)
        ]
        united[count] = gather(folder, paths, tmp_path / f"{engine}.{count}.parquet")
    assert united[1].equals(united[2]) and united[1].equals(united[5])
    rows = united[1].to_pylist()
    assert list(dict.fromkeys(row["docno"] for row in rows)) == [docno for docno, _, _ in DOCUMENTS]
    metadata = shards.read_metadata(tmp_path / f"{engine}.1.parquet")
    assert metadata["counts"]["documents"] == N and metadata["counts"]["documents_without_text"] == 1
    assert len(rows) + metadata["counts"].get("empty", 0) == 3 * (N - 1) and all(row["text"] for row in rows)
    assert metadata["settings"]["engine"] == engine
    assert not list(tmp_path.glob(".*"))


def test_a_shard_that_was_killed_goes_on_after_its_last_block(folder, tmp_path, monkeypatch):
    whole = generate(folder, tmp_path / "whole.parquet")
    write_queries, calls = writers.write_queries, []

    def dies_in_the_third_block(*arguments, **settings):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return write_queries(*arguments, **settings)

    monkeypatch.setattr(writers, "write_queries", dies_in_the_third_block)
    with pytest.raises(KeyboardInterrupt):
        generate(folder, tmp_path / "stopped.parquet")
    assert not (tmp_path / "stopped.parquet").exists()
    assert len(list((tmp_path / ".stopped.parquet.blocks").iterdir())) == 2
    generate(folder, tmp_path / "stopped.parquet")
    assert len(calls) == 4  # the third block alone was left
    assert pq.read_table(tmp_path / "stopped.parquet").equals(pq.read_table(whole))

    calls[:] = []
    with pytest.raises(KeyboardInterrupt):
        generate(folder, tmp_path / "other.parquet")
    with pytest.raises(UserError, match=r"another configuration: top_k 5 instead of 7\. Delete .*other.parquet.blocks"):
        generate(folder, tmp_path / "other.parquet", top_k=7)


def test_blocks_of_other_code_are_refused(folder, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("ddro.core.code_hash.code_hash", lambda script: "other")
        generate(folder, tmp_path / "whole.parquet")
        patched.setattr(generate_pseudo_queries.shutil, "rmtree", lambda *_, **__: None)  # as if it was killed here
        generate(folder, tmp_path / "stopped.parquet")
    with pytest.raises(UserError, match="another configuration: code 'other' instead of"):
        generate(folder, tmp_path / "stopped.parquet")


@pytest.mark.parametrize("engine", writers.WRITERS)
def test_a_block_without_any_text(folder, tmp_path, engine):
    (tmp_path / "model").symlink_to(folder / "model")
    write_corpus(tmp_path / "corpus.parquet", [*DOCUMENTS[:4], ("empty", "", " ")])
    shard = generate(tmp_path, tmp_path / "shard.parquet", engine=engine)
    gather(tmp_path, [shard], tmp_path / "all.parquet")
    assert len(pq.read_table(tmp_path / "all.parquet")) == 12
    write_corpus(tmp_path / "corpus.parquet", [("empty", "", " ")])
    shard = generate(tmp_path, tmp_path / "none.parquet", engine=engine)
    with pytest.raises(UserError, match="no document has any text"):
        gather(tmp_path, [shard], tmp_path / "nothing.parquet")
    assert not (tmp_path / "nothing.parquet").exists()


def test_gather_refuses_what_is_not_whole_or_not_of_one_kind(folder, tmp_path):
    first, second = (generate(folder, tmp_path / f"{part}.parquet", f"{part}-of-2") for part in (1, 2))
    with pytest.raises(UserError, match="1.parquet: document 'd5' of .* has no pseudo queries"):
        gather(folder, [first], tmp_path / "all.parquet")
    with pytest.raises(UserError, match="document 'd1' of .* has no pseudo queries .found those of"):
        gather(folder, [second, first], tmp_path / "all.parquet")
    with pytest.raises(UserError, match="document 'd1' has 3 pseudo queries, not 4"):
        gather(folder, [first, second], tmp_path / "all.parquet", per_document=4)
    with pytest.raises(UserError, match="2.parquet: document 'd.*' isn't in"):
        gather(folder, [first, second, second], tmp_path / "all.parquet")
    other = generate(folder, tmp_path / "other.parquet", "2-of-2", seed=4)
    with pytest.raises(UserError, match="other.parquet: written with another configuration: seed 4 instead of 3"):
        gather(folder, [first, other], tmp_path / "all.parquet")
    write_table(pa.Table.from_pylist([], PSEUDO_QUERIES), tmp_path / "foreign.parquet", PSEUDO_QUERIES)
    with pytest.raises(UserError, match="foreign.parquet: not pseudo queries of this program"):
        gather(folder, [tmp_path / "foreign.parquet"], tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()


def test_mistakes_of_the_command_line(folder, tmp_path):
    for shard in ("3-of-2", "0-of-2", "2"):
        with pytest.raises(UserError, match="write it as 1-of-8"):
            generate(folder, tmp_path / "x.parquet", shard)
    with pytest.raises(UserError, match="--beams 2: must be at least --per-document 3"):
        generate(folder, tmp_path / "x.parquet", beams=2)
    (tmp_path / "text.parquet").write_text("text")
    with pytest.raises(UserError, match="text.parquet: not a Parquet file"):
        generate(folder, tmp_path / "x.parquet", corpus=tmp_path / "text.parquet")
    write_corpus(tmp_path / "empty.parquet", [])
    with pytest.raises(UserError, match="empty.parquet: the corpus is empty"):
        generate(folder, tmp_path / "x.parquet", corpus=tmp_path / "empty.parquet")


def test_blocks_of_shards_are_all_blocks_once():
    for documents in (0, 1, 4, 5, 29):
        for count in (1, 2, 3, 7):
            blocks = [list(shards.shard_blocks(documents, part, count)) for part in range(1, count + 1)]
            assert sum(blocks, []) == list(range(-(-documents // 4)))
    assert len({shards.block_seed(seed, block) for seed in range(20) for block in range(20)}) == 400


def read(folder, published, output, per_document=2):
    words = ["--corpus", folder / "corpus.parquet", "--published", published, "--per-document", per_document]
    read_pseudo_queries.main(read_pseudo_queries.parser().parse_args(list(map(str, [*words, "--output", output]))))
    return read_table(output, PSEUDO_QUERIES, ["docno", "rank"]).to_pylist()


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Reading 16 blocks, 128 MiB of text, and writing and uniting their queries, takes little more than 2 blocks do."""
    paths = [tmp_path / "few.parquet", tmp_path / "many.parquet"]
    for path, blocks in zip(paths, (2, 16), strict=True):
        write_corpus(path, [(f"d{row:06d}", "title", f"{row} creates " * 700) for row in range(blocks * 1024)])
    assert pq.ParquetFile(paths[1]).num_row_groups == 1
    command = [sys.executable, "-c", MEASURE, *map(str, paths)]
    few, many = json.loads(subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True).stdout)
    assert many - few < 80  # a list of all documents: 196


def test_a_published_file_takes_the_place_of_generating(tmp_path):
    write_corpus(tmp_path / "corpus.parquet", DOCUMENTS[:2])
    lines = ["[d2]\tsecond  query", "d1\tfirst", "[d1]\t ", "[d9]\tother", "[d2]\tb", "[d2]\tc", "[d1]\tfirst"]
    with gzip.open(tmp_path / "published.tsv.gz", "wt") as file:
        file.write("\n".join(lines))
    rows = read(tmp_path, tmp_path / "published.tsv.gz", tmp_path / "all.parquet")
    assert [tuple(row.values()) for row in rows] == [
        ("d1", 1, "first"), ("d1", 2, "first"), ("d2", 1, "second query"), ("d2", 2, "b"),
    ]  # fmt: skip
    assert shards.read_metadata(tmp_path / "all.parquet")["counts"] == {
        "documents": 2, "documents_without_queries": 0, "queries": 4, "repeated": 1, "lines_without_text": 1,
        "lines_of_other_documents": 1, "lines_beyond_per_document": 1, "lines_of_another_form": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d1 no tab\n[d1]\ta\n[d2]\tb\n", r"published.tsv: 1 of 3 lines are invalid, .*nor \{.*\}; line 1\)"),
        ("[d1]\ta\n", "1 of 2 documents of .* have no query in it, such as 'd2'"),
        ("", "the file is empty"),
    ],
)
def test_a_published_file_of_something_else_is_refused(tmp_path, text, message):
    write_corpus(tmp_path / "corpus.parquet", DOCUMENTS[:2])
    (tmp_path / "published.tsv").write_text(text)
    with pytest.raises(UserError, match=message):
        read(tmp_path, tmp_path / "published.tsv", tmp_path / "all.parquet")
    assert not (tmp_path / "all.parquet").exists()


def source(folder, lines, tolerance=1):
    (folder / "published.txt").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return SourceLines(folder / "published.txt", tolerance)


def test_published_docnos_in_lower_case_and_quoted_texts(tmp_path):
    docnos, counts = ["D1", "d2", "D2", "Xa", "xA"], Counter()
    lines = ["[d1]\ta", '[d1]\t"what is ""b"""', '[D1]\t"c"', "d2\td", "D2\te", "[xa]\tf", "[xA]\tg"]
    expected = [["a", 'what is "b"', '"c"'], ["d"], ["e"], [], ["g"]]
    assert shards.published_queries(source(tmp_path, lines), docnos, 9, counts) == expected
    assert counts == {"lines_of_other_documents": 1}


def test_published_queries_as_lines_of_json(tmp_path):
    docnos, counts = ["-42", "D2"], Counter()
    lines = ['{"doc_id": -42, "query": "who  is it"}', '{"query": "b", "doc_id": "[d2]"}', "[D2]\tc", '{"doc_id": 9']
    lines += ['{"doc_id": "d2", "query": ["x"]}', '{"doc_id": "d2"}', '{"doc_id": true, "query": "y"}']
    lines += [
        '{"doc_id": "d2", "query": " "}',
        '{"doc_id": "d9", "query": "z"}',
        "{not JSON}\td",
        r'{"doc_id": "d2", "query": "\ud800"}',
    ]
    read = source(tmp_path, lines)
    assert shards.published_queries(read, docnos, 9, counts) == [["who is it"], ["b", "c"]]
    assert counts == {"lines_without_text": 1, "lines_of_other_documents": 1}
    assert read.rejected.total() == 6 and list(read.examples.values()) == [[4, 5, 6]]
