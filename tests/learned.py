"""Small models that have learned a few docids by heart, so that what they find likely is known."""

import torch

from ddro.models.t5 import pad


def learn(model, pairs, steps=150, learning_rate=1e-2):
    """Train ``model`` in place on pairs of a query's tokens and the docid that follows, without dropout."""
    queries, docids = zip(*pairs, strict=True)
    (input_ids, mask), (labels, _) = pad(queries), pad(docids, -100)
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    model.eval()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on a busy machine two wait for each other at every one of these small products
    for _ in range(steps):
        model(input_ids=input_ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
