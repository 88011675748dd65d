"""Losses are the same whether a prompt is read once or with every row, and nearly so in bfloat16."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from veriloop import Key
from veriloop.text import Generate, LogLikelihood, Measure, padding
from veriloop.text import likelihood as module
from veriloop.text.likelihood import _after_prompts, row_losses, token_losses
from veriloop.text.models import evaluating
from veriloop.text.padding import padded
from veriloop.xsum import Prompt, Summaries


@pytest.fixture
def read(model):
    """The numbers of tokens that each pass of the model reads, padding too."""
    seen = []

    def note(module, args, inputs):
        seen.append(inputs["input_ids"].numel())

    hook = model.base_model.register_forward_pre_hook(note, with_kwargs=True)
    yield seen
    hook.remove()


def candidates(pairs, each=3):
    """Several summaries of each input, of several lengths."""
    rows = pairs[np.repeat(np.arange(len(pairs)), each)]
    cut = [text[: 4 + 9 * (row % each)] for row, text in enumerate(rows.outputs)]
    return rows.answered(np.array(cut, dtype=object))


def by_row(model, examples, end):
    """The losses of each row read alone, one after the other."""
    with torch.inference_mode(), evaluating(model):
        return torch.cat([token_losses(model, *padded([each], end)) for each in examples])


def test_a_prompt_that_rows_share_gives_the_losses_of_rows_read_alone(model, prompt, pairs, read):
    rows = candidates(pairs[:4])
    examples = prompt.examples(rows.inputs, rows.outputs)
    with torch.inference_mode():
        shared = _after_prompts(model, examples, prompt.end)
    together = sum(read)
    read.clear()
    alone = by_row(model, examples, prompt.end)
    torch.testing.assert_close(shared, alone, rtol=1e-4, atol=1e-5)
    assert together < 0.6 * sum(read)


@pytest.mark.parametrize("longer", [[], [3, 4, 5, 6]])
def test_prompts_of_one_token_and_rows_without_one_are_no_exception(model, prompt, longer):
    """Such a prompt leaves nothing to read first; a row without a token has no loss."""
    examples = [([7, 8, 9], 1), ([7, 9], 1), ([*longer, 7, 8], len(longer) + 1), ([5], 1)]
    with torch.inference_mode():
        shared = _after_prompts(model, examples, prompt.end)
    torch.testing.assert_close(shared, by_row(model, examples, prompt.end), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [7, 100])
def test_scores_in_bfloat16_are_those_of_float32_but_for_rounding(
    has_bf16, model, prompt, pairs, batch
):
    """A weight has 8 bits; the mean over rows errs less than a row, by its own standard error."""
    rows = candidates(pairs)
    exact = row_losses(model, prompt, rows, batch)
    rough = row_losses(model, prompt, rows, batch, bf16=True)
    differences = rough - exact
    assert 0 < np.abs(differences).max() < 0.05 * exact.mean()
    assert abs(differences.mean()) < 4 * differences.std() / np.sqrt(len(rows)) + 0.005
    assert np.corrcoef(rough, exact)[0, 1] > 0.99


def test_scores_in_bfloat16_leave_the_model_as_it_was(model, prompt, pairs):
    before = [weight.clone() for weight in model.parameters()]
    LogLikelihood(model, prompt, bf16=True)(Key(0), pairs[:2])
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert all(map(torch.equal, model.parameters(), before))


def test_measuring_in_bfloat16_gives_the_perplexities_of_its_scores(
    has_bf16, model, prompt, pairs, read
):
    """`Generate.bf16` rules both; each prompt is read twice, for writing and for scoring."""
    plain = Measure(generate=Generate(rows=pairs, prompt=prompt), resamples=2)
    rough = replace(plain, generate=replace(plain.generate, bf16=True))
    named = rough(Key(0), model)
    tokens = sum(read)
    rows = rough.generate(Key(0).fold("generate"), model, len(pairs))
    for name, part in (("perplexity", pairs), ("perplexity_own", rows)):
        score = LogLikelihood(model, prompt, cut=0.0, bf16=True)(Key(0), part)
        assert named[name] == pytest.approx(np.exp(-score.mean()), rel=1e-2)
    read.clear()
    plain(Key(0), model)
    assert tokens < 0.8 * sum(read)


def test_few_logits_are_in_memory_at_once(model, prompt, pairs, monkeypatch):
    """Fewer at a time, the same losses."""
    whole = row_losses(model, prompt, pairs, 8)
    sizes = []
    monkeypatch.setattr(module, "LOGITS", 5 * len(model.get_output_embeddings().weight))
    hook = model.get_output_embeddings().register_forward_hook(
        lambda head, inputs, logits: sizes.append(len(logits))
    )
    parts = row_losses(model, prompt, pairs, 8)
    hook.remove()
    assert max(sizes) == 5
    np.testing.assert_allclose(parts, whole, rtol=1e-5)


@pytest.mark.parametrize(("bf16", "rounding"), [(False, 1e-5), (True, 0.02)])
def test_a_cpu_reads_long_rows_in_small_passes(
    model, prompt, pairs, read, monkeypatch, bf16, rounding
):
    """However large `batch` is: 128 rows of 290 tokens took twice the memory, and longer."""
    together = row_losses(model, prompt, pairs, 24, bf16=bf16)
    monkeypatch.setattr(padding, "CPU_TOKENS", 256)
    read.clear()
    apart = row_losses(model, prompt, pairs, 24, bf16=bf16)
    assert max(read) <= 256 and len(read) > 8
    np.testing.assert_allclose(apart, together, rtol=rounding)


def test_a_row_without_a_token_has_no_loss_in_bfloat16(tokenizer, pairs, model):
    prompt = Prompt(tokenizer, tokens=60, summary_tokens=6, right_truncation=True)
    mixed = Summaries.concatenate([pairs[:3], Summaries.of(["Rain."], ["Rain."])])
    losses = row_losses(model, prompt, mixed, 3, bf16=True)
    assert np.isnan(losses).tolist() == [True, True, True, False]
    assert row_losses(model, prompt, mixed[:0], 3, bf16=True).shape == (0,)


TINY = {
    "vocab_size": 500,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "initializer_range": 0.5,
}


@pytest.mark.parametrize(
    ("family", "given"),
    [
        ("Cohere", {"logit_scale": 0.25}),
        ("Granite", {"logits_scaling": 8.0}),
        ("Gemma2", {"final_logit_softcapping": 2.0, "head_dim": 8}),
    ],
)
def test_a_loss_is_of_the_logits_that_the_model_itself_gives(family, given):
    """These change their logits after the head."""
    config = getattr(transformers, f"{family}Config")(**TINY, **given)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    tokens = torch.arange(3, 9)[None]
    every = torch.ones_like(tokens)
    with torch.inference_mode():
        losses = token_losses(model, tokens, every, every.bool())
        shares = torch.log_softmax(model(tokens).logits[0, :-1].float(), 1)
    wanted = -shares.gather(1, tokens[0, 1:, None])[:, 0]
    torch.testing.assert_close(losses, wanted, rtol=1e-4, atol=1e-4)


def test_a_model_with_states_is_read_whole_in_bfloat16(tokenizer, pairs):
    """Its state after a prompt cannot be given to several rows."""
    layers = {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = transformers.Lfm2ForCausalLM(transformers.Lfm2Config(**{**TINY, **layers})).eval()
    prompt = Prompt(tokenizer, tokens=60, summary_tokens=16)
    twice = Summaries.concatenate([pairs[:3], pairs[:2]])
    wanted = row_losses(model, prompt, twice, 5)
    np.testing.assert_allclose(row_losses(model, prompt, twice, 5, bf16=True), wanted, rtol=0.03)
