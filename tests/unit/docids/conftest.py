"""What tests of the scripts from the corpus to the docids share."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ddro.core.tables import CORPUS
from four_documents import ROWS


@pytest.fixture
def corpus(tmp_path):
    """The path of a corpus of four documents."""
    rows = [row | {"judged_queries": 1} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows, CORPUS), tmp_path / "corpus.parquet")
    return tmp_path / "corpus.parquet"


@pytest.fixture
def model(tmp_path):
    """A folder with a config of 32,128 embeddings, as T5 has, and a tokenizer of single words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: token for token, word in enumerate("<pad> </s> <unk> heart attack of the a.org".split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path / "model")
    config = json.dumps({"model_type": "t5", "vocab_size": 32128})
    (tmp_path / "model" / "config.json").write_text(config, encoding="utf-8")
    return tmp_path / "model"
