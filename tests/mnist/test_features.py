"""The feature network is trained once for the same bytes, and found again by them."""

from dataclasses import replace

import numpy as np
import pytest

from veriloop import Key
from veriloop.mnist import DigitOracle, Inception, feature_net
from veriloop.mnist import features as module


def test_it_is_found_again_with_its_accuracy(digits, tmp_path, monkeypatch):
    first = feature_net(digits, steps=20, folder=tmp_path)
    monkeypatch.setattr(module, "fit", None)
    again = feature_net(digits, steps=20, folder=tmp_path)
    assert (again.accuracy, again.digest) == (first.accuracy, first.digest)
    for one, other in zip(first.read(digits.test), again.read(digits.test), strict=True):
        np.testing.assert_array_equal(one, other)
    assert first.accuracy == (first.read(digits.test)[1] == digits.test.labels).mean()
    with pytest.raises(TypeError):  # other data, other steps: another network, to be trained
        feature_net(digits, steps=21, folder=tmp_path)
    with pytest.raises(TypeError):
        feature_net(replace(digits, train=digits.train[1:]), steps=20, folder=tmp_path)


def test_it_reads_digits_far_better_than_chance(features, digits):
    n = len(digits.test)
    assert (features.accuracy - 0.1) / np.sqrt(0.1 * 0.9 / n) > 20


def test_the_oracle_accepts_what_is_more_likely_than_not_the_digit_asked_for(features, digits):
    scores = DigitOracle(features)(Key(0), digits.test)
    right = features.read(digits.test)[1] == digits.test.labels
    assert right[scores >= 0].all() and (scores[~right] < 0).all()
    np.testing.assert_allclose(scores[:3], features.log_odds(digits.test[:3]), rtol=1e-4)


def test_inception_without_its_weights_is_refused_at_once(digits, tmp_path):
    with pytest.raises(ValueError, match="no Inception weights at .*give their file"):
        Inception(digits.test, tmp_path / "none.pth")
