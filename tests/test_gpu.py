"""On a GPU a model writes, learns and is judged as on a CPU, up to rounding; skipped where there is none."""

import copy
from importlib.util import find_spec

import numpy as np
import pytest

from veriloop import Key, RunDir, TopFraction, run

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
    model, tokenizer = text.pretrain(how, lambda key, n: (["1 + 1 = 2", "2 + 2 = 4"] * n)[:n])
    return model, text.Prompt(tokenizer, tokens=30, output_tokens=6)


def on_gpu(model):
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


# Digits.


@pytest.fixture(scope="module")
def digits():
    return mnist.load("digits")


def weights(network):
    return {name: value.cpu() for name, value in network.state_dict().items()}


def generator(digits, model="conv"):
    """A fit of 44 steps on 300 images: each epoch has four batches of 64 and one of 44."""
    how = mnist.Training(steps=44, batch=64, warmup=3, decay=True)
    refit = mnist.Refit(model=model, training=how, device="cuda")
    return refit(Key(1), None, digits.train[:300])


def connected(digits):
    return generator(digits, model="mlp")


def verifier(digits):
    """A fit with dropout, which draws from torch's own generator, and with the power iteration."""
    how = mnist.Training(steps=44, batch=64, precision="bf16")
    train = mnist.Discriminate(
        real=digits.train[:150], spectral=True, dropout=0.2, training=how, device="cuda"
    )
    return train(Key(1), connected(digits)).network


@pytest.mark.parametrize("fitted", [generator, connected, verifier])
def test_a_captured_step_is_the_plain_step(digits, monkeypatch, fitted):
    """The same kernels on the same numbers: what differs is rounding at most, and not a draw.

    One step moves a weight by the rate, 0.001, so a wrong row, rate or draw shows at once.
    """
    made = []
    for switch in ("0", "1"):
        monkeypatch.setenv("VERILOOP_CUDA_GRAPHS", switch)
        made.append(weights(fitted(digits)))
    for name, value in made[0].items():
        torch.testing.assert_close(made[1][name], value, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("fitted", [generator, verifier])
def test_a_fit_on_a_gpu_gives_the_same_weights_again(digits, fitted):
    one, again = (weights(fitted(digits)) for _ in range(2))
    assert all(torch.equal(value, again[name]) for name, value in one.items())


def test_a_fit_of_digits_leaves_the_generators_alone(digits):
    torch.manual_seed(3)
    torch.cuda.manual_seed(3)
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    verifier(digits)
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.equal(before[1], torch.cuda.get_rng_state())


def test_most_steps_are_replays(digits, monkeypatch):
    """Two sizes of batch: three plain steps each, and a capture each."""
    from veriloop.mnist import training
    from veriloop.mnist.cuda_graph import PLAIN

    calls = []
    update = training._Fit._update
    monkeypatch.setenv("VERILOOP_CUDA_GRAPHS", "1")
    monkeypatch.setattr(
        training._Fit,
        "_update",
        lambda self, rows: (calls.append(len(rows)), update(self, rows))[1],
    )
    connected(digits)
    assert sorted(calls) == [44] * (PLAIN + 1) + [64] * (PLAIN + 1)


def test_a_fit_that_stops_early_goes_back_to_its_best_weights(digits):
    """On held-out rows, whose losses are plain work between replays."""
    how = mnist.Training(epochs=30, batch=64, rate=0.02, holdout=0.2, patience=2)
    refit = mnist.Refit(model="mlp", training=how, device="cuda")
    _, fitted = refit.fit(Key(0), None, digits.train[:300])
    assert fitted.losses[fitted.epoch] == min(fitted.losses)
    assert len(fitted.losses) <= 30 and np.isfinite(fitted.losses).all()


def test_images_of_one_model_are_the_same_on_both_devices(digits):
    """The draws are NumPy's on either device: only a pixel at its threshold can differ."""
    here = connected(digits).to("cpu")
    one = mnist.Generate()(Key(2), here, 500)
    other = mnist.Generate()(Key(2), on_gpu(here), 500)
    pixels = [np.unpackbits(each.pixels, axis=1) for each in (one, other)]
    assert (pixels[0] != pixels[1]).mean() < 1e-4
    np.testing.assert_array_equal(one.labels, other.labels)


def test_an_image_on_a_gpu_does_not_depend_on_how_many_are_drawn(digits):
    made = generator(digits)
    few, many = (mnist.Generate()(Key(2), made, n) for n in (30, 20_030))
    np.testing.assert_array_equal(many[:30].pixels, few.pixels)


def test_a_judge_scores_alike(digits):
    network = verifier(digits)
    there = mnist.Judge(network)(Key(0), digits.test)
    here = mnist.Judge(copy.deepcopy(network).to("cpu"))(Key(0), digits.test)
    np.testing.assert_allclose(there, here, atol=1e-2)


def round_of(digits, device):
    """A problem whose parts are all on one device, with all metrics of a small feature network."""
    how = mnist.Training(steps=20, batch=64)
    features = mnist.feature_net(digits, 20, device=device)
    refit = mnist.Refit(model="mlp", settings={"hidden": [32]}, training=how, device=device)
    problem = mnist.Problem(
        initial=mnist.balanced(Key(1), digits.train, 100),
        first=refit,
        refit=refit,
        test=digits.test,
        keep=0.5,
        measure=mnist.Measure(digits.test, features, 100),
    )
    train = mnist.Discriminate(real=digits.train[:200], training=how, device=device)
    return problem, problem.loop(verify=mnist.retrained(train))


def rounds(digits, device, tmp_path, sizes):
    problem, loop = round_of(digits, device)
    store = RunDir(tmp_path)
    followed = store.run(
        loop, Key(0), problem.start(Key(0)), sizes, save=problem.save, load=problem.load
    )
    return [record.row() for _, record in followed]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Networks that this test trains are found by no other."""
    monkeypatch.setenv("VERILOOP_CACHE", str(tmp_path / "cache"))


def test_a_run_on_a_gpu_has_the_columns_of_one_on_a_cpu(digits, tmp_path, cache):
    here, there = (
        rounds(digits, device, tmp_path / device, [100, 100]) for device in ("cpu", "cuda")
    )
    assert [list(row) for row in there] == [list(row) for row in here]
    for one, other in zip(here, there, strict=True):
        kinds = [{name: type(value) for name, value in row.items()} for row in (one, other)]
        assert kinds[0] == kinds[1]
        assert one["kept"] == other["kept"] and one["candidates"] == other["candidates"]


def test_a_run_on_a_gpu_that_was_stopped_goes_on_to_the_same_rows(digits, tmp_path, cache):
    whole = rounds(digits, "cuda", tmp_path / "whole", [100, 100])
    rounds(digits, "cuda", tmp_path / "parts", [100])
    again = rounds(digits, "cuda", tmp_path / "parts", [100, 100])
    drop = {"seconds"}
    for one, other in zip(whole, again, strict=True):
        same = {name: value for name, value in one.items() if name not in drop}
        assert same == {name: value for name, value in other.items() if name not in drop}
