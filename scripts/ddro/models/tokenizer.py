"""Tokenizers: trained, loaded, and what they make of texts. Nothing here imports a model, which takes seconds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ddro.core.long_texts import beginning
from ddro.models.frozen_config import register_config

_IN_WORDS = r"\p{M}\x{200C}\x{200D}"
_BETWEEN_WORDS = rf"(?:[^\p{{L}}\p{{N}}{_IN_WORDS}]|(?<![\p{{L}}\p{{N}}{_IN_WORDS}])[{_IN_WORDS}])+"
"""All but letters, digits, and the marks and joiners behind them, as `ddro.core.text.words` has it."""

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
TOKENS = pa.list_(pa.int32())
TEXTS_AT_A_TIME = 1024
LOWER_CASE = "do_lower_case"


def train_tokenizer(texts: Iterable[str], vocabulary_size: int) -> PreTrainedTokenizerFast:
    """A byte-pair-encoding tokenizer of at most ``vocabulary_size`` pieces, trained on ``texts``.

    Case and punctuation are folded, and ``CamelCase`` is two words, so that a name in a text has the pieces of the
    words in a query. Pad, end and unknown have T5's ids 0, 1, 2; a text's tokens end with the end token. (The trainer
    of T5's own kind, Unigram, orders the pieces anew in each process.)
    """
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Replace(Regex(r"(?<=\p{Ll})(?=\p{Lu})"), " "),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(_BETWEEN_WORDS), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary_size, special_tokens=[PAD, END, UNKNOWN], show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, unk_token=UNKNOWN, model_max_length=512
    )


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer of a saved folder, which reads in lower case if it did so when it was saved."""
    register_config()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.init_kwargs.get(LOWER_CASE):
        read_in_lower_case(tokenizer)
    return tokenizer


def read_in_lower_case(tokenizer: PreTrainedTokenizerBase) -> None:
    """Let the tokenizer read every text in lower case from now on, added tokens excepted.

    Saved, it says so in its tokenizer_config.json, for transformers' class of T5 forgets a normaliser of others.
    """
    tokenizer.init_kwargs[LOWER_CASE] = True
    own = tokenizer.backend_tokenizer.normalizer
    steps = list(own) if isinstance(own, normalizers.Sequence) else [own] if own else []
    if not (steps and isinstance(steps[0], normalizers.Lowercase)):
        tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int) -> list[list[int]]:
    """Token ids of each text, at most ``max_tokens`` with the end token that closes them."""
    return [ids for block in _encoded_blocks(tokenizer, texts, max_tokens) for ids in block]


def encode_as_array(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int) -> pa.ListArray:
    """`encode` as list<int32>: a ninth of the memory that lists take."""
    blocks = [pa.array(block, TOKENS) for block in _encoded_blocks(tokenizer, texts, max_tokens)]
    return pa.concat_arrays(blocks) if blocks else pa.array([], TOKENS)


def _encoded_blocks(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_tokens: int
) -> Iterator[list[list[int]]]:
    """Some texts at a time, since the tokenizer keeps much more of each than its ids until it has read all."""
    settings = {"truncation": True, "max_length": max_tokens, "return_attention_mask": False}
    texts = list(texts)
    for first in range(0, len(texts), TEXTS_AT_A_TIME):
        some = [beginning(text, max_tokens) for text in texts[first : first + TEXTS_AT_A_TIME]]
        yield tokenizer(some, **settings)["input_ids"]


class TokenLists(Sequence[list[int]]):
    """Lists of token ids, kept as Arrow keeps them: a tenth of the memory that Python's own lists take."""

    def __init__(self, tokens: pa.ListArray | pa.ChunkedArray) -> None:
        if isinstance(tokens, pa.ChunkedArray):
            tokens = tokens.combine_chunks()
        self.values, self.offsets = tokens.values.to_numpy(), tokens.offsets.to_numpy()

    def __len__(self) -> int:
        """The number of lists."""
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> list[int]:
        """The list of a row."""
        return self.values[self.offsets[row] : self.offsets[row + 1]].tolist()
