"""Stored rounds of digits: images at 98 bytes, the masks of then, and what another verifier would have kept."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pyarrow.parquet as parquet
import pytest

from veriloop import Accumulate, Key, Quota, Random, RunDir, Threshold, run
from veriloop.mnist import Generate, Images, TopPerDraw, retrained
from veriloop.mnist import problem as module
from veriloop.refilter import refilter
from veriloop.store.candidates import FILE, StoredRound


@dataclass(frozen=True)
class Ink:
    """Accept images with at most `limit` of their pixels on."""

    limit: float

    def __call__(self, key, batch):
        return self.limit - batch.tensors()[0].mean(1).numpy()


def options(problem):
    return {"save": problem.save, "load": problem.load, "candidates": True}


@pytest.fixture
def start(problem):
    return problem.start(Key(0))


@pytest.fixture
def remembers(problem, monkeypatch):
    """A problem of several blocks whose pool remembers what was kept."""
    monkeypatch.setattr(module, "BLOCK", 200)
    return replace(problem, pool=Accumulate())


def same(images, others):
    np.testing.assert_array_equal(images.pixels, others.pixels)
    np.testing.assert_array_equal(images.labels, others.labels)


@pytest.mark.parametrize("filter", [None, TopPerDraw(0.1, count=4, draw=30)])
def test_the_round_filtered_again_keeps_the_same_images(
    remembers, discriminate, start, tmp_path, filter
):
    """By a discriminator retrained every round, and the published filter too; the scores are those it gave."""
    loop = remembers.loop(verify=retrained(discriminate), filter=filter)
    rounds = list(RunDir(tmp_path).run(loop, Key(0), start, [500, 500], **options(remembers)))
    for k, (_, record) in enumerate(rounds[1:]):
        again = refilter(tmp_path, round=k + 1)
        same(again.stored[again.mask], rounds[-1][0].past[k + 1])
        assert (
            again.numbers["both"]
            == again.numbers["kept"]
            == again.numbers["kept_then"]
            == record.kept
        )
        assert again.numbers["lowest_kept"] == record.metrics["lowest_kept"]
        assert (
            again.stored.about["stateful"]
            and again.stored.about["verifier"] == "veriloop.mnist.verifiers:Judge"
        )
    few = refilter(tmp_path, filter={"call": "TopFraction", "fraction": 0.02}).numbers
    assert (
        few["kept"] == 10
        and (filter or few["both"] == 10)
        and set(few["acceptance"].values()) == {0.02}
    )


def test_images_are_stored_as_they_are_held(remembers, start, tmp_path):
    list(RunDir(tmp_path).run(remembers.loop(), Key(0), start, [500], **options(remembers)))
    stored = StoredRound(tmp_path / "round_0001" / "loop")
    kinds = {field.name: str(field.type) for field in parquet.read_schema(stored.folder / FILE)}
    assert kinds["batch.pixels"] == "fixed_size_binary[98]" and kinds["batch.labels"] == "uint8"
    key = Key(0).fold(1, "generate")
    for i, (images, n) in enumerate(zip(stored.blocks(), (200, 200, 100), strict=True)):
        assert isinstance(images, Images)
        same(images, Generate()(key.fold(i), start.model, n))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that cannot be written to
        images.grey().tensors(), images.tensors()


def test_another_verifier_keeps_what_its_own_loop_would_have_kept(
    remembers, discriminate, start, tmp_path
):
    """Arms share their candidates, so one arm's round, judged again, is the other arm's."""
    list(
        RunDir(tmp_path).run(
            remembers.loop(verify=retrained(discriminate)),
            Key(0),
            start,
            [500],
            **options(remembers),
        )
    )
    _, (state, record) = run(remembers.loop(verify=Ink(0.2)), Key(0), start, [500])
    again = refilter(tmp_path, verifier=Ink(0.2))
    same(again.stored[again.mask], state.past[-1])
    assert again.numbers["lowest_kept"] == record.metrics["lowest_kept"]
    assert again.numbers["both"] + again.numbers["only_now"] == again.numbers["kept"] == 50


def test_a_quota_of_each_digit(remembers, start, tmp_path):
    """As `filter: threshold` asks for: kept and counted are the same again."""
    loop = remembers.loop(verify=Random(), filter=Threshold(0.0))
    _, (state, record) = RunDir(tmp_path).run(
        loop, Key(0), start, [Quota(2, groups=10)], **options(remembers)
    )
    again = refilter(tmp_path)
    same(again.stored[again.mask], state.past[-1])
    assert (again.numbers["candidates"], again.numbers["kept"]) == (record.candidates, 20)


@pytest.mark.parametrize("chunk", [1, 300])
def test_the_file_does_not_depend_on_what_is_held(remembers, start, tmp_path, chunk):
    for limit in (None, chunk):
        loop = replace(remembers, chunk=limit).loop(verify=Ink(0.2))
        list(RunDir(tmp_path / str(limit)).run(loop, Key(0), start, [500], **options(remembers)))
    one, other = (
        StoredRound(tmp_path / str(limit) / "round_0001" / "loop") for limit in (None, chunk)
    )
    assert one.sha256 == other.sha256


def test_a_retrained_discriminator_cannot_judge_again(problem, discriminate, start, tmp_path):
    list(RunDir(tmp_path).run(problem.loop(), Key(0), start, [100], **options(problem)))
    with pytest.raises(
        ValueError, match="the verifier Judge is stateful: what it scored depends on its training"
    ):
        refilter(tmp_path, verifier=discriminate(Key(1), start.model))
