"""Padded texts are what they were, beside which tokens are read and which have a loss."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from veriloop.text.padding import in_blocks, padded, padded_blocks, shortest_first

texts = st.lists(st.lists(st.integers(1, 9), min_size=2, max_size=7), min_size=1, max_size=6)


@given(texts, st.booleans(), st.booleans())
def test_padding_adds_nothing_that_is_read(texts, on_prompt, on_padding):
    examples = [(ids, 1 + len(ids) // 2) for ids in texts]
    tokens, seen, scored = padded(examples, 0, on_prompt=on_prompt, on_padding=on_padding)
    longest = max(len(ids) for ids in texts)
    for row, (ids, start) in enumerate(examples):
        assert tokens[row].tolist() == ids + [0] * (longest - len(ids))
        assert seen[row].tolist() == [1] * len(ids) + [0] * (longest - len(ids))
        first = 1 if on_prompt else start
        last = longest if on_padding else len(ids)
        assert scored[row].nonzero().flatten().tolist() == list(range(first, last))


@given(texts, st.integers(1, 4))
def test_blocks_hold_every_text_once_the_shortest_first(texts, size):
    blocks = in_blocks(shortest_first(texts), size)
    order = [row for block in blocks for row in block]
    assert order == sorted(range(len(texts)), key=lambda row: len(texts[row]))  # ties in order
    assert all(len(block) == size for block in blocks[:-1])


def test_padded_blocks_are_the_examples_of_their_rows(prompt, pairs, model):
    examples = prompt.examples(pairs.articles, pairs.summaries)
    met = []
    for block, each in padded_blocks(model, prompt, pairs, 5):
        met += block.tolist()
        lengths = each.seen.sum(1)
        for row, ids, length in zip(block, each.tokens, lengths, strict=True):
            assert ids[:length].tolist() == examples[row][0]
    np.testing.assert_array_equal(np.sort(met), np.arange(len(pairs)))
