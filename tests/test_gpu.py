"""On a GPU a model writes, learns and is judged as on a CPU, up to rounding; skipped where there is none."""

from importlib.util import find_spec

import numpy as np
import pytest

from veriloop import Key, TopFraction, run

if find_spec("torch") is None or find_spec("transformers") is None:
    pytest.skip("the extras [mnist] and [text] are not installed", allow_module_level=True)

import torch

if not torch.cuda.is_available():
    pytest.skip("there is no GPU", allow_module_level=True)

from veriloop import mnist, text

SUMS = text.Texts.of([f"{i} + {i} =" for i in range(20)], [f"{2 * i}" for i in range(20)])


@pytest.fixture(scope="module")
def made():
    """A small model of sums on the CPU, and its prompt."""
    how = text.Pretraining(steps=30, vocabulary=300, hidden=32, layers=2, heads=4, inner=64)
    model, tokenizer = text.pretrain(how, lambda key, n: ["1 + 1 = 2", "2 + 2 = 4"] * n)
    return model, text.Prompt(tokenizer, tokens=30, output_tokens=6)


def on_gpu(model):
    import copy

    return copy.deepcopy(model).to("cuda")


def test_likelihoods_agree(made):
    model, prompt = made
    here, there = (
        text.LogLikelihood(each, prompt)(Key(0), SUMS) for each in (model, on_gpu(model))
    )
    np.testing.assert_allclose(there, here, atol=1e-4)


def test_greedy_outputs_agree(made):
    """All but a row or two, where two tokens are as likely up to rounding."""
    model, prompt = made
    write = text.Generate(rows=SUMS, prompt=prompt)
    here, there = (write(Key(0), each, len(SUMS)).outputs for each in (model, on_gpu(model)))
    assert (here == there).mean() >= 0.9


def test_a_fit_agrees(made):
    model, prompt = made
    tune = text.FineTune(prompt=prompt, rate=1e-3, batch=5)
    here, there = (tune(Key(0), each, SUMS) for each in (model, on_gpu(model)))
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(other.cpu(), one, atol=2e-3, rtol=0)


def test_a_round_of_texts_runs_and_its_state_is_read_back(made, tmp_path):
    model, prompt = made
    tune = text.FineTune(prompt=prompt, batch=5, bf16=True)
    problem = text.Problem(
        base=on_gpu(model),
        initial=SUMS[:5],
        generate=text.Generate(rows=SUMS, prompt=prompt, bf16=True),
        first=tune,
        refit=tune,
        keep=0.5,
        device="cuda",
    )
    start = problem.start(Key(0))
    *_, (state, record) = run(problem.loop(filter=TopFraction(0.5)), Key(0), start, [20])
    assert record.kept == 10
    problem.save(state, tmp_path)
    read = problem.load(tmp_path).model
    assert read.device.type == "cuda"
    for one, other in zip(state.model.parameters(), read.parameters(), strict=True):
        assert torch.equal(one, other)


def test_digits_are_bounded_alike():
    """The same model, images and key; the draws are the key's on either device."""
    images = torch.rand(50, 784, generator=torch.Generator().manual_seed(0)).round()
    labels = torch.arange(50) % 10
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = mnist.ConvCVAE(latent=5)
    here = mnist.nelbo(model, images, labels, Key(0))
    there = mnist.nelbo(on_gpu(model), images.cuda(), labels.cuda(), Key(0))
    np.testing.assert_allclose(np.array(there, dtype=float), np.array(here, dtype=float), rtol=0.05)
