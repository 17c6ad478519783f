"""Pseudo queries: a model that writes queries which a document might answer, run by transformers or by CTranslate2."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path

import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ddro.core.command import UserError
from ddro.core.files import read_batches
from ddro.core.halves import in_halves
from ddro.core.tables import CORPUS
from ddro.core.text import collapse_spaces
from ddro.models.t5 import load, pad
from ddro.models.tokenizer import TOKENS, encode, encode_as_array

CHARACTERS_A_TOKEN = 64
"""A text is cut to so many characters for each token that is read of it: a document of megabytes isn't tokenised."""

BATCH_SIZE = {"cpu": 8_192, "cuda": 131_072}
"""Largest `cost` of a batch: on a CPU four documents of T5-small's benchmark. On a GPU nothing was measured."""

STREAMS = {"cpu": 4, "cuda": 1}
"""Translators of CTranslate2 that share the batches, by turns. Their number decides which batch draws what, so it is
the same on all machines of a kind, whatever their cores."""

Batch = tuple[int, list[Sequence[int]]]
"""Queries a document, and the tokens of each document."""


def document_text(title: str, body: str) -> str:
    """What the model reads of a document."""
    return f"{title}. {body}"


def encode_documents(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each document, end token included."""
    return encode(tokenizer, [text[: CHARACTERS_A_TOKEN * max_tokens] for text in texts], max_tokens)


def encode_relevant_documents(
    corpus: Path, docnos: Collection[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int
) -> tuple[dict[str, int], pa.ListArray]:
    """The place of each of the ``docnos`` in the second result: token ids of its document, list<int32>.

    The corpus is read in parts, and the texts of one part are in memory.
    """
    place: dict[str, int] = {}
    parts = [pa.array([], TOKENS)]
    for part in read_batches(corpus, CORPUS):
        rows = [row for row in part.select(["docno", "title", "body"]).to_pylist() if row["docno"] in docnos]
        place |= {row["docno"]: number for number, row in enumerate(rows, len(place))}
        texts = [document_text(row["title"], row["body"])[: CHARACTERS_A_TOKEN * max_tokens] for row in rows]
        parts.append(encode_as_array(tokenizer, texts, max_tokens))
    return place, pa.concat_arrays(parts)


def load_doc2query(folder: Path, **settings: object) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder; a `UserError` tells where the tokenizer isn't the model's."""
    model, tokenizer = load(folder, **settings)
    size, end = model.config.vocab_size, model.config.eos_token_id
    (tokens,) = encode(tokenizer, ["a query"], 8)
    # transformers makes a tokenizer of a hundred tokens where the folder has none.
    if not size // 2 <= len(tokenizer) <= size or tokenizer.eos_token_id != end or tokens[-1] != end:
        raise UserError(
            f"{folder}: its tokenizer isn't the model's: it has {len(tokenizer)} tokens of the model's {size}, and "
            f"ends a text with {tokens[-1]}, the model with {end}. Name a model with its own tokenizer as "
            "doc2query.source."
        )
    return model.eval(), tokenizer


def check_engine(engine: str) -> None:
    """Refuse, before a model is loaded, an engine that can't run on this machine's GPU.

    CTranslate2 (4.8) opens the libraries of CUDA 12; the torch of a plain install brings those of CUDA 13.

    Raises:
        UserError: CTranslate2 on a GPU without these libraries.
    """
    if engine != "ctranslate2" or not torch.cuda.is_available():
        return
    try:
        ctypes.CDLL("libcublas.so.12")
    except OSError as error:
        raise UserError(
            f"doc2query.engine is ctranslate2, which can't run on this GPU: {error}. Write transformers, or put the "
            "libraries of CUDA 12 on LD_LIBRARY_PATH."
        ) from error


class TransformersWriter:
    """Writes queries with ``transformers.generate``; the encoder reads each document once for all its queries.

    It computes in bfloat16 on a GPU that has it, else in float32. Documents that don't fit a GPU's memory at once go in
    halves, and then chance draws other queries.

    Attributes:
        beams: width of the beam search, or None to sample.
        top_k: each token is drawn from so many most probable ones.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        beams: int | None,
        top_k: int,
        max_query_tokens: int,
    ) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        half = self.device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        self.compute_type = "bfloat16" if half else "float32"
        self.model = model.to(self.device, getattr(torch, self.compute_type))
        self.tokenizer, self.max_query_tokens = tokenizer, max_query_tokens
        self.search = {"num_beams": beams} if beams else {"do_sample": True, "top_k": top_k}

    def reseed(self, seed: int) -> None:
        """What is written from now on depends on ``seed`` and on the batches that follow."""
        torch.manual_seed(seed)

    @torch.inference_mode()
    def write(self, batches: Iterable[Batch]) -> Iterator[list[list[str]]]:
        """Yield for each batch the queries of each document."""
        for count, documents in batches:
            yield in_halves(partial(self._write, count), documents, "documents")

    def _write(self, count: int, documents: Sequence[Sequence[int]]) -> list[list[str]]:
        tokens, mask = (tensor.to(self.device) for tensor in pad(documents))
        written = self.model.generate(
            input_ids=tokens,
            attention_mask=mask,
            num_return_sequences=count,
            max_new_tokens=self.max_query_tokens,
            **self.search,
        )
        return texts_of(self.tokenizer, written, count)


class Ctranslate2Writer:
    """The same with CTranslate2: int8 on a CPU; bfloat16, or else float16, on a GPU.

    The model is converted from the weights in memory: no network, no pickle. CTranslate2 seeds its generator once, when
    a translator draws for the first time, so each seed needs new translators (T5-small: a third of a second each).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        beams: int | None,
        top_k: int,
        max_query_tokens: int,
    ) -> None:
        import ctranslate2

        if not model.config.num_layers:
            raise UserError(
                "CTranslate2 can't run a model without encoder layers (model.layers is 0): set doc2query.engine to "
                "transformers, or model.layers to 1 or more."
            )
        self.device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        wanted = ("int8",) if self.device == "cpu" else ("bfloat16", "float16", "float32")
        supported = ctranslate2.get_supported_compute_types(self.device)
        self.compute_type = next(kind for kind in wanted if kind in supported)
        self.folder = tempfile.TemporaryDirectory(prefix="doc2query_")
        convert(model, tokenizer, Path(self.folder.name), self.compute_type)
        self.tokenizer, self.translators = tokenizer, []
        self.search = {
            "max_decoding_length": max_query_tokens,
            "beam_size": beams or 1,
            "sampling_topk": 1 if beams else top_k,
            "max_input_length": 0,
        }

    def reseed(self, seed: int) -> None:
        """What is written from now on depends on ``seed`` and on the batches that follow."""
        import ctranslate2

        self.translators.clear()  # frees their memory first
        streams = STREAMS[self.device]
        for stream in range(streams):
            ctranslate2.set_random_seed((seed + stream) % 2**32)
            translator = ctranslate2.Translator(
                self.folder.name,
                device=self.device,
                compute_type=self.compute_type,
                intra_threads=max(1, torch.get_num_threads() // streams),
                max_queued_batches=-1,
            )
            # Its first draw takes the seed.
            translator.translate_batch(
                [[self.tokenizer.eos_token]], beam_size=1, sampling_topk=2, max_decoding_length=1
            )
            self.translators.append(translator)

    def write(self, batches: Iterable[Batch]) -> Iterator[list[list[str]]]:
        """Yield for each batch the queries of each document, the most probable first."""
        waiting = []
        for number, (count, documents) in enumerate(batches):
            results = self.translators[number % len(self.translators)].translate_batch(
                [self.tokenizer.convert_ids_to_tokens(document) for document in documents],
                num_hypotheses=count,
                asynchronous=True,
                **self.search,
            )
            waiting.append((count, results))
        for count, results in waiting:
            written = [tokens for result in results for tokens in result.result().hypotheses]
            yield texts_of(self.tokenizer, [self.tokenizer.convert_tokens_to_ids(tokens) for tokens in written], count)


def texts_of(tokenizer: PreTrainedTokenizerBase, written: Sequence[Sequence[int]], count: int) -> list[list[str]]:
    """The texts of ``count`` token sequences for each document."""
    texts = [collapse_spaces(text) for text in tokenizer.batch_decode(written, skip_special_tokens=True)]
    return [texts[first : first + count] for first in range(0, len(texts), count)]


def convert(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, compute_type: str) -> None:
    """Write a T5 in the format of CTranslate2 (4.8), whose own loader takes a T5 for scaled wherever it is tied.

    The tokenizer may have fewer tokens than the model; ids that it doesn't know are never an input. A copy of the model
    is converted: quantising to int8 works in the memory of the weights that it is given, and would leave them ruined.
    """
    from ctranslate2.converters.transformers import T5Loader
    from ctranslate2.specs.model_spec import OPTIONAL

    with torch.no_grad():
        spec = T5Loader()(deepcopy(model), tokenizer)
    spec.decoder.scale_outputs = model.config.d_model**-0.5 if model.config.scale_decoder_outputs else OPTIONAL
    spec.validate()
    spec.optimize(quantization=compute_type)
    spec.save(str(folder))


WRITERS = {"ctranslate2": Ctranslate2Writer, "transformers": TransformersWriter}


def cost(length: int, count: int, max_query_tokens: int) -> int:
    """What ``count`` queries for a document of ``length`` tokens take of a batch: tokens, read and written."""
    return (length + max_query_tokens) * count


def batches(
    lengths: Sequence[int], counts: Sequence[int], *, max_query_tokens: int, size: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield (queries a document, documents) with documents of like length together, those without a count left out.

    The padded `cost` of a batch is at most ``size``; a document above it has a batch to itself.
    """
    order = sorted((index for index, count in enumerate(counts) if count), key=lambda i: (counts[i], lengths[i], i))
    batch: list[int] = []
    for index in order:
        if batch and (
            counts[index] != counts[batch[0]]
            or cost(lengths[index], counts[index], max_query_tokens) * (len(batch) + 1) > size
        ):
            yield counts[batch[0]], batch
            batch = []
        batch.append(index)
    if batch:
        yield counts[batch[0]], batch


def write_queries(
    write: Callable[[Iterable[Batch]], Iterator[list[list[str]]]],
    documents: Sequence[Sequence[int]],
    *,
    per_document: int,
    redraws: int,
    max_query_tokens: int,
    size: int,
    done: Callable[[int], None] = lambda count: None,
) -> tuple[list[list[str]], dict[str, int]]:
    """``per_document`` queries for each document, and counts of what was drawn again.

    A query that repeats another of its document, or is empty, is drawn again, ``redraws`` times at most; then it stays.

    Args:
        write: of `TransformersWriter` or `Ctranslate2Writer`.
        documents: token ids of each document.
        size: of a batch.
        done: told how many documents have had their first queries.

    Returns:
        The queries of each document, distinct ones first, and {"drawn_again", "repeated", "empty"}: the number of
        queries that were drawn again, of those that repeat another one still, and of those that are empty.
    """
    lengths = [len(document) for document in documents]
    kept: list[list[str]] = [[] for _ in documents]
    rejected: list[list[str]] = [[] for _ in documents]
    drawn_again = 0
    for draw in range(redraws + 1):
        missing = [per_document - len(texts) for texts in kept]
        rows = list(batches(lengths, missing, max_query_tokens=max_query_tokens, size=size))
        written = write([(count, [documents[index] for index in batch]) for count, batch in rows])
        for (count, batch), of_batch in zip(rows, written, strict=True):
            for index, texts in zip(batch, of_batch, strict=True):
                rejected[index] = []
                for text in texts:
                    (kept if text and text not in kept[index] else rejected)[index].append(text)
            drawn_again += count * len(batch) if draw else 0
            done(0 if draw else len(batch))
    # What is rejected last is as long as what is missing.
    queries = [new + sorted(old, key=lambda text: not text) for new, old in zip(kept, rejected, strict=True)]
    empty = sum(not text for texts in queries for text in texts)
    repeated = sum(map(len, queries)) - sum(map(len, kept)) - empty
    return queries, {"drawn_again": drawn_again, "repeated": repeated, "empty": empty}
