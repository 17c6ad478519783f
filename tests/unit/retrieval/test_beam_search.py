"""The constrained beam search, against transformers.generate and against the scores of all docids."""

import copy
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration

from ddro.core.command import UserError
from ddro.docids.tokens import with_padding
from ddro.docids.trie import DocidTrie
from ddro.retrieval import beam_search, completion, fixed_decoder
from ddro.retrieval.beam_search import constrained_beam_search, ranked_documents
from ddro.retrieval.found_docids import FoundDocids

PAD, END, FIRST = 0, 1, 2
VOCABULARY = 24
TOLERANCE = 1e-4


@cache
def model(seed: int) -> T5ForConditionalGeneration:
    """A small T5 with random weights, large enough that scores differ."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, dropout_rate=0.0,
        decoder_start_token_id=PAD, pad_token_id=PAD, eos_token_id=END, tie_word_embeddings=False,
    )  # fmt: skip
    made = T5ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(2)
    return made


def queries(count: int, seed: int, length: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    """Random queries of different lengths, padded on the right; the first has the full length."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(FIRST, VOCABULARY, (count, length), generator=generator)
    lengths = torch.randint(1, length + 1, (count,), generator=generator)
    lengths[0] = length
    mask = (torch.arange(length) < lengths[:, None]).long()
    return ids * mask, mask


def scores_of(t5, ids, mask, docids) -> torch.Tensor:
    """The sum of each docid's log-probabilities for each query, with no search: [queries, docids]."""
    scores = torch.empty(len(ids), len(docids))
    for column, docid in enumerate(docids):
        labels = torch.tensor([docid] * len(ids))
        inputs = torch.cat([torch.full((len(ids), 1), PAD), labels[:, :-1]], 1)
        with torch.no_grad():
            logits = t5(input_ids=ids, attention_mask=mask, decoder_input_ids=inputs).logits
        scores[:, column] = torch.log_softmax(logits, -1).gather(-1, labels[..., None]).sum((1, 2))
    return scores


def generate(t5, trie, ids, mask, beams, length_penalty=0.0):
    """What transformers finds: a list of token lists for each query, and their scores, float [queries, beams]."""
    of_beams = {} if beams == 1 else {"length_penalty": length_penalty, "early_stopping": False}
    output = t5.generate(
        input_ids=ids, attention_mask=mask, num_beams=beams, num_return_sequences=beams, do_sample=False, **of_beams,
        max_new_tokens=trie.depth, output_scores=True, return_dict_in_generate=True,
        # After a whole docid nothing follows; generate wants a token nevertheless, and ignores it after the end.
        prefix_allowed_tokens_fn=lambda _, tokens: trie.children_of(tokens[1:].tolist()) or [PAD],
    )  # fmt: skip
    sequences = [
        [tokens[: tokens.index(END) + 1] if END in tokens else tokens for tokens in of_query]
        for of_query in output.sequences[:, 1:].view(len(ids), beams, -1).tolist()
    ]
    if beams == 1:  # generate is greedy, and gives no score
        sums = torch.stack([scores_of(t5, ids, mask, [found])[q] for q, (found,) in enumerate(sequences)])
        return sequences, sums / torch.tensor([[len(found) ** length_penalty] for (found,) in sequences])
    return sequences, output.sequences_scores.view(len(ids), beams)


def search(t5, trie, ids, mask, num_beams, **options):
    """What the search for a processor finds, after a look that the one in fixed shapes, for a GPU, finds it too."""
    found, scores = constrained_beam_search(t5, trie, ids, mask, num_beams, **options, fixed_shapes=False)
    fixed, fixed_scores = constrained_beam_search(t5, trie, ids, mask, num_beams, **options, fixed_shapes=True)
    assert (fixed.shape, fixed.dtype, fixed_scores.dtype) == (found.shape, found.dtype, scores.dtype)
    assert torch.allclose(fixed_scores, scores, rtol=1e-4, atol=TOLERANCE)
    for row, column in (fixed != found).nonzero().tolist():  # only equally good ones may change places
        assert ((scores[row] - scores[row, column]).abs() < TOLERANCE).sum() > 1
    return found, scores


def distinct_docids(docids) -> list[tuple[int, ...]]:
    """Row i of the trie is the i-th of these."""
    return sorted({tuple(docid) for docid in docids})


docid_token = st.integers(FIRST, VOCABULARY - 1)
pq_like = st.integers(1, 4).flatmap(
    lambda length: st.lists(st.lists(docid_token, min_size=length, max_size=length), min_size=1, max_size=30)
)
tu_like = st.lists(
    st.lists(st.integers(FIRST, FIRST + 3), min_size=0, max_size=12).map(lambda docid: [*docid, END]),
    min_size=1, max_size=30,
)  # fmt: skip
slow = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@slow
@given(st.one_of(pq_like, tu_like), st.integers(1, 8), st.integers(0, 2), st.integers(1, 4), st.integers(0, 99))
def test_it_finds_what_generate_finds(docids, beams, weights, count, seed):
    """With more beams than docids, generate fills up with what is no docid, at scores below any other."""
    compare_with_generate(docids, beams, weights, count, seed)


@settings(slow, max_examples=20)
@given(tu_like, st.integers(2, 8), st.integers(0, 2), st.integers(1, 4), st.integers(1, 12))
def test_the_last_tokens_may_be_scored_in_many_parts(docids, beams, weights, count, positions):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(completion, "POSITIONS", positions)
        patched.setattr(fixed_decoder, "ROOM", 2_000 * positions)  # a token takes half as much, or more
        compare_with_generate(docids, beams, weights, count, positions)


of_many_lengths = st.lists(
    st.lists(st.integers(FIRST, FIRST + 2), min_size=0, max_size=14).map(lambda docid: [*docid, END]),
    min_size=1, max_size=40,
)  # fmt: skip


@settings(slow, max_examples=60)
@given(
    of_many_lengths,
    st.one_of(st.integers(1, 8), st.integers(30, 60)),  # fewer than docids, and more
    st.integers(0, 2),
    st.integers(1, 4),
    st.sampled_from([0.5, 1.0]),
    st.integers(1, 12),
)
def test_a_length_penalty_finds_what_generate_finds(docids, beams, weights, count, length_penalty, positions):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(completion, "POSITIONS", positions)
        patched.setattr(fixed_decoder, "ROOM", 2_000 * positions)  # a token takes half as much, or more
        compare_with_generate(docids, beams, weights, count, positions, length_penalty)


@slow
@given(of_many_lengths, st.integers(2, 8), st.integers(0, 2), st.integers(1, 3), st.integers(0, 99))
def test_padding_counts_as_in_the_authors_evaluation_of_nq(docids, beams, weights, count, seed):
    """They decode docids without an end token and allow padding behind them, up to one length for all."""
    rows = distinct_docids(docid[:-1] for docid in docids)
    open_docids = [row for row in rows if row and not any(other[: len(row)] == row != other for other in rows)]
    assume(len(open_docids) > 1)
    beams = min(beams, len(open_docids))
    theirs = DocidTrie.build(open_docids)
    padded = DocidTrie.build(with_padding(pa.array([[*docid, END] for docid in open_docids]), 15, open_docids))
    ids, mask = queries(count, seed)
    found, scores = search(model(weights), padded, ids, mask, beams, length_penalty=1)
    output = model(weights).generate(
        input_ids=ids, attention_mask=mask, num_beams=beams, num_return_sequences=beams, do_sample=False,
        max_length=16, output_scores=True, return_dict_in_generate=True,
        prefix_allowed_tokens_fn=lambda _, tokens: theirs.children_of(tokens[1:].tolist()) or [PAD],
    )  # fmt: skip
    expected = output.sequences_scores.view(count, beams)
    assert torch.allclose(scores, expected, atol=TOLERANCE)
    sequences = output.sequences[:, 1:].view(count, beams, -1).tolist()
    for query, column in np.ndindex(count, beams):
        if padded.docid(int(found[query, column])).tolist() != sequences[query][column]:  # equally good ones alone
            assert ((expected[query] - expected[query, column]).abs() < TOLERANCE).sum() > 1


def compare_with_generate(docids, beams, weights, count, seed, length_penalty=0.0):
    trie = DocidTrie.build(docids)
    rows = distinct_docids(docids)
    t5 = model(weights)
    ids, mask = queries(count, seed)
    found, scores = search(t5, trie, ids, mask, beams, length_penalty=length_penalty)
    expected, expected_scores = generate(t5, trie, ids, mask, beams, length_penalty)
    for query in range(count):
        for rank in range(beams):
            theirs = expected[query][rank]
            their_score = expected_scores[query, rank].item()
            if found[query, rank] < 0:
                assert their_score < -1e6 or tuple(theirs) not in rows
                continue
            ours = rows[found[query, rank]]
            our_score = scores[query, rank].item()
            assert our_score == pytest.approx(their_score, rel=1e-5, abs=TOLERANCE)
            if ours != tuple(theirs):  # only of two equally good ones may either be first
                gaps = (scores[query] - our_score).abs()
                assert (gaps < TOLERANCE).sum() > 1


@slow
@given(st.one_of(pq_like, tu_like), st.integers(0, 20), st.integers(0, 2), st.integers(1, 3), st.integers(0, 99))
def test_beams_for_every_docid_rank_all_of_them(docids, more, weights, count, seed):
    """With as many beams as docids nothing is cut off, so that the ranking is that of the scores of all docids."""
    trie = DocidTrie.build(docids)
    rows = distinct_docids(docids)
    beams = len(rows) + more
    t5 = model(weights)
    ids, mask = queries(count, seed)
    found, scores = search(t5, trie, ids, mask, beams)
    assert (found.shape, scores.shape, found.dtype) == ((count, beams), (count, beams), torch.long)
    everything = scores_of(t5, ids, mask, rows)
    best = everything.sort(dim=1, descending=True).values
    assert torch.allclose(scores[:, : len(rows)], best, atol=TOLERANCE)
    for query in range(count):
        assert sorted(found[query, : len(rows)].tolist()) == list(range(len(rows)))
        named = everything[query][found[query, : len(rows)]]
        assert torch.allclose(scores[query, : len(rows)], named, atol=TOLERANCE)
    assert (found[:, len(rows) :] == -1).all()
    assert (scores[:, len(rows) :] == -torch.inf).all()


@slow
@given(st.one_of(pq_like, tu_like), st.integers(1, 12), st.integers(1, 14), st.integers(0, 2), st.integers(0, 99))
def test_top_k_is_the_head_of_the_full_search(docids, beams, top_k, weights, seed):
    trie = DocidTrie.build(docids)
    ids, mask = queries(4, seed)
    found, scores = search(model(weights), trie, ids, mask, beams)
    top, top_scores = search(model(weights), trie, ids, mask, beams, top_k=top_k)
    width = min(beams, top_k)
    assert top.shape == top_scores.shape == (4, width)
    assert torch.allclose(top_scores, scores[:, :width], atol=TOLERANCE)
    for row, column in (top != found[:, :width]).nonzero().tolist():  # only equally good ones may change places
        assert ((scores[row] - top_scores[row, column]).abs() < TOLERANCE).sum() > 1


@slow
@given(of_many_lengths, st.integers(1, 12), st.integers(1, 14), st.integers(0, 2), st.integers(0, 99))
def test_top_k_is_the_head_of_the_full_search_with_a_length_penalty(docids, beams, top_k, weights, seed):
    trie = DocidTrie.build(docids)
    ids, mask = queries(4, seed)
    found, scores = search(model(weights), trie, ids, mask, beams, length_penalty=1)
    top, top_scores = search(model(weights), trie, ids, mask, beams, length_penalty=1, top_k=top_k)
    assert torch.equal(top, found[:, :top_k])
    assert torch.equal(top_scores, scores[:, :top_k])


@slow
@given(pq_like, st.integers(1, 12), st.one_of(st.none(), st.integers(1, 14)), st.integers(0, 99))
def test_a_length_penalty_changes_no_order_of_docids_of_one_length(docids, beams, top_k, seed):
    trie = DocidTrie.build(docids)
    ids, mask = queries(4, seed)
    found, scores = search(model(0), trie, ids, mask, beams, top_k=top_k)
    same, divided = search(model(0), trie, ids, mask, beams, top_k=top_k, length_penalty=1)
    assert torch.equal(same, found)
    assert torch.equal(divided, scores / len(docids[0]))


def test_a_length_penalty_gives_up_as_generate_does(monkeypatch):
    """A long docid may be the best one, and below all that is found until late: then generate doesn't find it."""
    generator = np.random.default_rng(0)
    docids = [[*map(int, generator.integers(FIRST, FIRST + 3, generator.integers(1, 14))), END] for _ in range(60)]
    trie, found = DocidTrie.build(docids), []
    for seed in range(6):
        compare_with_generate(docids, 2, 0, 4, seed, 1.0)
        found.append(constrained_beam_search(model(0), trie, *queries(4, seed), 2, length_penalty=1)[0])

    def never_give_up(self, query, total, live, length, longest):
        return live & (total / longest >= self.floor[query])

    monkeypatch.setattr(FoundDocids, "may_count", never_give_up)
    more = [constrained_beam_search(model(0), trie, *queries(4, seed), 2, length_penalty=1)[0] for seed in range(6)]
    assert not torch.equal(torch.cat(found), torch.cat(more))


def test_a_tied_head_and_a_gated_feed_forward_and_a_deeper_decoder():
    """A tied T5 scales what its head reads; a T5 1.1 multiplies two projections."""
    torch.manual_seed(3)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=16, d_kv=4, d_ff=32, num_layers=3, num_heads=3,
        feed_forward_proj="gated-gelu", decoder_start_token_id=PAD, pad_token_id=PAD, eos_token_id=END,
    )  # fmt: skip
    t5 = T5ForConditionalGeneration(config).eval()
    assert config.scale_decoder_outputs
    docids = np.random.default_rng(3).integers(FIRST, VOCABULARY, (80, 6)).tolist()
    ids, mask = queries(3, 4)
    found, scores = search(t5, DocidTrie.build(docids), ids, mask, 9)
    expected, expected_scores = generate(t5, DocidTrie.build(docids), ids, mask, 9)
    assert torch.allclose(scores, expected_scores, atol=TOLERANCE)
    assert [[list(distinct_docids(docids)[row]) for row in query] for query in found.tolist()] == expected


@pytest.mark.parametrize("docids", ["pq", "tu"])
def test_long_docids_that_share_long_beginnings(docids):
    """Beams that stand alone early, late and never, with ends at many lengths, against generate."""
    generator = np.random.default_rng(5)
    stems = generator.integers(FIRST, VOCABULARY, (6, 12))
    rows = [[*stems[i % 6][: i % 13], *generator.integers(FIRST, VOCABULARY, 12 - i % 13)] for i in range(120)]
    if docids == "tu":
        rows = [[*row[: 1 + i % 11], END] for i, row in enumerate(rows)]
    rows = [list(map(int, row)) for row in rows]
    trie, names = DocidTrie.build(rows), distinct_docids(rows)
    ids, mask = queries(5, 8)
    for beams in (2, 7, 30):
        found, scores = search(model(1), trie, ids, mask, beams)
        expected, expected_scores = generate(model(1), trie, ids, mask, beams)
        assert torch.allclose(scores, expected_scores, atol=TOLERANCE)
        assert [[list(names[row]) for row in query] for query in found.tolist()] == expected
        top, top_scores = search(model(1), trie, ids, mask, beams, top_k=2)
        assert torch.equal(top, found[:, :2])
        assert torch.allclose(top_scores, scores[:, :2], atol=TOLERANCE)


def test_a_score_out_of_reach_is_searched_again(monkeypatch):
    """What a narrow search finds may be cut off in a wider one: then no bound may be trusted."""
    docids = np.random.default_rng(0).integers(FIRST, VOCABULARY, (60, 3)).tolist()
    trie = DocidTrie.build(docids)
    ids, mask = queries(3, 1)
    found, scores = constrained_beam_search(model(0), trie, ids, mask, 8)
    searched = []

    def search(decoder, trie, num_beams, found):
        searched.append(found.floor.tolist())
        docids, values = real(decoder, trie, num_beams, found)
        if len(searched) == 1:
            values[1] += 100  # as if the second query had better docids than there are
        return docids, values

    real = beam_search._search
    monkeypatch.setattr(beam_search, "_search", search)
    top, top_scores = constrained_beam_search(model(0), trie, ids, mask, 8, top_k=3)
    assert searched[2] == [torch.inf, -torch.inf, torch.inf]
    assert torch.equal(top, found[:, :3])
    assert torch.allclose(top_scores, scores[:, :3], atol=TOLERANCE)


def test_logits_beyond_the_range_of_a_plain_sum_of_exponentials():
    t5 = copy.deepcopy(model(0))
    with torch.no_grad():
        t5.lm_head.weight.mul_(400)
    trie = DocidTrie.build([[5, 6], [7, 8], [5, 9]])
    ids, mask = queries(2, 0)
    found, scores = search(t5, trie, ids, mask, 3)
    expected = scores_of(t5, ids, mask, distinct_docids([[5, 6], [7, 8], [5, 9]]))
    assert expected.abs().max() > 88
    assert torch.allclose(scores, expected.gather(1, found), rtol=1e-4)


@pytest.mark.parametrize(
    ("docids", "beams", "masked", "message"),
    [
        ([[5, VOCABULARY]], 2, False, "docid token 24 is beyond the model's vocabulary"),
        ([[5]], 0, False, "0 beams"),
        ([[5]], 2, True, "query 1 of the batch has no token"),
    ],
)
def test_what_cannot_be_decoded_is_refused(docids, beams, masked, message):
    ids, mask = queries(2, 0)
    if masked:
        mask[1] = 0
    with pytest.raises(UserError, match=message):
        search(model(0), DocidTrie.build(docids), ids, mask, beams)


def test_a_negative_length_penalty_is_refused():
    with pytest.raises(UserError, match="length_penalty -1"):
        search(model(0), DocidTrie.build([[5]]), *queries(2, 0), 2, length_penalty=-1)


def test_any_number_of_beams_gives_true_scores_in_order():
    generator = np.random.default_rng(0)
    docids = generator.integers(FIRST, VOCABULARY, (60, 3)).tolist()
    trie, rows = DocidTrie.build(docids), distinct_docids(docids)
    ids, mask = queries(5, 1)
    everything = scores_of(model(0), ids, mask, rows)
    for beams in (1, 2, 5, 17, len(rows), len(rows) + 5):
        found, scores = search(model(0), trie, ids, mask, beams)
        there = found >= 0
        assert there[:, : min(beams, len(rows))].all()
        assert (scores[:, :-1] >= scores[:, 1:]).all()
        assert torch.allclose(scores[there], everything.gather(1, found.clamp(min=0))[there], atol=TOLERANCE)
        assert all(len(set(row[row >= 0].tolist())) == (row >= 0).sum() for row in found)


def test_a_query_finds_the_same_alone_and_padded_beside_others():
    docids = np.random.default_rng(1).integers(FIRST, VOCABULARY, (50, 3)).tolist()
    trie = DocidTrie.build(docids)
    ids, mask = queries(6, 3)
    together, together_scores = search(model(1), trie, ids, mask, 7)
    for query in range(6):
        length = int(mask[query].sum())
        alone, alone_scores = search(
            model(1), trie, ids[query : query + 1, :length], mask[query : query + 1, :length], 7
        )
        assert torch.equal(alone[0], together[query])
        assert torch.allclose(alone_scores[0], together_scores[query], atol=TOLERANCE)


def test_a_single_docid_is_all_there_is():
    trie = DocidTrie.build([[5, 6, 7]])
    found, scores = search(model(0), trie, *queries(2, 0), num_beams=3)
    assert found.tolist() == [[0, -1, -1], [0, -1, -1]]
    assert torch.allclose(scores[:, :1], scores_of(model(0), *queries(2, 0), [[5, 6, 7]]), atol=TOLERANCE)


def test_documents_that_share_a_docid_are_both_found_in_the_order_of_the_table():
    docids = [[5, 6], [7, 8], [5, 6], [9, 9], [7, 8], [5, 6]]  # rows: 5 6, 7 8, 9 9
    trie = DocidTrie.build(docids)
    found, scores = search(model(2), trie, *queries(1, 0), num_beams=3)
    documents, document_scores = ranked_documents(trie, found[0].numpy(), scores[0].numpy())
    groups = {0: [0, 2, 5], 1: [1, 4], 2: [3]}
    assert documents.tolist() == [document for row in found[0].tolist() for document in groups[row]]
    by_row = dict(zip(found[0].tolist(), scores[0].tolist(), strict=True))
    assert document_scores.tolist() == [by_row[row] for row in found[0].tolist() for _ in groups[row]]


def test_ranked_documents_of_literal_docids():
    trie = DocidTrie.build([[2], [1], [2], [3]])  # rows: 1, 2, 3
    documents, scores = ranked_documents(trie, np.array([1, 2, -1]), np.float32([-0.5, -1, -np.inf]))
    assert (documents.tolist(), scores.tolist()) == ([0, 2, 3], [-0.5, -0.5, -1.0])
    documents, scores = ranked_documents(trie, np.array([-1, -1]), np.float32([-np.inf, -np.inf]))
    assert (len(documents), len(scores)) == (0, 0)


@pytest.mark.gpu
@pytest.mark.parametrize("docids", ["pq", "tu"])
def test_a_gpu_finds_what_a_processor_finds(docids):
    generator = np.random.default_rng(7)
    rows = generator.integers(FIRST, VOCABULARY, (300, 5)).tolist()
    if docids == "tu":
        rows = [[*row[: 1 + number % 5], END] for number, row in enumerate(rows)]
    trie = DocidTrie.build(rows)
    ids, mask = queries(6, 2)
    found, scores = search(model(1), trie, ids, mask, 12)
    on_gpu = copy.deepcopy(model(1)).cuda()
    there, there_scores = constrained_beam_search(on_gpu, trie, ids.cuda(), mask.cuda(), 12)
    assert torch.allclose(there_scores.cpu(), scores, atol=1e-3)
    assert (there.cpu() == found).float().mean() > 0.95  # nearly equal scores may change places
