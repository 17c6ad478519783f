"""Ranking documents for many queries with a trained model: what the scripts that do so share."""

from __future__ import annotations

import argparse
import time
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from ddro.core import tables
from ddro.core.command import UserError, log, progress
from ddro.core.files import read_table
from ddro.core.halves import in_halves

if TYPE_CHECKING:  # so that --help is instant
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from ddro.docids.trie import DocidTrie


def add_retrieval_options(options: argparse.ArgumentParser) -> None:
    """Add the model, the docids, the queries, and how they are decoded."""
    options.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    options.add_argument("--trie", type=Path, required=True, help="the trie of all docids (build_trie)")
    options.add_argument("--docids", type=Path, required=True, help="the docid of each document (Parquet)")
    options.add_argument("--queries", type=Path, required=True, help="queries with their split (Parquet)")
    options.add_argument("--split", choices=tables.QUERY_SETS, required=True, help="the queries to rank for")
    options.add_argument("--beams", type=int, required=True, help="beams a query, so docids in its ranking")
    options.add_argument(
        "--length-penalty", type=float, required=True, help="a docid's score is divided by length^this: 0 or 1"
    )
    options.add_argument("--max-query-tokens", type=int, required=True, help="most tokens of a query")
    options.add_argument("--precision", choices=tables.PRECISIONS, required=True, help="of the model's numbers")
    options.add_argument(
        "--memory-mib", type=int, default=2048, help="how much the queries of a batch may take (default: %(default)s)"
    )


@dataclass(frozen=True)
class ModelWithDocids:
    """A trained model with its tokenizer, the trie of its docids, and the documents of the trie by their place."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    trie: DocidTrie
    docnos: list[str]


def load_with_docids(model: Path, trie: Path, docids: Path) -> ModelWithDocids:
    """Load a model's folder, the trie of build_trie, and the docnos of its docid table (`tables.DOCIDS`).

    Raises:
        UserError: trie and docids are of different collections.
    """
    from ddro.docids.trie import DocidTrie
    from ddro.models.t5 import be_quiet, load

    be_quiet()
    docnos = read_table(docids, tables.DOCIDS, ["docno"])["docno"].to_pylist()
    loaded_trie = DocidTrie.load(trie)
    if len(loaded_trie.documents) != len(docnos):
        raise UserError(
            f"{trie} is of {len(loaded_trie.documents)} documents, {docids} has {len(docnos)}. "
            "Delete the trie and run snakemake."
        )
    loaded, tokenizer = load(model)
    return ModelWithDocids(loaded.eval(), tokenizer, loaded_trie, docnos)


def rank_queries(
    queries: Sequence[tuple[str, str]],
    loaded: ModelWithDocids,
    *,
    own: Container[str] = (),
    beams: int,
    length_penalty: float,
    max_query_tokens: int,
    precision: str,
    memory_mib: int,
) -> tuple[pa.Table, dict[str, Any]]:
    """Rank documents for ``queries`` (qid, text) with a model of ours by constrained beam search.

    Args:
        queries: at least one.
        loaded: its model is left on the device and in the ``precision`` that it ranks in.
        own: qids of those that are a document (`read_own_documents`).
        beams: docids in a ranking.
        length_penalty: see `rank_documents`.
        max_query_tokens: most tokens that are read of a query.
        precision: one of `tables.PRECISIONS`.
        memory_mib: how much the queries of a batch may take.

    Returns:
        the run as `tables.RUN`, in the order of the queries, and the timing: of each batch its queries and seconds,
        and what they depend on.

    Raises:
        UserError: what `constrained_beam_search` refuses.
    """
    import torch

    from ddro.models.precision import use_precision
    from ddro.models.tokenizer import encode

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = loaded.model.to(device, use_precision(precision))
    run_table, batches = rank_in_batches(
        model,
        loaded.trie,
        loaded.docnos,
        [qid for qid, _ in queries],
        encode(loaded.tokenizer, [text for _, text in queries], max_query_tokens),
        own=own,
        beams=beams,
        length_penalty=length_penalty,
        max_query_tokens=max_query_tokens,
        memory_mib=memory_mib,
    )
    return run_table, {
        "batches": batches,
        "beams": beams,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "model_bytes": sum(tensor.nbytes for tensor in {id(part): part for part in model.parameters()}.values()),
        "precision": precision,
        "trie_bytes": loaded.trie.nbytes,
    }


def agreement(run: pa.Table, other: pa.Table, qrels: Path | None) -> dict[str, float]:
    """How alike two runs (`tables.RUN`) are on the queries of the ``other`` one.

    Returns:
        the number of "queries", their mean "overlap@10" (documents in both first tens, as a share of the larger), and
        with judgements "mrr@10" and "mrr@10_other"; a query without a relevant document counts as 0 in both.
    """
    first_ten = [ranking.filter(pc.less_equal(ranking["rank"], 10)).to_pandas() for ranking in (run, other)]
    ours, theirs = (dict(list(frame.sort_values("rank").groupby("qid")["docno"])) for frame in first_ten)
    overlaps = [len({*ours[qid]} & {*docnos}) / max(len(ours[qid]), len(docnos)) for qid, docnos in theirs.items()]
    found = {"queries": len(theirs), "overlap@10": sum(overlaps) / len(theirs)}
    if qrels is None:
        return found
    judged = read_table(qrels, tables.QRELS)
    judged = judged.filter(pc.greater(judged["relevance"], 0))
    relevant = judged.to_pandas().groupby("qid")["docno"].agg(set)
    for name, rankings in (("mrr@10", ours), ("mrr@10_other", theirs)):
        ranks = (reciprocal_rank(rankings[qid], relevant.get(qid, set())) for qid in theirs)
        found[name] = sum(ranks) / len(theirs)
    return found


def reciprocal_rank(documents: Iterable[Any], relevant: Container[Any]) -> float:
    """1 / rank of the first of a query's ``documents`` that is relevant, 0 without one."""
    return next((1 / rank for rank, document in enumerate(documents, 1) if document in relevant), 0.0)


def rank_in_batches(
    model: PreTrainedModel,
    trie: DocidTrie,
    docnos: Sequence[str],
    qids: Sequence[str],
    input_ids: Sequence[Sequence[int]],
    *,
    own: Container[str] = (),
    beams: int,
    length_penalty: float,
    max_query_tokens: int,
    memory_mib: int,
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The run of all queries as `tables.RUN`, in their order, and of each batch its queries and seconds.

    Queries of like length are decoded together, the longest first: what needs most memory shows at once if it's enough.

    Args:
        docnos: of the documents of ``trie``.
        input_ids: the tokens of each query, at most ``max_query_tokens``.
        own: the qids whose document of the same name has no place in their ranking; they have one beam more.
    """
    from ddro.retrieval.beam_search import batch_size, rank_documents
    from ddro.retrieval.fixed_search import LastSearch
    from ddro.retrieval.runs import gather, ranking_rows

    place_of = {docno: place for place, docno in enumerate(docnos) if docno in own}
    together = batch_size(model, trie, beams + bool(place_of), max_query_tokens, memory_mib * 2**20)
    log.info("%d queries, %d at a time, with %d beams on %s", len(qids), together, beams, model.device)
    by_length = sorted(range(len(qids)), key=lambda index: -len(input_ids[index]))
    last = LastSearch()
    groups = [[index for index in by_length if (qids[index] in place_of) == is_own] for is_own in (False, True)]

    def rank(some: Sequence[int]) -> list:
        tokens, own_places = [input_ids[index] for index in some], [place_of.get(qids[index]) for index in some]
        return rank_documents(model, trie, tokens, beams, length_penalty=length_penalty, own=own_places, last=last)

    parts, batches = [], []
    with progress(total=len(qids), description="retrieve", unit="queries") as bar:
        for batch in (group[first : first + together] for group in groups for first in range(0, len(group), together)):
            start = time.perf_counter()
            found = in_halves(rank, batch, "queries")
            rows = (ranking_rows(qids[index], docnos, *of_query) for index, of_query in zip(batch, found, strict=True))
            # As a table they take a tenth of the rows' memory.
            parts.append(pa.Table.from_pylist(list(chain.from_iterable(rows)), tables.RUN))
            batches.append({"queries": len(batch), "seconds": time.perf_counter() - start})
            bar.update(len(batch))
    return gather(parts, qids), batches
