"""A figure's verified arm is what the public names give: `problem.loop(verify=retrained(...))` through `run`.

A figure makes its verifiers from `key.fold(k, "loop", "retrain")` of the seed's key, since one that
goes on from an earlier verifier needs the keys of earlier rounds too. `run` hands the same key to
what makes the verifier of round k.
"""

import json

import pytest

from veriloop import Constant, EachRound, Key, run
from veriloop.mnist import (
    Discriminate,
    Measure,
    Problem,
    Refit,
    Training,
    balanced,
    feature_net,
    load,
    retrained,
)

SEED, ROUNDS, KEPT = 5, 2, 100
TINY = {
    "data": "digits",
    "seed": SEED,
    "replicates": 1,
    "rounds": ROUNDS,
    "sizes": f"{{tiny: {KEPT}}}",
    "initial": 50,
    "images": 100,
    "feature_steps": 3,
    "engine": "serial",
    "judge.real": 60,
}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """One feature network for the figure and for the loop beside it, and none of the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VERILOOP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def test_the_key_of_a_round_and_its_verifier_is_the_figures():
    """`run` gives what makes round k's verifier the key that a figure writes down."""
    given = []

    def make(key, state):
        given.append(key)
        return Constant()

    digits = load("digits")
    short = Refit(model="mlp", training=Training(steps=1))
    problem = Problem(initial=digits.train[:20], first=short, refit=short, test=digits.test[:20])
    list(
        run(
            problem.loop(verify=EachRound(make)),
            Key(SEED),
            problem.start(Key(SEED)),
            [KEPT] * ROUNDS,
        )
    )
    assert given == [Key(SEED).fold(k, "loop", "retrain") for k in (1, 2)]


def test_the_public_path_gives_the_figures_numbers(here):
    """Every number of every round of the verified arm, to the last bit."""
    options = [part for name, value in TINY.items() for part in ("--set", f"{name}={value}")]
    figure = here("mnist_schedules", *options, figure=False)
    assert figure.code == 0, figure.stderr
    rows = [json.loads(line) for line in figure.records.splitlines()]
    arm = [each for each in rows if each["arm"] == "tiny-verified"]
    config = json.loads((figure.out / "run.json").read_text())["config"]

    key, digits = Key(SEED), load("digits")
    features = feature_net(digits, config["feature_steps"])
    model = {"model": config["model"], "settings": config["model_settings"]}
    problem = Problem(
        initial=balanced(key.fold("initial"), digits.train, config["initial"]),
        first=Refit(**model, training=Training(**config["first"])),
        refit=Refit(**model, training=Training(**config["refit"])),
        test=digits.test.bernoulli(key.fold("test")),
        keep=config["keep"],
        measure=Measure(digits.test, features, config["images"]),
    )
    known = balanced(key.fold("judge"), digits.train, config["judge"]["real"])
    training = Training(**config["judge"]["fit"])
    loop = problem.loop(verify=retrained(Discriminate(real=known, training=training)))
    sizes = [problem.size(KEPT)] * ROUNDS
    wanted = [record.row() for _, record in run(loop, key, problem.start(key), sizes)]
    assert len(arm) == len(wanted) == ROUNDS + 1
    for ours, theirs in zip(wanted, arm, strict=True):
        assert {name: theirs[name] for name in ours} == ours
    assert arm[1]["verifier_accuracy"] != arm[2]["verifier_accuracy"]  # two verifiers, one a round
