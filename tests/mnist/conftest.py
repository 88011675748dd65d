"""Small problems on scikit-learn's digits, one feature network for all tests, a cache no other test sees."""

from importlib.util import find_spec

import pytest

if find_spec("torch") is None:  # the extra [mnist] is not installed
    collect_ignore_glob = ["test_*.py"]

SMALL = {"latent": 4, "hidden": [32]}


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Numbers depend on the thread count, and so do the times of small fits."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing that a test trains or downloads is left behind, or found by another test."""
    monkeypatch.setenv("VERILOOP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def digits():
    from veriloop.mnist import load

    return load("digits")


@pytest.fixture(scope="session")
def features(digits, tmp_path_factory):
    """A feature network after 150 steps."""
    from veriloop.mnist import feature_net

    return feature_net(digits, steps=150, folder=tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="session")
def problem(digits):
    from veriloop import Key
    from veriloop.mnist import Problem, Refit, Training, balanced

    short = Refit(model="mlp", settings={"hidden": [32]}, training=Training(steps=20))
    return Problem(
        initial=balanced(Key(1), digits.train, 100), first=short, refit=short, test=digits.test
    )


@pytest.fixture(scope="session")
def discriminate(digits):
    from veriloop import Key
    from veriloop.mnist import Discriminate, Training, balanced

    return Discriminate(
        real=balanced(Key(2), digits.train, 200), training=Training(epochs=1, patience=None)
    )


@pytest.fixture(scope="session")
def refit():
    """Makes the refit of a small CVAE: `refit(steps, **arguments of Refit)`."""
    from veriloop.mnist import Refit, Training

    def make(steps=40, **changed):
        return Refit(
            **{
                "model": "mlp",
                "settings": SMALL,
                "training": Training(steps=steps, batch=64, rate=3e-3),
            }
            | changed
        )

    return make


@pytest.fixture(scope="session")
def model(digits, refit):
    """A small CVAE that has seen the digits."""
    from veriloop import Key

    return refit(200)(Key(0).fold("model"), None, digits.train)


@pytest.fixture(scope="session")
def decoder():
    """Makes a CVAE whose logits are `bias + digit part[digit] + z @ latent part`, each 0 where not given."""
    import torch

    from veriloop.mnist import MLPCVAE

    def make(bias=None, digit=None, z=None, latent=1):
        made = MLPCVAE(latent=latent, hidden=())
        with torch.no_grad():
            layer = made.decoder[0]
            layer.weight.zero_(), layer.bias.zero_()
            if bias is not None:
                layer.bias += torch.as_tensor(bias).float()
            if digit is not None:
                layer.weight[:, latent:] = torch.as_tensor(digit).float().t()
            if z is not None:
                layer.weight[:, :latent] = torch.as_tensor(z).float().t()
        return made.eval()

    return make


@pytest.fixture(scope="session")
def same_bytes():
    """Whether two networks have the same weights, to the last bit."""

    def same(one, other):
        one, other = one.state_dict(), other.state_dict()
        return one.keys() == other.keys() and all(
            value.cpu().numpy().tobytes() == other[name].cpu().numpy().tobytes()
            for name, value in one.items()
        )

    return same
