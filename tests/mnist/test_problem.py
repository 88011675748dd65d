"""The loop on digits: arms share their images, memory changes nothing, states come back from disk."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from veriloop import (
    Accumulate,
    Constant,
    KeepAll,
    Key,
    MixReal,
    Replace,
    RunDir,
    State,
    TopFraction,
    run,
)
from veriloop.mnist import Generate, Images, Refit, Training, observe, probabilities, retrained
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
    sizes = [problem.size(100)]
    *_, (_, record) = run(problem.loop(verify=Ink(0.5)), Key(0), problem.start(Key(0)), sizes)
    assert (record.candidates, record.kept) == (1000, 100)
    names = {
        "verifier_accuracy",
        "passed",
        "lowest_kept",
        *(f"passed_{digit}" for digit in range(10)),
    }
    assert names <= set(record.metrics)


def test_a_verifier_is_exchanged_as_on_every_backend(problem):
    """`replace(problem.loop(), verify=mine)` is the loop with that verifier, accuracy and all."""
    start = problem.start(Key(0))
    one = list(run(replace(problem.loop(), verify=Ink(0.5)), Key(0), start, [500]))
    other = list(run(problem.loop(verify=Ink(0.5)), Key(0), start, [500]))
    assert [record for _, record in one] == [record for _, record in other]
    assert "verifier_accuracy" in one[1][1].metrics and "verifier_accuracy" not in one[0][1].metrics


def test_it_is_a_backend(problem):
    """Repeatable, resumable, arguments unchanged: fresh and warm refits, several pools."""
    start = problem.start(Key(0))
    for pool in (problem.pool, Accumulate(), MixReal(problem.initial, 0.5)):
        loop = replace(problem, pool=pool).loop()
        check_backend(loop, State(start.model), 50, rounds=2)
    warm = replace(problem, refit=replace(problem.refit, warm=True)).loop()
    check_backend(warm, State(start.model), 50, rounds=2)


def test_pools_that_look_back_begin_with_the_real_images(problem):
    """Accumulated, the first refit is of the real images and the kept ones; replaced, of the kept ones alone."""
    start, trained = problem.start(Key(0)), []

    def refit(key, model, images):
        trained.append(len(images))
        return model

    for pool in (Accumulate(), Replace()):
        loop = replace(problem, pool=pool, refit=refit).loop(filter=KeepAll())
        ends = [state for state, _ in run(loop, Key(0), start, [50, 50])]
    assert len(start.past) == 1 and len(start.past[0]) == len(problem.initial) == 100
    assert trained == [150, 200, 50, 50] and ends[-1].past == ()


def test_a_retrained_verifier_repeats(problem, discriminate):
    loop = problem.loop(verify=retrained(discriminate))
    ends = [list(run(loop, Key(0), problem.start(Key(0)), [500, 500]))[-1] for _ in "ab"]
    (one, record), (other, again) = ends
    assert record == again
    same(one.model, other.model)


@pytest.mark.parametrize("chunk", [0, 300])
def test_memory_changes_nothing(problem, discriminate, monkeypatch, chunk):
    """Blocks drawn again from their keys give the same record and the same weights as blocks held."""
    monkeypatch.setattr(module, "BLOCK", 200)
    start, results = problem.start(Key(0)), []
    for limit in (None, chunk or 1):
        loop = replace(problem, chunk=limit).loop(verify=retrained(discriminate))
        results.append(list(run(loop, Key(0), start, [1000]))[-1])
    (one, record), (other, again) = results
    assert record == again and record.kept == 100
    same(one.model, other.model)


def test_a_warm_refit_starts_from_the_weights_it_is_given(problem):
    start = problem.start(Key(0)).model
    before = {name: value.copy() for name, value in weights(start).items()}
    crawl = Refit(
        model="mlp", settings={"hidden": [32]}, training=Training(steps=1, rate=1e-9), warm=True
    )
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
    problem.save(state, tmp_path)
    back = problem.load(tmp_path)
    same(back.model, state.model)
    assert back.round == 3 and not back.model.training
    for one, other in zip(back.past, state.past, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


def test_a_run_resumes_to_the_same_records(problem, discriminate, tmp_path):
    loop, start = problem.loop(verify=retrained(discriminate)), problem.start(Key(0))
    straight = [record for _, record in run(loop, Key(0), start, [500] * 3)]
    options = {"save": problem.save, "load": problem.load}
    stopped = RunDir(tmp_path).run(loop, Key(0), start, [500] * 3, **options)
    next(stopped)
    next(stopped)
    stopped.close()
    resumed = [
        record for _, record in RunDir(tmp_path).run(loop, Key(0), start, [500] * 3, **options)
    ]
    assert resumed == straight
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("kept", [10, 50, 120])
def test_as_many_candidates_are_drawn_as_keep_the_number_asked_for(problem, keep, kept):
    """Equally many of each digit, and `TopFraction` leaves `kept` of them."""
    n = replace(problem, keep=keep).size(kept)
    assert n % 10 == 0 and kept <= n
    scores = Key(0).numpy().standard_normal(n)
    assert TopFraction(keep)(Key(0), scores, np.arange(n) % 10).sum() == kept


def remembering(problem):
    """The same problem, whose states keep the images that were kept."""
    return replace(problem, pool=Accumulate())


def images_of(state):
    """The kept images of the last round, as bytes with their digit, in order."""
    last = state.past[-1]
    return [
        (pixels.tobytes(), int(digit))
        for pixels, digit in zip(last.pixels, last.labels, strict=True)
    ]


def test_the_arms_of_one_key_share_their_images(problem):
    """Both keep some of the same candidates; who keeps all of fewer has the first of them."""
    problem, start = remembering(problem), remembering(problem).start(Key(0))
    *_, (unverified, _) = run(problem.loop(filter=KeepAll()), Key(0), start, [1000])
    *_, (everything, _) = run(problem.loop(filter=KeepAll()), Key(0), start, [2000])
    *_, (random, _) = run(problem.loop(), Key(0), start, [2000])
    *_, (verified, record) = run(problem.loop(verify=Ink(0.2)), Key(0), start, [2000])
    assert images_of(unverified) == images_of(everything)[:1000]
    assert len(images_of(verified)) == record.kept == 200
    assert set(images_of(verified)) <= set(images_of(everything))
    assert set(images_of(random)) <= set(images_of(everything)) and len(images_of(random)) == 200
    assert set(images_of(random)) != set(images_of(verified))


def test_the_verified_arm_keeps_the_best_of_each_digit(problem):
    """By ink, digit by digit: the highest scores dropped are no better than the lowest kept."""
    problem, start = remembering(problem), remembering(problem).start(Key(0))
    *_, (everything, _) = run(problem.loop(filter=KeepAll()), Key(0), start, [1000])
    *_, (verified, record) = run(problem.loop(verify=Ink(0.2)), Key(0), start, [1000])
    drawn, kept = everything.past[-1], verified.past[-1]
    assert np.bincount(kept.labels).tolist() == [10] * 10
    for digit in range(10):
        scores = [np.sort(Ink(0.2)(Key(0), each[each.labels == digit])) for each in (kept, drawn)]
        np.testing.assert_array_equal(scores[0], scores[1][-10:])
    scores = Ink(0.2)(Key(0), drawn)
    assert record.metrics["passed"] == (scores >= 0).mean()
    assert record.metrics["lowest_kept"] == pytest.approx(Ink(0.2)(Key(0), kept).min())


def test_the_next_model_is_fitted_to_what_was_kept(problem):
    """To the kept images and nothing else, by the key and from the model of its round."""
    calls = []

    class Spy:
        def __call__(self, key, model, images):
            calls.append((model, images))
            return problem.refit(key, model, images)

    start = problem.start(Key(0))
    watched = replace(remembering(problem), pool=Replace(), refit=Spy())
    _, (one, _), (two, record) = run(watched.loop(verify=Ink(0.2)), Key(0), start, [500, 300])
    assert calls[0][0] is start.model and calls[1][0] is one.model
    assert [len(images) for _, images in calls] == [50, 30] and record.kept == 30
    assert one.round == 1 and two.round == 2


def test_the_accuracy_in_the_record_is_of_real_and_synthetic_images(problem):
    """One that accepts all is right half the time, one that knows the test images always, its opposite never."""
    known = {pixels.tobytes() for pixels in problem.test.pixels}

    def knows(sign):
        return lambda key, batch: np.array(
            [sign if row.tobytes() in known else -sign for row in batch.pixels]
        )

    start = problem.start(Key(0))
    for verifier, wanted in ((Constant(), 0.5), (knows(1.0), 1.0), (knows(-1.0), 0.0)):
        *_, (_, record) = run(problem.loop(verify=verifier), Key(0), start, [100])
        assert record.metrics["verifier_accuracy"] == wanted
    *_, (_, record) = run(problem.loop(), Key(0), start, [100])
    assert record.kept == 10 and "verifier_accuracy" not in record.metrics


def test_a_verifier_is_retrained_every_round_on_the_model_of_that_round(problem):
    """Once a round, under a key of its own."""
    calls = []

    def retrain(key, model):
        calls.append((key, model))
        return Ink(0.2)

    start = problem.start(Key(0))
    states = [
        state for state, _ in run(problem.loop(verify=retrained(retrain)), Key(0), start, [100] * 3)
    ]
    assert [model for _, model in calls] == [start.model, states[1].model, states[2].model]
    assert len({key for key, _ in calls}) == 3


def test_the_first_model_is_fitted_to_the_initial_images(problem):
    """By `first`, not by `refit`; round 0, those images in the past; the same for the same key."""
    other = replace(problem, refit=None).start(Key(0))
    assert other.round == 0 and other.past[0] is problem.initial and len(other.past) == 1
    same(other.model, problem.start(Key(0)).model)
    changed = replace(problem, initial=problem.test).start(Key(0)).model
    assert any(
        (value != weights(other.model)[name]).any() for name, value in weights(changed).items()
    )


def test_measurements_of_a_problem_are_in_its_records(problem):
    measured = replace(problem, measure=lambda key, model: {"latent": model.latent})
    *_, (_, record) = run(measured.loop(), Key(0), problem.start(Key(0)), [50])
    assert record.metrics["latent"] == 20


def test_a_verified_loop_is_a_backend(problem):
    """Also of a verifier that needs all candidates drawn again."""
    start = problem.start(Key(0))
    for chunk in (None, 30):
        loop = replace(problem, chunk=chunk).loop(verify=Ink(0.2))
        check_backend(loop, State(start.model), 100, rounds=2)


@pytest.mark.parametrize("keep", [0.0, -0.1, 1.5, np.nan])
def test_a_share_to_keep_out_of_range_is_refused_at_construction(problem, keep):
    with pytest.raises(ValueError, match=rf"Problem\.keep must be in \(0, 1\], got {keep}"):
        replace(problem, keep=keep)


@pytest.mark.parametrize("kept", [55, 0, "20"])
def test_a_size_that_is_not_the_same_of_each_digit_is_refused(problem, kept):
    with pytest.raises(ValueError, match=f"multiple of 10 images.*got {kept}"):
        problem.size(kept)


@pytest.mark.parametrize("name", ["initial", "test"])
def test_images_that_are_none_or_too_few_are_refused(problem, name):
    with pytest.raises(ValueError, match=f"Problem.{name} must hold at least 1 images, got 0"):
        replace(problem, **{name: problem.test[:0]})
    with pytest.raises(TypeError, match=f"Problem.{name} must be Images, got ndarray; write"):
        replace(problem, **{name: problem.test.pixels})
