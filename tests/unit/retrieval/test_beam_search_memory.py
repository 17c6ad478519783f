"""The bound on what a query takes of the decoder's memory, against what a process really takes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from ddro.docids.trie import DocidTrie
from ddro.retrieval import fixed_decoder
from ddro.retrieval.beam_search import MOST_QUERIES, batch_size, bytes_per_query
from ddro.retrieval.fixed_decoder import FixedDecoder, items_at_once, room_on
from ddro.retrieval.fixed_search import candidates_per_query

SCRIPTS = Path(__file__).parents[3] / "scripts"
MEASURE = """
import json, sys
from pathlib import Path
import numpy as np, pyarrow as pa, torch
from transformers import T5Config, T5ForConditionalGeneration
from ddro.retrieval import fixed_decoder
from ddro.retrieval.beam_search import bytes_per_query, constrained_beam_search
from ddro.docids.trie import DocidTrie

fixed_shapes = sys.argv[1] == "fixed"
fixed_decoder.ROOM = 2**22  # what is computed at once comes on top of the bound, and is no more for more queries

torch.set_num_threads(1)
generator = np.random.default_rng(0)
docids = generator.integers(0, 4, (20_000, 12))  # the first tokens of few docids tell them apart
docids[:, 6:] += generator.integers(2, 60, (20_000, 6))
trie = DocidTrie.build(docids.tolist())
sizes = dict(d_model=128, d_kv=64, d_ff=512, num_layers=1, num_decoder_layers=4, num_heads=4)
config = T5Config(vocab_size=128, decoder_start_token_id=0, **sizes)
model = T5ForConditionalGeneration(config).eval()
queries = torch.randint(2, 128, (40, 64))

def peak(count):
    some = queries[:count]
    constrained_beam_search(model, trie, some, torch.ones_like(some), 60, fixed_shapes=fixed_shapes)
    # ru_maxrss counts what the process was before it became this program
    status = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) * 1024

few = peak(8)
print(json.dumps([(peak(40) - few) / 32, bytes_per_query(model, trie, 60, 64, fixed_shapes=fixed_shapes)]))
"""


@pytest.mark.parametrize("search", ["of a processor", "fixed"])
def test_a_query_takes_no_more_than_the_bound_nor_much_less(search):
    command = [sys.executable, "-c", MEASURE, search]
    printed = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    taken, bound = json.loads(printed.stdout)
    assert bound / 8 < taken < bound


def test_the_bound_in_numbers():
    """2 layers of 2 heads of 8; 3 query tokens; docids of 3 tokens that stand alone after 2; 4 beams."""
    config = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_decoder_layers=2, num_heads=2)
    model = T5ForConditionalGeneration(config)
    trie = DocidTrie.build([[first, second, 9] for first in (3, 4) for second in (5, 6, 7)])
    numbers = 3 * (8 * 16 + 32 + 2 * 2 * 16) + 4 * 2 * 4 * 3 * 16 + 4 * (8 * 16 + 32)
    assert bytes_per_query(model, trie, 4, 3) == 6 * numbers + 6 * 240
    assert bytes_per_query(model.to(torch.bfloat16), trie, 4, 3) == 3 * numbers + 6 * 240
    assert bytes_per_query(model, DocidTrie.build([[3]]), 4, 3) > 0


def test_the_bound_of_fixed_shapes_in_numbers():
    """The same, but queries have 64 tokens; 1 + 2 + 4 + 4 beams keep keys and values, each under a mask of 2 x 4."""
    config = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_decoder_layers=2, num_heads=2)
    model = T5ForConditionalGeneration(config)
    trie = DocidTrie.build([[first, second, 9] for first in (3, 4) for second in (5, 6, 7)])
    numbers = 64 * (8 * 16 + 32 + 2 * 2 * 16) + 2 * (1 + 2 + 4 + 4) * (2 * 16 + 2 * 4) + 4 * (8 * 16 + 32)
    assert bytes_per_query(model, trie, 4, 3, fixed_shapes=True) == 6 * numbers + 6 * 240


def test_what_is_computed_at_once_follows_from_the_memory_that_is_free(monkeypatch):
    assert room_on(torch.device("cpu")) == 512 * 2**20
    for name, value in {"mem_get_info": (7000, 9999), "memory_reserved": 1500, "memory_allocated": 500}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert room_on(torch.device("cuda")) == (7000 + 1500 - 500) // 16


@pytest.mark.parametrize(
    ("room", "item", "rows", "expected"),
    [(1000, 3, 1, 256), (300, 3, 1, 100), (2, 3, 1, 1), (99, 3, 80, 32), (9, 3, 80, 3), (99, 3, 128, 33)],
)
def test_parts_have_a_multiple_of_128_rows_where_they_can(room, item, rows, expected):
    assert items_at_once(room, item, rows) == expected


def test_how_many_queries_last_tokens_are_decoded_at_once(monkeypatch):
    """5 rows with 3 tokens behind 2: each token takes 8 x 16 + 32 + 5 x 16, and 4 x 16 for each of both kinds."""
    config = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_decoder_layers=2, num_heads=2)
    of_query = 4 * 5 * (3 * (8 * 16 + 32 + 5 * 16) + (2 + 3) * 4 * 16)
    monkeypatch.setattr(fixed_decoder, "ROOM", 7 * of_query)
    decoder = FixedDecoder(T5ForConditionalGeneration(config), 1, 8, [1, 5], 5)
    assert decoder.queries_at_once(5, 2, 3) == 7


@pytest.mark.parametrize(("queries", "expected"), [(0, 1), (1, 1), (5, 5), (10_000, MOST_QUERIES)])
def test_as_many_queries_as_fit(queries, expected):
    config = T5Config(vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    model, trie = T5ForConditionalGeneration(config), DocidTrie.build([[3], [4]])
    memory = queries * bytes_per_query(model, trie, 2, 8)
    assert batch_size(model, trie, 2, 8, memory) == expected


def test_the_candidates_of_each_level_in_fixed_shapes():
    """The root has 2 children, these have 3 and 1, one of them 2; of 2 beams each has as many as the widest node."""
    trie = DocidTrie.build([[3, 5, 1], [3, 6, 1], [3, 7, 1], [3, 7, 2], [4, 5, 1]])
    assert candidates_per_query(trie, 2) == [2, 2 * 3, 2 * 2, 2]
    assert candidates_per_query(trie, 1) == [2, 3, 2, 1]
