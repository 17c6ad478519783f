"""The scripts from docids and a model to a run: build_trie, retrieve, gather_run, rank_for_negatives."""

import json

import pyarrow as pa
import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer

import build_trie
import gather_run
import rank_for_negatives
import retrieve
from ddro.core.command import UserError
from ddro.core.files import read_json, read_table, write_table
from ddro.core.tables import DOCIDS, QRELS, QUERIES, RUN
from ddro.docids.trie import DocidTrie
from ddro.models.t5 import load, pad
from ddro.models.tokenizer import encode
from ddro.retrieval.beam_search import constrained_beam_search, ranked_documents
from ddro.retrieval.ranking import agreement
from ddro.retrieval.runs import read_run
from in_process import call

DOCNOS = ["d0", "d1", "d2", "d3", "d4"]
TOKENS = [[7, 9], [7, 8], [6, 8], [7, 9], [5, 9]]  # d0 and d3 share one
TEXTS = ["a b", "b", "c a b c", "a", "b c a", "c"]
BEAMS = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of random weights, docids, six test queries and one of training, and the trie."""
    folder = tmp_path_factory.mktemp("retrieve")
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=12, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        tie_word_embeddings=False,
    )  # fmt: skip
    T5ForConditionalGeneration(config).save_pretrained(folder / "model")
    pieces = ["<pad>", "</s>", "<unk>", "▁a", "▁b", "▁c"]
    T5Tokenizer(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0).save_pretrained(folder / "model")
    write_table(pa.table([DOCNOS, TOKENS], schema=DOCIDS), folder / "docids.parquet", DOCIDS)
    rows = [(f"q{number}", text, "test") for number, text in enumerate(TEXTS)] + [("z", "a c", "train")]
    write_table(
        pa.table([list(column) for column in zip(*rows, strict=True)], schema=QUERIES),
        folder / "queries.parquet",
        QUERIES,
    )
    call(build_trie, "--docids", folder / "docids.parquet", "--output", folder / "trie.safetensors")
    return folder


def retrieve_shard(folder, shard, *others):
    call(
        retrieve, "--model", folder / "model", "--trie", folder / "trie.safetensors", "--docids",
        folder / "docids.parquet", "--queries", folder / "queries.parquet", "--split", "test", "--shard", shard,
        "--beams", BEAMS, "--length-penalty", 0, "--max-query-tokens", 8, "--precision", "float32",
        "--output-run", folder / f"{shard}.parquet", "--output-timing", folder / f"{shard}.json", *others,
    )  # fmt: skip
    return folder / f"{shard}.parquet", folder / f"{shard}.json"


def gathered(folder, shards):
    runs, timings = zip(*(retrieve_shard(folder, shard) for shard in shards), strict=True)
    run, timing = folder / f"{len(shards)}.trec.gz", folder / f"{len(shards)}.timing.json"
    call(
        gather_run, "--runs", *runs, "--timings", *timings, "--queries", folder / "queries.parquet", "--split", "test",
        "--tag", "ddro", "--output-run", run, "--output-timing", timing,
    )  # fmt: skip
    return run, timing


def test_each_query_has_the_ranking_that_the_search_gives_it_alone(folder):
    run = read_run(gathered(folder, ["1-of-1"])[0]).to_pandas()
    model, tokenizer = load(folder / "model")
    trie = DocidTrie.build(TOKENS)
    assert run["qid"].drop_duplicates().tolist() == [f"q{number}" for number in range(len(TEXTS))]
    for number, tokens in enumerate(encode(tokenizer, TEXTS, 8)):
        found, scores = constrained_beam_search(model.eval(), trie, *pad([tokens]), BEAMS)
        documents, values = ranked_documents(trie, found[0].numpy(), scores[0].numpy())
        of_query = run[run["qid"] == f"q{number}"]
        assert of_query["docno"].tolist() == [DOCNOS[row] for row in documents]
        assert of_query["score"].tolist() == pytest.approx(values.tolist(), abs=1e-5)


def test_the_trie_may_have_padded_docids(folder, tmp_path):
    call(build_trie, "--docids", folder / "docids.parquet", "--padding", 4, "--output", tmp_path / "trie.safetensors")
    trie = DocidTrie.load(tmp_path / "trie.safetensors")
    assert [trie.docid(row).tolist() for row in range(4)] == [[5, 9, 0, 0], [6, 8, 0, 0], [7, 8, 0, 0], [7, 9, 0, 0]]
    assert trie.documents_of(3).tolist() == [0, 3]


def test_a_precision_is_compared_with_float32_on_some_queries(folder):
    """The run's own overlap and MRR@10 are known, and those of bfloat16 are in the file."""
    relevant = [f"q{number}" for number in range(len(TEXTS))]
    run = read_run(gathered(folder, ["1-of-1"])[0]).to_pandas()
    third = {qid: run[(run["qid"] == qid) & (run["rank"] == 3)]["docno"].item() for qid in relevant}
    judged = pa.table([relevant, [third[qid] for qid in relevant], [1] * len(relevant)], schema=QRELS)
    write_table(judged, folder / "thirds.parquet", QRELS)
    comparing = ["--compare-float32", 3, "--qrels", folder / "thirds.parquet"]
    same = read_json(retrieve_shard(folder, "1-of-1", *comparing)[1])["against_float32"]
    assert same == {"queries": 3, "overlap@10": 1, "mrr@10": pytest.approx(1 / 3), "mrr@10_other": pytest.approx(1 / 3)}
    other = read_json(retrieve_shard(folder, "1-of-1", *comparing, "--precision", "bfloat16")[1])["against_float32"]
    assert other["queries"] == 3 and 0 < other["overlap@10"] <= 1 and other["mrr@10_other"] == pytest.approx(1 / 3)


def test_overlap_and_mrr_of_two_runs_by_hand(tmp_path):
    run, other = (
        pa.Table.from_pylist(
            [{"qid": "q", "docno": docno, "rank": rank, "score": -rank} for rank, docno in enumerate(docnos, 1)], RUN
        )
        for docnos in ("abcd", "bex")
    )
    write_table(pa.table([["q", "q"], ["b", "a"], [1, 0]], schema=QRELS), tmp_path / "qrels.parquet", QRELS)
    found = agreement(run, other, tmp_path / "qrels.parquet")
    assert found == {"queries": 1, "overlap@10": 1 / 4, "mrr@10": 1 / 2, "mrr@10_other": 1}
    assert agreement(run, other, None) == {"queries": 1, "overlap@10": 1 / 4}


def test_shards_give_the_run_of_the_whole(folder):
    (whole, _), (parts, timing) = (
        gathered(folder, ["1-of-1"]),
        gathered(folder, ["1-of-4", "2-of-4", "3-of-4", "4-of-4"]),
    )
    first, second = read_run(whole).to_pandas(), read_run(parts).to_pandas()
    assert first[["qid", "docno", "rank"]].equals(second[["qid", "docno", "rank"]])
    assert first["score"].tolist() == pytest.approx(second["score"].tolist(), abs=1e-5)
    assert read_json(timing)["queries"] == len(TEXTS)
    assert read_table(folder / "2-of-4.parquet", RUN)["qid"].unique().to_pylist() == ["q1", "q5"]


def test_the_ranking_for_negatives_is_that_of_its_split_sorted_by_qid(folder):
    rows = read_table(folder / "queries.parquet", QUERIES).to_pylist()
    write_table(pa.Table.from_pylist(rows[::-1], QUERIES), folder / "reversed.parquet", QUERIES)
    call(
        rank_for_negatives, "--model", folder / "model", "--trie", folder / "trie.safetensors", "--docids",
        folder / "docids.parquet", "--queries", folder / "reversed.parquet", "--split", "test", "--beams", BEAMS,
        "--length-penalty", 0, "--max-query-tokens", 8, "--precision", "float32",
        "--output", folder / "negatives.parquet",
    )  # fmt: skip
    ranked = read_table(folder / "negatives.parquet", RUN).to_pandas()
    run = read_run(gathered(folder, ["1-of-1"])[0]).to_pandas()  # the queries of which stand in the order of their qids
    assert ranked[["qid", "docno", "rank"]].equals(run[["qid", "docno", "rank"]])


def test_a_missing_shard_and_a_strange_query_are_refused(folder):
    gathered(folder, ["1-of-2", "2-of-2"])
    options = [
        "--queries", folder / "queries.parquet", "--tag", "ddro", "--output-run", folder / "x.trec.gz",
        "--output-timing", folder / "x.json", "--timings", folder / "1-of-2.json",
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"query 'q1' has no ranking \(3 such"):
        call(gather_run, "--runs", folder / "1-of-2.parquet", "--split", "test", *options)
    with pytest.raises(UserError, match="query 'z' has no ranking"):
        call(gather_run, "--runs", folder / "1-of-2.parquet", "--split", "train", *options)
    assert not (folder / "x.trec.gz").exists()


@pytest.mark.parametrize("shard", ["0-of-2", "3-of-2", "1", "a-of-b"])
def test_no_shard(folder, shard):
    with pytest.raises(UserError, match="2-of-8"):
        retrieve_shard(folder, shard)


def test_a_trie_of_other_docids_is_refused(folder, tmp_path):
    DocidTrie.build(TOKENS[:3]).save(tmp_path / "trie.safetensors")
    with pytest.raises(UserError, match="of 3 documents"):
        retrieve_shard(folder, "1-of-1", "--trie", tmp_path / "trie.safetensors")


def test_bfloat16_ranks_by_scores_near_those_of_float32(folder):
    exact = read_table(retrieve_shard(folder, "1-of-1")[0], RUN).to_pandas().set_index(["qid", "docno"])["score"]
    short = read_table(retrieve_shard(folder, "1-of-1", "--precision", "bfloat16")[0], RUN).to_pandas()
    short = short.set_index(["qid", "docno"])["score"]
    both = exact.index.intersection(short.index)
    assert len(both) >= len(exact) // 2
    assert (exact[both] - short[both]).abs().max() < 0.2  # bfloat16 has 8 bits: some 0.004 a logit, and two tokens
    assert json.loads((folder / "1-of-1.json").read_text())["precision"] == "bfloat16"
