"""One query, three systems: what BM25, SFT and DDRO rank first, with the docids' tokens and their probabilities."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from ddro.core import tables
from ddro.core.command import UserError
from ddro.core.files import read_table
from ddro.docids.tokens import with_padding
from ddro.docids.trie import DocidTrie
from ddro.models.t5 import docid_strings, load, pad
from ddro.models.tokenizer import encode
from ddro.retrieval.beam_search import constrained_beam_search, ranked_documents
from ddro.retrieval.bm25 import Searcher


@dataclass(frozen=True)
class Hit:
    """A document; ``score`` is BM25's or the docid's of the beam search, ``tokens`` the docid with each probability."""

    docno: str
    url: str
    title: str
    body: str
    score: float
    tokens: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """What a system found, best first, and how long it took."""

    system: str
    milliseconds: float
    hits: list[Hit]


class SearchEngine:
    """The systems of one experiment, loaded once.

    All searches run in one thread of its own, so that a server may ask from any of its threads: Java and the models
    then meet one query at a time.
    """

    def __init__(self, results: Path, experiment: str, settings: Mapping[str, Any]) -> None:
        """Load index, models and docids.

        Args:
            results: the folder of the results.
            experiment: dataset/docid/recipe.
            settings: the recipe's, and ``models``: the folder of each system's, below ``results``.

        Raises:
            UserError: something is missing.
        """
        dataset, docid, _ = experiment.split("/")
        self._settings = settings
        corpus = read_table(results / dataset / "corpus.parquet", tables.CORPUS)
        self._documents = {row["docno"]: row for row in corpus.to_pylist()}
        docids = read_table(results / dataset / docid / "docids.parquet", tables.DOCIDS, ["docno"])
        self._docnos = docids["docno"].to_pylist()
        self._trie = DocidTrie.build(with_padding(docids["tokens"], settings["docids"]["padding"], self._docnos))
        self._models = {}
        for system in ("sft", "ddro"):
            model, tokenizer = load(results / settings["models"][system])
            self._models[system] = model.eval().to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer
        ranking = settings["bm25"]["ranking"]
        self._thread = ThreadPoolExecutor(1)
        self._bm25 = self._thread.submit(
            Searcher, results / dataset / "bm25/index", ranking["k1"], ranking["b"]
        ).result()
        self.search("warm up", 1)

    def search(self, text: str, depth: int) -> list[Answer]:
        """The first ``depth`` documents of each system.

        Raises:
            UserError: a text of nothing but white space.
        """
        if not text.strip():
            raise UserError("the query is empty. Write what you look for.")
        return [self._thread.submit(self._timed, system, text, depth).result() for system in ("bm25", *self._models)]

    def _timed(self, system: str, text: str, depth: int) -> Answer:
        start = time.perf_counter()
        hits = self._lexical(text, depth) if system == "bm25" else self._generated(system, text, depth)
        return Answer(system, 1000 * (time.perf_counter() - start), hits)

    def _hit(self, docno: str, score: float, tokens: Sequence[tuple[str, float]] = ()) -> Hit:
        document = self._documents[docno]
        return Hit(docno, document["url"], document["title"], document["body"], score, list(tokens))

    def _lexical(self, text: str, depth: int) -> list[Hit]:
        numbers, scores = self._bm25.search(text, depth)
        docnos = self._bm25.docnos
        return [self._hit(docnos[int(n)].as_py(), float(score)) for n, score in zip(numbers, scores, strict=True)]

    def _generated(self, system: str, text: str, depth: int) -> list[Hit]:
        model, tokenizer = self._models[system]
        decoding = self._settings["decoding"]
        ids, mask = (t.to(model.device) for t in pad(encode(tokenizer, [text], decoding["max_query_tokens"])))
        found, scores = constrained_beam_search(
            model, self._trie, ids, mask, decoding["beams"], length_penalty=decoding["length_penalty"]
        )
        rows, values = ranked_documents(self._trie, found[0].cpu().numpy(), scores[0].cpu().numpy())
        shown = [row for row in found[0].tolist() if row >= 0][:depth]
        probabilities = dict(
            zip(shown, token_probabilities(model, ids, mask, [self._trie.docid(row) for row in shown]), strict=True)
        )
        names = {
            int(row): list(zip(docid_strings(model, tokenizer, self._trie.docid(docid).tolist()), values, strict=True))
            for docid, values in probabilities.items()
            for row in self._trie.documents_of(docid)
        }
        best = list(zip(rows.tolist(), values.tolist(), strict=True))[:depth]
        return [self._hit(self._docnos[row], score, names[row]) for row, score in best]


@torch.inference_mode()
def token_probabilities(
    model: PreTrainedModel, input_ids: torch.Tensor, attention_mask: torch.Tensor, docids: Sequence[Sequence[int]]
) -> list[list[float]]:
    """The probability of each token of each docid, after the query and the tokens before.

    Args:
        model: a T5 in evaluation mode.
        input_ids: int64 [1, length], the query.
        attention_mask: int64 [1, length].
        docids: token ids.
    """
    labels, mask = (tensor.to(model.device) for tensor in pad([[int(token) for token in docid] for docid in docids]))
    rows = len(docids)
    logits = model(
        input_ids=input_ids.expand(rows, -1), attention_mask=attention_mask.expand(rows, -1), labels=labels
    ).logits
    probabilities = logits.float().softmax(-1).gather(2, labels[..., None])[..., 0]
    lengths = mask.sum(1).tolist()
    return [row[:length].tolist() for row, length in zip(probabilities, lengths, strict=True)]
