"""Sampling pseudo queries."""

from ddro.doc2query import document_text, sample_queries
from ddro.seq2seq import encode, initialise_t5, train_tokenizer

TEXTS = ["creates a stack", "deletes the queue of messages", "describes instances"]


def sample(**settings):
    tokenizer = train_tokenizer(TEXTS, 60)
    model = initialise_t5(len(tokenizer), d_model=16, d_kv=8, d_ff=32, layers=1, decoder_layers=1, heads=2, seed=0)
    arguments = {"per_document": 3, "top_k": 5, "max_query_tokens": 6, "batch_size": 2, "seed": 4}
    documents = encode(tokenizer, TEXTS, 20)
    return dict(sample_queries(model, tokenizer, documents, **(arguments | settings)))


def test_every_document_has_its_queries_and_the_seed_decides_them():
    first = sample()
    assert sorted(first) == [0, 1, 2]
    assert all(len(texts) == 3 for texts in first.values())
    assert sample() == first
    assert sample(seed=5) != first


def test_the_one_most_probable_token_leaves_nothing_to_chance():
    assert all(len(set(texts)) == 1 for texts in sample(top_k=1).values())


def test_the_text_of_a_document():
    assert document_text("Title", "Body.") == "Title. Body."
