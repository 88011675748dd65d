"""Small problems on scikit-learn's digits, and one feature network for all tests."""

import pytest
import torch

from veriloop import Key
from veriloop.mnist import Discriminate, Problem, Refit, Training, balanced, feature_net, load


@pytest.fixture(autouse=True)
def one_thread():
    """Numbers depend on the thread count, and so do the times of small fits."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits():
    return load("digits")


@pytest.fixture(scope="session")
def features(digits, tmp_path_factory):
    return feature_net(digits, steps=150, folder=tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="session")
def problem(digits):
    short = Refit(model="mlp", settings={"hidden": [32]}, training=Training(steps=20))
    return Problem(initial=balanced(Key(1), digits.train, 100), first=short, refit=short, test=digits.test)


@pytest.fixture(scope="session")
def discriminate(digits):
    return Discriminate(real=balanced(Key(2), digits.train, 200), training=Training(epochs=1, patience=None))
