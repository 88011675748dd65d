"""Every exported component passes the checks that we ask of a stranger's, or this file fails.

Filters of the library are checked beside their other tests, in tests/filters.
"""

import inspect
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

import veriloop
import veriloop.linear as linear
from veriloop import (
    Accumulate,
    AccumulateSubsample,
    Audited,
    Batched,
    Bernoulli,
    Cached,
    Calibrated,
    Constant,
    CovarianceMatch,
    EachRound,
    FreshReal,
    Key,
    Loop,
    MixReal,
    Noisy,
    Oracle,
    Quota,
    Random,
    Replace,
    Retry,
    Shifted,
    State,
    Threshold,
    TopFraction,
    Window,
    all_of,
    any_of,
    vote,
    weighted,
)
from veriloop.schedules import by_round
from veriloop.testing import check_backend, check_filter, check_verifier


def value(key, batch):
    return np.where(batch > 2, np.nan, batch)


def slack(key, batch):
    return 1.0 - np.abs(batch)


DETERMINISTIC = [
    Constant(),
    Constant(-2),
    Oracle(lambda batch: batch > 0),
    Shifted(value, 0.3),
    Noisy(value, 0.0, 0.0),
    Noisy(value, 1.0, 1.0),
    Audited(value, Oracle(lambda batch: batch > 0)),
    all_of(value, slack),
    any_of(value, slack, third=Constant(-1.0)),
    vote(2, value, slack, Constant()),
    weighted([0.25, -2.0], value, slack),
    all_of(inner=any_of(value, slack), audited=Audited(slack, value)),
    Batched(value, 7),
    Cached(all_of(value, slack), list),
    Retry(Audited(value, slack)),
    Calibrated(value, lambda scores: 1 / (1 + np.exp(-scores))),
]
STOCHASTIC = [
    Random(),
    Noisy(value, 0.3, 0.1),
    Noisy(Random()),
    Shifted(Random(), 1.0),
    Audited(Random(), value),
    Audited(value, Random()),
    all_of(value, Random()),
    any_of(Random(), Random()),
    vote(1, value, Random()),
    weighted([1, 1], Random(), value),
    Batched(Random(), 7),
    Retry(Noisy(value, 0.3)),
]
TOGETHER = [CovarianceMatch(lambda batch: batch[:, None], np.array([[0.5]]), 10)]
POOLS = [
    Replace(),
    Accumulate(),
    AccumulateSubsample(15),
    Window(2),
    MixReal(np.linspace(-1, 1, 9), 0.4),
    FreshReal(lambda key, n: key.numpy().standard_normal(n), 6),
    FreshReal(lambda key, n: key.numpy().standard_normal(n), 6, weight=0.618),
]
BATCH = Key(0).fold("contracts").numpy().standard_normal(40) * 2


def exported(module):
    """The public names of `veriloop` that one of its modules defines."""
    named = {name: getattr(veriloop, name) for name in veriloop.__all__}
    return {
        name
        for name, each in named.items()
        if getattr(each, "__module__", "") == f"veriloop.{module}"
    }


def kinds(examples):
    return {type(example).__name__ for example in examples}


def test_every_exported_component_has_an_example_here():
    assert exported("pools") == kinds(POOLS)
    modules = ("algebra", "wrappers", "calibration", "matching")
    named = {name for module in modules for name in exported(f"verifiers.{module}")}
    functions = {name for name in named if inspect.isfunction(getattr(veriloop, name))}
    assert functions == {"all_of", "any_of", "vote", "weighted", "calibrated"}
    assert named - functions == kinds(DETERMINISTIC + STOCHASTIC + TOGETHER) - {"Composed"}


@pytest.mark.parametrize("verify", DETERMINISTIC, ids=lambda verify: type(verify).__name__)
def test_deterministic_verifiers(verify):
    check_verifier(verify, BATCH)


@pytest.mark.parametrize("verify", STOCHASTIC, ids=lambda verify: type(verify).__name__)
def test_stochastic_verifiers(verify):
    check_verifier(verify, BATCH, stochastic=True)


@pytest.mark.parametrize("verify", TOGETHER, ids=lambda verify: type(verify).__name__)
def test_verifiers_that_judge_rows_together(verify):
    check_verifier(verify, BATCH, rowwise=False)
    check_backend(replace(GAUSSIAN, verify=verify, filter=Threshold(0.0)), START, 50)


# A backend of three lines: the mean of a normal sample.

GAUSSIAN = Loop(
    generate=lambda key, model, n: model + key.numpy().standard_normal(n),
    verify=value,
    filter=Threshold(-1.0),
    refit=lambda key, model, batch: np.array([batch.mean()]),
    measure=lambda key, model: {"error": abs(float(model[0]))},
)
START = State(np.zeros(1))


@pytest.mark.parametrize("pool", POOLS, ids=lambda pool: type(pool).__name__)
@pytest.mark.parametrize("n", [50, Quota(12)], ids=["count", "quota"])
def test_gaussian_backend(pool, n):
    for chunk in (None, 7):
        check_backend(replace(GAUSSIAN, pool=pool, chunk=chunk, block=16), START, n)


@pytest.mark.parametrize(
    "verify", DETERMINISTIC + STOCHASTIC, ids=lambda verify: type(verify).__name__
)
def test_every_verifier_serves_a_backend(verify):
    check_backend(replace(GAUSSIAN, verify=verify, filter=TopFraction(0.3), block=16), START, 50)


def test_parts_that_change_by_round_serve_a_backend():
    """A verifier made of the state, and a filter from a list: repeated and resumed, the same run."""
    by_model = EachRound(lambda key, state: Shifted(value, float(state.model[0])))
    cuts = by_round([Threshold(-1.0), Threshold(0.0), TopFraction(0.3)])
    check_backend(replace(GAUSSIAN, verify=by_model, filter=cuts, block=16), START, 50)


def test_a_part_that_counts_its_rounds_by_itself_is_found():
    """What changes by round must come from the key and the state, or a resumed run is another."""
    rounds = count()
    own = EachRound(lambda key, state: Threshold(-1.0 + 0.1 * next(rounds)))
    with pytest.raises(AssertionError, match="the same key gives another run"):
        check_backend(replace(GAUSSIAN, filter=own), START, 50)


# The linear backend.


def linear_verifiers(dim=3):
    center = np.linspace(-0.5, 1.0, dim)
    sets = {
        "KnowledgeBall": linear.KnowledgeBall(center, 0.7),
        "KnowledgeL1": linear.KnowledgeL1(center, 0.7, slack=0.2),
        "KnowledgeBox": linear.KnowledgeBox(center, 0.7),
        "KnowledgeEllipsoid": linear.KnowledgeEllipsoid(center, np.diag([0.3, 0.5, 1.0])),
        "KnowledgeHalfSpace": linear.KnowledgeHalfSpace(center, np.ones(dim), 0.7),
    }
    return sets | {"Soft": linear.Soft(sets["KnowledgeBall"], 0.5)}


def linear_loop(verify, **settings):
    return Loop(
        **{
            "generate": linear.Generate(linear.GaussianDesign(3), noise=0.8),
            "verify": verify,
            "filter": Threshold(0.0),
            "refit": linear.least_squares,
            "measure": linear.Errors(truth=np.ones(3), center=np.zeros(3), noise=0.8),
            "block": 64,
        }
        | settings
    )


def test_every_verifier_of_the_linear_backend_has_an_example_here():
    module = "veriloop.linear.verifiers"
    named = {
        name
        for name in linear.__all__
        if getattr(getattr(linear, name), "__module__", "") == module
    }
    assert named - {"Knowledge"} == set(linear_verifiers())  # the base has no shape


@pytest.mark.parametrize("name", linear_verifiers())
def test_linear_verifiers(name):
    batch = linear.Generate(linear.GaussianDesign(3))(Key(0).fold("rows"), np.ones(3), 60)
    check_verifier(linear_verifiers()[name], batch)


@pytest.mark.parametrize("name", linear_verifiers())
@pytest.mark.parametrize("n", [200, Quota(40)], ids=["count", "quota"])
def test_linear_backend(name, n):
    filter = Bernoulli() if name == "Soft" else Threshold(0.0)
    check_backend(linear_loop(linear_verifiers()[name], filter=filter), State(np.ones(3)), n)


DESIGNS = {
    "GaussianDesign": linear.GaussianDesign(3),
    "RandomDirections": linear.RandomDirections(3),
    "FixedDesign": linear.FixedDesign(np.eye(3)),
}


@pytest.mark.parametrize("design", DESIGNS)
def test_linear_designs(design):
    """Each writes repeatable rows of unit noise scale, and serves a chunked round with an unchanged result."""
    made = linear_loop(
        linear_verifiers()["KnowledgeBall"], generate=linear.Generate(DESIGNS[design])
    )
    check_backend(made, State(np.ones(3)), 200)
    (one, first), (other, second) = (
        replace(made, chunk=chunk).step(Key(0), State(np.ones(3)), 200) for chunk in (None, 10)
    )
    np.testing.assert_array_equal(one.model, other.model)
    assert first == second


def test_the_pool_of_the_linear_backend():
    draw = linear.Generate(linear.GaussianDesign(3))
    pool = linear.WeightedReal(lambda key, n: draw(key, np.ones(3), n), 20, 0.3)
    check_backend(
        linear_loop(linear_verifiers()["KnowledgeBall"], pool=pool), State(np.ones(3)), 200
    )


# The MNIST backend, where its extra is installed.


def pictures(n=60):
    """Grey images of noise, from dark to bright."""
    pixels = Key(0).fold("pictures").numpy().random((n, 784)) * np.linspace(0.2, 1, n)[:, None]
    return mnist().Images((pixels * 255).astype(np.uint8), (np.arange(n) % 10).astype(np.uint8))


def mnist():
    """The backend, or a skipped test: without its extra the others must still be checked."""
    pytest.importorskip("torch", reason="the extra [mnist] is not installed")
    return veriloop.mnist


def mnist_verifiers():
    return {
        "Judge": lambda: mnist().Judge(
            mnist().new_network(Key(1), lambda: mnist().Discriminator(conditional=True)).eval()
        ),
        "DigitOracle": lambda: mnist().DigitOracle(small_features()),
    }


def small_features():
    from veriloop.mnist.features import Classifier

    return mnist().FeatureNet(mnist().new_network(Key(2), Classifier).eval(), 0.1, "made")


def mnist_filters():
    return {"TopPerDraw": lambda: mnist().TopPerDraw(0.3, count=9, draw=12)}


def mnist_refit(**changed):
    short = mnist().Training(steps=2, batch=20)
    settings = {"model": "mlp", "settings": {"latent": 2, "hidden": [8]}, "training": short}
    return mnist().Refit(**settings | changed)


def test_every_verifier_and_filter_of_the_mnist_backend_has_an_example_here():
    """Known by what they are called with: (key, batch), or (key, scores, groups)."""
    found = {"batch": set(), "scores": set()}
    for name in mnist().__all__:
        each = getattr(mnist(), name)
        if inspect.isclass(each) and "__call__" in vars(each):
            second = list(inspect.signature(each.__call__).parameters)[2:3]
            if second and second[0] in found:
                found[second[0]].add(name)
    assert found == {"batch": set(mnist_verifiers()), "scores": set(mnist_filters())}


@pytest.mark.slow
@pytest.mark.parametrize("name", mnist_verifiers())
@pytest.mark.parametrize("binary", [False, True], ids=["grey", "binary"])
def test_mnist_verifiers(name, binary):
    images = pictures().threshold() if binary else pictures()
    check_verifier(mnist_verifiers()[name](), images)


@pytest.mark.slow
@pytest.mark.parametrize("name", mnist_filters())
def test_mnist_filters(name):
    check_filter(mnist_filters()[name]())
    check_filter(mnist_filters()[name](), np.repeat([0.0, 0.25, 1.0], 10))


@pytest.mark.slow
@pytest.mark.parametrize("name", mnist_verifiers())
@pytest.mark.parametrize("n", [60, Quota(2, groups=10)], ids=["count", "quota"])
@pytest.mark.parametrize(
    "settings", [{}, {"warm": True}, {"model": "conv", "settings": {"latent": 2}}], ids=str
)
def test_mnist_backend(name, n, settings):
    """Fresh and warm refits of both models; held and drawn again; with all that `observe` says of them."""
    refit = mnist_refit(**settings)
    for chunk, pool in ((None, Accumulate()), (20, Replace())):
        loop = Loop(
            generate=mnist().Generate(),
            refit=refit,
            verify=Random() if isinstance(n, Quota) else mnist_verifiers()[name](),
            filter=Threshold(-9.0) if isinstance(n, Quota) else TopFraction(0.5),
            group=lambda batch: batch.labels,
            observe=mnist().observe,
            pool=pool,
            block=20,
            chunk=chunk,
        )
        check_backend(loop, State(refit(Key(3), None, pictures())), n, rounds=2)
