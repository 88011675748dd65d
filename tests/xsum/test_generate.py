"""Summaries follow model and key alone: not the batch, not the other rows, not the global generator."""

import numpy as np
import pytest
import torch

from veriloop import Key
from veriloop.xsum import Generate, Summaries
from veriloop.xsum.generate import _in_bf16


def texts(rows):
    return rows.summaries.tolist()


@pytest.fixture(scope="module")
def oracle(prompt, pairs, model, tokenizer):
    """What transformers' own greedy decoding writes, one prompt at a time."""
    written = []
    for ids in prompt.prompts(pairs.articles):
        out = model.generate(
            torch.tensor([ids]), do_sample=False, max_new_tokens=12, pad_token_id=tokenizer.eos_token_id
        )
        written.append(prompt.read(ids, out[0, len(ids) :].tolist()))
    return written


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_greedy_summaries_are_those_of_transformers_whatever_the_batch(prompt, pairs, model, oracle, batch):
    """Left padding, positions, cache and rows that leave the batch change nothing in float32."""
    rows = Generate(articles=pairs, prompt=prompt, batch=batch)(Key(0), model, len(pairs))
    assert texts(rows) == oracle and len(set(oracle)) > 1
    assert rows.references.tolist() == pairs.references.tolist()


def test_sampled_summaries_do_not_depend_on_the_batch_or_the_other_rows(prompt, pairs, model):
    make = {"articles": pairs, "prompt": prompt, "temperature": 1.0, "candidates": 2}
    whole = texts(Generate(**make, batch=48)(Key(1), model, 48))
    for batch in (1, 7):
        assert texts(Generate(**make, batch=batch)(Key(1), model, 48)) == whole
    assert texts(Generate(**make, batch=8)(Key(1), model, 11)) == whole[:11]
    assert texts(Generate(**make)(Key(2), model, 48)) != whole


def test_candidates_of_one_article_lie_together_and_keep_its_reference(prompt, model):
    """Also where two articles are the same: rows are joined by place, not by text."""
    twins = Summaries.of(["Rain fell."] * 2, ["Rain.", "Wet."])
    rows = Generate(articles=twins, prompt=prompt, temperature=1.0, candidates=3)(Key(0), model, 6)
    assert rows.prompts.tolist() == [0, 0, 0, 1, 1, 1]
    assert rows.references.tolist() == ["Rain."] * 3 + ["Wet."] * 3
    assert len(set(texts(rows)[:3])) > 1


def test_tokens_are_drawn_by_their_probability(prompt):
    """Inverse distribution function over many uniform numbers: shares by z, cut and sharpened as asked."""
    shares = torch.tensor([0.1, 0.5, 0.15, 0.25])
    logits, n = shares.log().expand(20_000, 4), 20_000
    uniform = Key(0).numpy().random(n)
    for top_p, temperature, wanted in (
        (1.0, 1.0, shares),
        (0.7, 1.0, torch.tensor([0, 2 / 3, 0, 1 / 3])),
        (0.3, 1.0, torch.tensor([0, 1.0, 0, 0])),
        (1.0, 0.5, shares**2 / (shares**2).sum()),
    ):
        chosen = Generate(articles=Summaries.of([], []), prompt=prompt, temperature=temperature, top_p=top_p)
        counts = np.bincount(chosen._choose(logits, uniform).numpy(), minlength=4)
        p = wanted.numpy().astype(float)
        assert (counts[p == 0] == 0).all()
        spread = np.sqrt(np.maximum(n * p * (1 - p), 1e-12))
        assert (np.abs(counts - n * p)[p * (1 - p) > 0] < 4 * spread[p * (1 - p) > 0]).all()


def test_a_model_that_ends_at_once_writes_nothing(prompt, pairs, network, tokenizer):
    class Ends:
        device = torch.device("cpu")

        def __call__(self, input_ids, **_):
            logits = torch.zeros(len(input_ids), 1, len(tokenizer))
            logits[:, :, tokenizer.eos_token_id] = 1
            return type("Output", (), {"logits": logits, "past_key_values": None})

    assert set(texts(Generate(articles=pairs, prompt=prompt)(Key(0), Ends(), 24))) == {""}


def test_the_global_generator_is_left_alone(prompt, pairs, model):
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    Generate(articles=pairs, prompt=prompt, temperature=1.0)(Key(0), model, 4)
    assert torch.equal(before, torch.random.get_rng_state())


def test_bf16_writes_by_a_copy_with_rounded_weights(prompt, pairs, model, oracle):
    """Weights alone, tied ones once; the model is left as it was; logits are hardly further off than autocast's."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    twin = _in_bf16(model)
    assert {each.dtype for each in twin.parameters()} == {torch.bfloat16}
    assert twin.get_input_embeddings().weight is twin.get_output_embeddings().weight
    assert {each.dtype for each in twin.buffers()} == {torch.float32}
    ids = torch.tensor([prompt.prompts(pairs.articles)[0]])
    with torch.inference_mode():
        exact, rounded = model(ids).logits, twin(ids).logits.float()
        with torch.autocast("cpu", torch.bfloat16):
            usual = model(ids).logits.float()
    assert 0 < (rounded - exact).std() < 1.5 * (usual - exact).std()
    rows = Generate(articles=pairs, prompt=prompt, bf16=True)(Key(0), model, len(pairs))
    assert len(set(texts(rows))) > 1 and any(one == other for one, other in zip(texts(rows), oracle, strict=True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"candidates": 2}, "decodes greedily, so several candidates would be the same"),
        ({"top_p": 0.9}, "decodes greedily, so top_p has no effect"),
        ({"temperature": 0.0}, r"Generate\.temperature must be above 0 and finite, or None, got 0\.0"),
        ({"temperature": 1.0, "top_p": 0.0}, r"Generate\.top_p must be in \(0, 1\], got 0\.0"),
        ({"batch": 0}, r"Generate\.batch must be an integer of at least 1, got 0"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(prompt, pairs, settings, message):
    with pytest.raises(ValueError, match=message):
        Generate(articles=pairs, prompt=prompt, **settings)


def test_more_candidates_than_can_be_had_are_refused(prompt, pairs, model):
    with pytest.raises(ValueError, match="24 candidates can be had, 1 of each article, 25 asked for"):
        Generate(articles=pairs, prompt=prompt)(Key(0), model, 25)
