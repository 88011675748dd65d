"""The loss is of the summary's tokens and no others; passes and padding do not change it; published ways do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

from veriloop import Key
from veriloop.text.likelihood import token_losses
from veriloop.text.padding import padded
from veriloop.xsum import FineTune, LogLikelihood, Prompt, Summaries


def weights(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_the_loss_is_transformers_own_on_the_summarys_tokens(prompt, pairs, model, tokenizer):
    """Token by token, against logits of the whole text; padding is not read."""
    examples = prompt.examples(pairs.articles[:5], pairs.summaries[:5])
    tokens, seen, scored = padded(examples, tokenizer.eos_token_id)
    assert int(scored.sum()) == sum(len(ids) - start for ids, start in examples)
    with torch.no_grad():
        got = token_losses(model, tokens, seen, scored)
        wanted = []
        for ids, start in examples:
            logits = model(torch.tensor([ids])).logits[0, start - 1 : -1]
            wanted.append(F.cross_entropy(logits, torch.tensor(ids[start:]), reduction="none"))
    torch.testing.assert_close(got, torch.cat(wanted), rtol=1e-4, atol=1e-5)


def test_published_ways_add_the_prompt_and_the_padding(prompt, pairs, tokenizer):
    examples = prompt.examples(pairs.articles[:5], pairs.summaries[:5])
    end, longest = tokenizer.eos_token_id, max(len(ids) for ids, _ in examples)
    on_prompt = padded(examples, end, on_prompt=True)
    on_padding = padded(examples, end, on_padding=True)
    assert int(on_prompt.scored.sum()) == sum(len(ids) - 1 for ids, _ in examples)
    assert int(on_padding.scored.sum()) == sum(longest - start for _, start in examples)
    for name, wanted in (("loss_on_prompt", on_prompt), ("loss_on_padding", on_padding)):
        (one,) = FineTune(prompt=prompt, **{name: True})._passes(examples)
        assert int(one.scored.sum()) == int(wanted.scored.sum())


def test_passes_of_any_size_take_the_same_step(prompt, pairs, model):
    """The gradient of a batch is summed over passes; only rounding differs."""
    tuned = [
        FineTune(prompt=prompt, rate=1e-3, batch=12, micro=micro)(Key(0), model, pairs[:12])
        for micro in (1, 5, 12)
    ]
    for other in tuned[1:]:
        for name, value in weights(tuned[0]).items():
            np.testing.assert_allclose(weights(other)[name], value, atol=2e-4, err_msg=name)


def test_fine_tuning_lowers_the_loss_and_leaves_its_argument_alone(prompt, pairs, model, tokenizer):
    before = weights(model)
    before = {name: value.copy() for name, value in before.items()}
    examples = padded(prompt.examples(pairs.articles, pairs.summaries), tokenizer.eos_token_id)
    tune = FineTune(prompt=prompt, rate=3e-3, batch=8, epochs=5, warmup=0.1, clip=1.0)
    new = tune(Key(0), model, pairs)
    np.testing.assert_equal(weights(model), before)
    with torch.no_grad():
        assert token_losses(new, *examples).mean() < 0.7 * token_losses(model, *examples).mean()
    np.testing.assert_equal(weights(tune(Key(0), model, pairs)), weights(new))
    assert not new.training and next(new.parameters()).dtype == torch.float32


def test_a_base_is_fitted_again_every_round(prompt, pairs, model, network):
    """`base` starts again from the same model, whatever the last round's was."""
    reset, on = FineTune(prompt=prompt, rate=1e-3, base=model), FineTune(prompt=prompt, rate=1e-3)
    np.testing.assert_equal(
        weights(reset(Key(0), network(1), pairs[:4])), weights(on(Key(0), model, pairs[:4]))
    )  # fmt: skip


def test_the_rate_rises_and_falls_as_half_a_cosine(prompt, pairs, model):
    """The optimiser's rates at twenty steps: with a warm-up of two of them, and without."""
    rates = []

    def note(optimizer, *_):
        rates.append(optimizer.param_groups[0]["lr"])

    hook = register_optimizer_step_pre_hook(note)
    for warmup in (0.1, 0.0):
        tune = FineTune(prompt=prompt, rate=1e-4, batch=1, epochs=2, warmup=warmup)
        tune(Key(0), model, pairs[:10])
    hook.remove()
    warmed, cold = np.split(np.array(rates) / 1e-4, 2)
    falls = 0.5 * (1 + np.cos(np.pi * np.arange(18) / 18))
    assert warmed == pytest.approx([1 / 3, 2 / 3, *falls])
    assert cold == pytest.approx(0.5 * (1 + np.cos(np.pi * np.arange(20) / 20)))


def test_every_example_is_seen_once_an_epoch(prompt, pairs, network):
    """By what reaches the network, batch by batch, each epoch in another order."""
    seen, rows, model = [], pairs[:12], network()
    texts = [tuple(ids) for ids, _ in prompt.examples(rows.articles, rows.summaries)]

    def note(module, _, given):
        read = zip(given["input_ids"], given["attention_mask"], strict=True)
        seen.append([texts.index(tuple(ids[mask.bool()].tolist())) for ids, mask in read])

    model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    FineTune(prompt=prompt, batch=5, epochs=2)(Key(0), model, rows)
    assert [len(batch) for batch in seen] == [5, 5, 2] * 2
    for epoch in (seen[:3], seen[3:]):
        assert sorted(i for batch in epoch for i in batch) == list(range(12))
    assert [set(batch) for batch in seen[:3]] != [set(batch) for batch in seen[3:]]


def test_a_fit_without_anything_to_learn_is_refused_and_some_of_it_is_counted(
    tokenizer, pairs, model
):
    """The published cut leaves no summary of a long article; the prompt may be learnt all the same."""
    short = Summaries.of(["Rain."], ["Rain."])
    mixed = Summaries.concatenate([pairs[:3], short])
    prompt = Prompt(tokenizer, tokens=60, right_truncation=True)
    tune = FineTune(prompt=prompt, batch=4)
    with pytest.raises(ValueError, match=r"FineTune: none of 3 rows has a token to learn after th"):
        tune(Key(0), model, pairs[:3])
    with pytest.warns(UserWarning, match="FineTune: 3 of 4 rows have no token to learn after"):
        tune(Key(0), model, mixed)
    replace(tune, loss_on_prompt=True)(Key(0), model, mixed)
    scores = LogLikelihood(model, prompt)(Key(0), mixed)
    assert np.isnan(scores).tolist() == [True, True, True, False]
    with pytest.raises(ValueError, match="FineTune: there is no row to learn from"):
        tune(Key(0), model, pairs[:0])


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ({"rate": 0.0}, "positive and finite"),
        ({"rate": "5e-5"}, "positive and finite"),
        ({"weight_decay": -1.0}, "at least 0 and finite"),
        ({"warmup": 1.0}, r"in \[0, 1\)"),
        ({"clip": 0.0}, "positive and finite"),
        ({"batch": 0}, "an integer of at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(prompt, setting, allowed):
    (name, value), = setting.items()  # fmt: skip
    with pytest.raises(ValueError, match=rf"FineTune\.{name} must be {allowed}, got {value!r}"):
        FineTune(prompt=prompt, **setting)


def test_rows_of_another_kind_are_refused(prompt, model):
    with pytest.raises(
        TypeError, match=r"FineTune: rows must be Texts or Summaries, got list; write"
    ):
        FineTune(prompt=prompt)(Key(0), model, ["Rain."])
