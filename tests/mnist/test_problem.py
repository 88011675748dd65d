"""The loop on digits: arms share their images, memory changes nothing, states come back from disk."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from veriloop import Accumulate, Key, MixReal, RunDir, State, run
from veriloop.mnist import Generate, Images, Refit, Training, load_state, observe, probabilities, save_state
from veriloop.mnist import problem as module
from veriloop.testing import check_backend, check_verifier


@dataclass(frozen=True)
class Ink:
    """A verifier of one's own: accept images with at most `limit` of their pixels on."""

    limit: float

    def __call__(self, key, batch):
        return self.limit - batch.tensors()[0].mean(1).numpy()


def weights(model):
    return {name: value.numpy() for name, value in model.state_dict().items()}


def same(one, other):
    np.testing.assert_equal(weights(one), weights(other))


def test_generate_draws_the_decoders_pixels(problem):
    """Digits in turn; the ones of 3,000 images agree with the probabilities they were drawn from."""
    model = problem.start(Key(0)).model
    images, means = Generate()(Key(1), model, 3000), probabilities(Key(1), model, 3000)
    assert images.pixels.shape == (3000, 98) and (np.bincount(images.labels) == 300).all()
    np.testing.assert_array_equal(means.labels, np.arange(3000) % 10)
    np.testing.assert_array_equal(images.labels, means.labels)
    p = means.pixels / 255.0  # to the nearest of 256 levels, which averages out
    assert abs(images.tensors()[0].double().sum() - p.sum()) / np.sqrt((p * (1 - p)).sum()) < 4


def test_the_unverified_arm_keeps_the_first_candidates_of_the_verified_one(problem):
    model = problem.start(Key(0)).model
    few, many = (Generate()(Key(1), model, n) for n in (1000, 3000))
    np.testing.assert_array_equal(few.pixels, many.pixels[:1000])


def test_a_verifier_of_ones_own_runs_and_is_measured(problem):
    check_verifier(Ink(0.2), problem.test[:40])
    sizes = [problem.candidates(100)]
    _, record = next(run(problem.loop(verifier=Ink(0.5)), Key(0), problem.start(Key(0)), sizes))
    assert (record.candidates, record.kept) == (1000, 100)
    names = {"verifier_accuracy", "passed", "lowest_kept", *(f"passed_{digit}" for digit in range(10))}
    assert names <= set(record.metrics)


def test_two_kinds_of_verifier_are_refused(problem, discriminate):
    with pytest.raises(ValueError, match="fixed verifier or one retrained every round, got both"):
        problem.loop(verifier=Ink(0.5), retrain=discriminate)


def test_it_is_a_backend(problem):
    """Repeatable, resumable, arguments unchanged: fresh and warm refits, several pools."""
    start = problem.start(Key(0))
    for pool in (problem.pool, Accumulate(), MixReal(problem.initial, 0.5)):
        loop = replace(problem, pool=pool).loop()(Key(0), start)
        check_backend(loop, State(start.model), 50, rounds=2)
    warm = replace(problem, refit=replace(problem.refit, warm=True)).loop()(Key(0), start)
    check_backend(warm, State(start.model), 50, rounds=2)


def test_a_retrained_verifier_repeats(problem, discriminate):
    ends = [
        list(run(problem.loop(retrain=discriminate), Key(0), problem.start(Key(0)), [500, 500]))[-1] for _ in "ab"
    ]
    (one, record), (other, again) = ends
    assert record == again
    same(one.model, other.model)


@pytest.mark.parametrize("chunk", [0, 300])
def test_memory_changes_nothing(problem, discriminate, monkeypatch, chunk):
    """Blocks drawn again from their keys give the same record and the same weights as blocks held."""
    monkeypatch.setattr(module, "BLOCK", 200)
    start, results = problem.start(Key(0)), []
    for limit in (None, chunk or 1):
        loop = replace(problem, chunk=limit).loop(retrain=discriminate)
        results.append(next(run(loop, Key(0), start, [1000])))
    (one, record), (other, again) = results
    assert record == again and record.kept == 100
    same(one.model, other.model)


def test_a_warm_refit_starts_from_the_weights_it_is_given(problem):
    start = problem.start(Key(0)).model
    before = {name: value.copy() for name, value in weights(start).items()}
    crawl = Refit(model="mlp", settings={"hidden": [32]}, training=Training(steps=1, rate=1e-9), warm=True)
    moved = crawl(Key(1), start, problem.initial)
    for name, value in weights(moved).items():
        np.testing.assert_allclose(value, before[name], atol=1e-7)
    np.testing.assert_equal(weights(start), before)
    assert moved is not start
    with pytest.raises(ValueError, match="one of conv, mlp, got 'gan'"):
        Refit(model="gan")


def test_observe_counts_by_digit():
    labels = np.arange(20, dtype=np.uint8) % 10
    batch = Images(np.zeros((20, 98), np.uint8), labels)
    scores = np.where(labels < 3, 1.0, -1.0)
    numbers = observe(Key(0), batch, scores, scores > 0)
    assert numbers["passed"] == 0.3 and numbers["passed_2"] == 1 and numbers["passed_3"] == 0
    assert numbers["lowest_kept"] == 1


def test_a_state_comes_back_from_disk(problem, tmp_path):
    start = problem.start(Key(0))
    state = State(start.model, 3, (problem.initial, Generate()(Key(1), start.model, 20)))
    save_state(state, tmp_path)
    back = load_state(tmp_path)
    same(back.model, state.model)
    assert back.round == 3 and not back.model.training
    for one, other in zip(back.past, state.past, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_run_resumes_to_the_same_records(problem, discriminate, tmp_path):
    loop, start = problem.loop(retrain=discriminate), problem.start(Key(0))
    straight = [record for _, record in run(loop, Key(0), start, [500] * 3)]
    options = {"save": save_state, "load": load_state}
    next(RunDir(tmp_path).run(loop, Key(0), start, [500] * 3, **options))
    resumed = [record for _, record in RunDir(tmp_path).run(loop, Key(0), start, [500] * 3, **options)]
    assert resumed == straight
    assert torch.get_num_threads() == 1
