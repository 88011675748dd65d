"""Advice: fits find the theory again, intervals cover, and what is not identified is said."""

import itertools
import json
import re
from dataclasses import astuple
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from veriloop import Key, Record, Window, advise
from veriloop.diagnose.advice import Advice
from veriloop.diagnose.contraction import WITH_BIAS, Contraction
from veriloop.diagnose.estimates import Estimate

RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results"
GRID = list(itertools.product((0.0, 0.25, 0.5), (0.5, 1.0, 1.5)))  # bias, radius
N, SIZES = 100, [100] * 10
GROWING = [100 * 2**k for k in range(6)]


def rows(errors, sizes, *, filtered=True, names=("error_truth", "error_center")):
    """Rows of what `Problem.simulate` returns; a filtered round has drawn a quarter more than it kept."""
    per_round = [0, *(8 * n for n in sizes)]
    return [
        {"seed": s, "round": k, "kept": kept, "candidates": kept * (1.25 if filtered else 1)}
        | {name: errors[name][k, s] for name in names}
        for k, kept in enumerate(per_round)
        for s in range(errors[names[0]].shape[1])
    ]


def means(path, sizes, share=1e-3):
    """One row a round, of a mean known to a `share` of it."""
    errors = {"error_truth": path[:, None], "error_truth_se": share * path[:, None]}
    return rows(errors, sizes, names=("error_truth", "error_truth_se"))


def seeds(parameters, sizes, share=1e-3):
    """Six seeds that have the errors expected of parameters, and the distance to the centre, all but a share."""
    sizes = np.array(sizes)
    path = Contraction(sizes / sizes[0], both=True).path(np.array(parameters, dtype=float))[0]
    factors = 1 + share * np.array([-1, 1, -1, 1, -1, 1])
    own, center = np.split(path[:, None] * factors, 2)
    return rows({"error_truth": own, "error_center": center}, sizes)


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


# Fits find it again


@pytest.mark.parametrize(("bias", "radius"), GRID)
@pytest.mark.parametrize("sizes", [SIZES, GROWING])
def test_exact_errors_give_back_the_theory(bias, radius, sizes, exact):
    """rho, the plateau and its parts, and the round of reversal; rho's grid is finer than 1e-3.

    The error turns back up where there is bias, or where it starts below its plateau; else no round
    is named.
    """
    _, parameters = exact(bias, radius)
    advice = advise(seeds(parameters, sizes))
    rho, _, noise, beta2 = parameters[0]
    noise /= (1 - rho**2) * sizes[-1] / sizes[0]
    assert advice.fits and advice.misfit < 2
    assert advice.rho.value == pytest.approx(rho, abs=2e-3)
    assert advice.plateau.value == pytest.approx(noise + beta2, rel=0.02)
    relative = np.array(sizes) / sizes[0]
    ahead = Contraction(np.append(relative, np.full(len(sizes), relative[-1])))
    followed = ahead.path(parameters)[0]
    assert advice.until == 2 * len(sizes)
    assert advice.forecast.value == pytest.approx(followed[-1], rel=0.01)
    turns = followed[-1] > followed.min() * (1 + 1e-9)
    if turns:
        assert advice.reversal.low <= followed.argmin() <= advice.reversal.high
    else:
        assert advice.reversal.high == np.inf


@pytest.mark.parametrize("radius", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("bias", [0.1, 0.2, 0.4])
def test_the_reversal_is_where_its_closed_form_says(bias, radius, exact):
    """The lowest error in whole rounds is next to log_rho beta^2 / (beta^2 + s - P)."""
    _, parameters = exact(bias, radius)
    rho, start, noise, beta2 = parameters[0]
    turn = np.log(beta2 / (beta2 + start - noise / (1 - rho**2))) / np.log(rho)
    advice = advise(means(Contraction(np.ones(10)).path(parameters)[0], SIZES))
    assert advice.reversal.value in (np.floor(turn), np.ceil(turn))


# Intervals cover

NUMBERS = ("rho", "plateau", "noise", "bias", "forecast")
SEEDS, ROUNDS, NOISES = (3, 8, 20), (4, 10), ("of the loop", "independent", "shared")


@cache
def long_path(bias, radius, exact):
    problem, _ = exact(bias, radius)
    return problem.simulate([N] * 40, 400, Key(12))["error_truth"].mean(axis=1)


def truths(bias, radius, rounds, exact):
    """rho of theory, and the others from the loop itself, followed for long in many replicates."""
    _, parameters = exact(bias, radius)
    path = long_path(bias, radius, exact)
    plateau = path[20:].mean()
    return {
        "rho": parameters[0, 0],
        "plateau": plateau,
        "noise": plateau - bias**2,
        "bias": bias**2,
        "forecast": path[2 * rounds],
    }


def noisy(errors, noise, seeds, key):
    """Errors of the loop, of rounds from different seeds, or with a factor that all seeds share."""
    generator = key.numpy()
    rounds, every = errors["error_truth"].shape
    order = np.arange(every) + np.zeros((rounds, 1), dtype=int)
    factor = np.ones((rounds, every))
    if noise == "independent":
        order = generator.permuted(order, axis=1)
    if noise == "shared":
        drawn = np.exp(0.1 * generator.standard_normal((rounds, every // seeds)) - 0.005)
        factor = np.repeat(drawn, seeds, axis=1)
    return {name: factor * np.take_along_axis(x, order, axis=1) for name, x in errors.items()}


@pytest.fixture(scope="module")
def replications(exact) -> list[tuple[dict[str, float], Advice]]:
    """Advice on two runs of every kind, and the truth."""
    found = []
    cells = itertools.product((0.0, 0.5, 1.0, 2.0), (0.5, 1.0), SEEDS, ROUNDS, NOISES)
    for bias, radius, seeds, rounds, noise in cells:
        key = Key(11).fold(int(100 * bias), int(10 * radius), seeds, rounds, noise)
        problem, _ = exact(bias, radius)
        errors = problem.simulate([N] * rounds, 2 * seeds, key)
        errors = noisy(errors, noise, seeds, key.fold("noise"))
        for first in range(0, 2 * seeds, seeds):
            run = {name: each[:, first : first + seeds] for name, each in errors.items()}
            advice = advise(rows(run, [N] * rounds), pool="replace", resamples=100)
            found.append((truths(bias, radius, rounds, exact), advice))
    return found


@pytest.mark.parametrize("name", NUMBERS)
def test_printed_intervals_hold_the_truth_in_90_to_99_of_100_runs(replications, name):
    """3 to 20 seeds, 4 and 10 rounds, biases from 0 to 2, noise of three kinds; in all 288 runs."""
    held = []
    for truth, advice in replications:
        estimate = getattr(advice, name)
        if estimate.value is not None:
            held.append(holds(estimate, truth[name]))
    assert len(held) > 40
    assert 0.90 <= np.mean(held) <= 0.99


def test_every_run_has_a_forecast_and_no_number_reaches_further(replications):
    for _, advice in replications:
        assert advice.forecast.value is not None and advice.until in (8, 20)
        assert advice.reversal.high == np.inf or advice.reversal.high <= advice.until


def test_a_centre_that_is_far_is_said_and_its_numbers_are_not_printed(replications):
    """From a bias of 1 on the pull is stronger than rho, and no misfit shows it.

    At a bias of 1 a fit may come out near by chance, and its rho is then too low: it is withheld
    too. At 0.5 most print their numbers, and without bias nearly all.
    """
    far = [advice for truth, advice in replications if truth["bias"] >= 1]
    near = [advice for truth, advice in replications if truth["bias"] == 0.25]
    at_it = [advice for truth, advice in replications if truth["bias"] == 0]
    assert all(each.rho.value is None and each.plateau.value is None for each in far)
    assert all("the verifier's centre may be far" in str(each) for each in far)
    for runs, most in ((near, 0.5), (at_it, 0.1)):
        said = ["the verifier's centre may be far" in str(each) for each in runs]
        assert np.mean(said) < most


def test_far_from_the_centre_rho_would_come_out_low(exact):
    """At bias 1 the pull out there is stronger than rho, which is that at the centre: so it is not given."""
    problem, parameters = exact(1.0, 1.0)
    errors = problem.simulate(SIZES, 400, Key(13))
    model = Contraction(np.ones(10), both=True)
    means = np.concatenate([errors["error_truth"], errors["error_center"]]).mean(axis=1)
    assert model.fit(means[None], means, WITH_BIAS)[0, 0] < parameters[0, 0] - 0.01
    first = {name: each[:, :20] for name, each in errors.items()}
    assert advise(rows(first, SIZES)).rho.value is None


# What is not identified


def test_the_error_alone_cannot_tell_noise_from_bias(exact):
    """A rise to a plateau of noise, rho = 0.866: without the centre the fit with bias does as well."""
    problem, parameters = exact(0.0, 1.5)
    run = problem.simulate(SIZES, 20, Key(14))
    alone, both = advise(rows(run, SIZES), center=None), advise(rows(run, SIZES))
    for advice in (alone, both):
        assert holds(advice.rho, parameters[0, 0]) and holds(advice.bias, 0.0)
    assert alone.bias.high > 10 * both.bias.high and alone.rho.low < both.rho.low - 0.05
    assert alone.conclusion == "change the verifier or the filter"
    assert both.conclusion == "tighten the filter"


def test_a_random_walk_has_no_plateau(exact):
    problem, _ = exact(0.0, 0.5)
    run = problem.simulate(SIZES, 20, Key(15), verified=False)
    advice = advise(rows(run, SIZES, filtered=False))
    assert advice.plateau.value is None and holds(advice.rho, 1.0)
    assert "plateau  not identified" in str(advice)


def test_a_flat_error_says_nothing_of_rho():
    """It starts on its plateau."""
    errors = 0.05 * np.exp(0.3 * Key(16).numpy().standard_normal((11, 20)))
    advice = advise(rows({"error_truth": errors}, SIZES, names=("error_truth",)))
    assert advice.rho.value is None and "rho      not identified" in str(advice)
    assert holds(advice.rho, 0.0) and holds(advice.rho, 0.99)


def test_an_error_that_only_falls_has_no_reversal_in_sight(exact):
    problem, _ = exact(0.0, 0.5)
    advice = advise(
        means(problem.simulate(GROWING, 100, Key(17))["error_truth"].mean(axis=1), GROWING, 0.05)
    )
    assert advice.reversal.high == np.inf and advice.reversal.low > 5


# Conclusions


@pytest.mark.parametrize(
    ("parameters", "unfiltered", "wanted"),
    [
        ([0.9, 1.0, 0.01, 0.0], False, "keep going"),  # it falls slowly, to 0.05
        ([0.45, 0.084, 0.036, 0.0], False, "stop now"),  # on its plateau
        ([0.45, 0.084, 0.036, 0.0625], False, "stop now"),  # past its best round
        ([1.0, 0.084, 0.08, 0.0], True, "add real data"),  # nothing is filtered
        ([0.95, 0.084, 0.076, 0.0], False, "tighten the filter"),  # noise adds up
        ([0.2, 0.1, 0.002, 0.15], False, "loosen the filter"),  # one round goes past the best
        ([0.45, 0.084, 0.036, 0.5], False, "get a better verifier"),  # the centre is too far off
    ],
)
def test_each_conclusion_has_its_case(parameters, unfiltered, wanted):
    """Of exact parameters, and of errors that have them."""
    table = seeds([parameters], SIZES)
    if unfiltered:
        table = [row | {"kept": row["candidates"]} for row in table]
    advice = advise(table)
    assert advice.conclusion == wanted
    assert advice.reason and advice.support >= 0.9


@pytest.mark.parametrize("unit", [1e-3, 1e3])
@pytest.mark.parametrize("unfiltered", [False, True])
@pytest.mark.parametrize(
    "parameters",
    [[0.9, 1, 0.01, 0], [0.45, 0.084, 0.036, 0.0625], [0.2, 0.1, 0.002, 0.15], [0.4, 1, 0.1, 6]],
)
def test_advice_does_not_depend_on_the_unit_of_error(parameters, unfiltered, unit):
    """An error a thousand times as small or as large: one conclusion, and numbers as many times so."""
    found = []
    for scale in (1, unit):
        rho, *others = parameters
        table = seeds([[rho, *(scale * other for other in others)]], SIZES)
        if unfiltered:
            table = [row | {"kept": row["candidates"]} for row in table]
        found.append(advise(table))
    one, other = found
    assert (one.conclusion, one.support, one.fits) == (other.conclusion, other.support, other.fits)
    assert one.reversal == other.reversal
    assert other.rho.value == pytest.approx(one.rho.value)
    for name in ("plateau", "noise", "bias"):
        few, many = astuple(getattr(one, name)), astuple(getattr(other, name))
        assert many == pytest.approx([unit * each for each in few], abs=1e-9 * unit)


# Committed records


def committed(name, arm):
    lines = (RESULTS / name / "records.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row.get("arm") == arm]


def first_rounds(name, arm, rounds):
    return [row for row in committed(name, arm) if row["round"] <= rounds]


def test_advice_on_the_committed_rounds():
    """From the first ten of sixty rounds: what the other fifty show."""
    first = [
        row
        for row in committed("linear_rounds", "radius0.5-bias0.25-constant-noise1")
        if row["round"] <= 10
    ]
    advice = advise(first)
    assert advice.conclusion == "stop now" and advice.reversal == Estimate(1.0, 1.0, 1.0)
    last = committed("linear_rounds", "radius0.5-bias0.25-constant-noise1")[20]
    own = (advice.forecast.high - advice.forecast.low) / (2 * 1.96)
    assert last["round"] == advice.until == 20
    assert abs(advice.forecast.value - last["error_truth"]) < 3 * np.hypot(
        own, last["error_truth_se"]
    )
    walk = [
        row
        for row in committed("linear_rounds", "unverified-bias0-constant-noise1")
        if row["round"] <= 10
    ]
    assert advise(walk).conclusion == "add real data"


def test_advice_on_digits_goes_on_with_the_verified_arm_alone():
    assert (
        advise(committed("mnist_schedules", "20k-verified"), "mnist_fid").conclusion == "keep going"
    )
    assert (
        advise(committed("mnist_schedules", "20k-unverified"), "mnist_fid").conclusion
        == "add real data"
    )


@pytest.mark.parametrize("rounds", [4, 5])
@pytest.mark.parametrize(
    ("arm", "wanted"),
    [
        ("once", "change the verifier or the filter"),
        ("on many", "change the verifier or the filter"),
        ("unverified", "add real data"),
    ],
)
def test_advice_tells_a_verifier_that_is_fooled_from_none(arm, wanted, rounds):
    """Both arms lose on digits, from a different cause; four rounds are enough to tell."""
    assert (
        advise(first_rounds("mnist_fixed_verifier", f"20k-{arm}", rounds), "mnist_fid").conclusion
        == wanted
    )


def test_no_advice_to_go_on_where_the_next_round_was_no_better():
    """MNIST-FID of a verifier that is retrained: 292 after four rounds, and 298 after the fifth."""
    rounds = first_rounds("mnist_fixed_verifier", "20k-each round", 4)
    assert advise(rounds, "mnist_fid").conclusion == "undecided"


def test_a_metric_that_is_better_when_higher_is_no_error():
    """Unverified digits lose recall, from 0.65 to 0.05, and verified ones gain agreement."""
    lost = advise(committed("mnist_schedules", "20k-unverified"), "recall")
    assert lost.conclusion == "add real data" and lost.forecast.high < 0.1
    won = advise(first_rounds("mnist_schedules", "20k-verified", 4), "agreement")
    assert won.conclusion == "keep going" and won.forecast.low > 0.6
    assert 0 <= lost.forecast.low and won.forecast.high <= 1


def test_a_random_part_that_is_kept_is_no_verifier():
    """The unfiltered arms of the summaries keep an eighth of the candidates at random, in every seed's own arm."""
    lines = (RESULTS / "xsum_rouge" / "records.jsonl").read_text().splitlines()
    every = [row for row in map(json.loads, lines) if "base1" in row["arm"]]
    unfiltered = [row for row in every if row["filtering"] == "unfiltered"]
    filtered = [row for row in every if row["filtering"] == "filtered"]
    assert advise(unfiltered, "rouge1").conclusion in ("add real data", "undecided")
    assert "verifier" not in advise(unfiltered, "perplexity").conclusion
    assert advise(filtered, "rouge1").conclusion != "add real data"


def test_a_misfit_is_said():
    """An accumulating pool is not the formula's."""
    advice = advise(committed("linear_policies", "accumulate-verified"))
    assert "this is 'accumulate': take this as a sketch" in str(advice)
    assert advice.rho.value is None and advice.plateau.value is None


def test_a_round_that_the_formula_misses_is_named_with_both_values():
    """So nobody takes what the fit says of the last round for what was measured there."""
    path = np.array([1, 0.6, 0.45, 0.4, 0.42, 0.5, 0.6, 0.75, 0.9])
    noise = Key(0).numpy().random((9, 6)) * 0.02
    table = rows({"error_truth": path[:, None] + noise}, [100] * 8, names=("error_truth",))
    told = str(advise(table, pool="replace"))
    found = re.search(r"misses round (\d), where error_truth is (\S+) and not (\S+), by", told)
    assert found is not None
    seen = path[int(found[1])] + noise[int(found[1])].mean()
    assert float(found[2]) == pytest.approx(seen, rel=1e-2)
    assert abs(float(found[3]) - seen) > 0.05


# What is read, and what is refused


def test_records_rows_and_their_order_are_one(exact):
    problem, _ = exact(0.25, 0.5)
    errors = problem.simulate([100] * 5, 6, Key(18))
    table = rows(errors, [100] * 5)
    runs = [
        [
            Record(r["round"], int(r["candidates"]), r["kept"], {n: r[n] for n in errors})
            for r in table
            if r["seed"] == s
        ]
        for s in range(6)
    ]
    assert advise(runs) == advise(table) == advise(table[::-1])
    assert advise(table, key=Key(1)) != advise(table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: r | {"arm": r["seed"]},
            "advise needs records of one arm with 'error_truth', got 0, 1, 2; pick one",
        ),
        (
            lambda r: r | {"error_truth": -r["error_truth"]},
            "needs values worse than the best one, 0, got 'error_truth' of -1.9.*give .* floor=",
        ),
        (
            lambda r: r | {"error_truth": 0.5},
            "needs a metric that changes, got 'error_truth' of 0.5 in all rows",
        ),
        (
            lambda r: r | {"error_truth": 0.5 ** r["round"]},
            "needs seeds that differ, got 3 seeds with the same 'error_truth'",
        ),
        (
            lambda r: r | {"kept": 0 if r["round"] == 3 else r["kept"]},
            "needs kept rows in every round after the start, .* got 0 of 1000 in round 3; leave",
        ),
        (
            lambda r: {k: v for k, v in r.items() if k != "candidates"},
            "needs the candidates and the kept rows of every round .* got none in round 1; add the",
        ),
        (
            lambda r: r | {"error_truth": r["error_truth"] * (r["round"] != 2)},
            "got 'error_truth' of 0 in round 2, where nothing is left to gain; pick another metric",
        ),
        (
            lambda r: r | {"error_truth": r["error_truth"] * 1e120},
            "needs 'error_truth' below 1e\\+100, got 1.9.*e\\+120; give it in a larger unit",
        ),
        (
            lambda r: r | {"error_truth": r["error_truth"] * 1e-200},
            "needs 'error_truth' at least 1e-100 from its best value, got 1.0.*e-200; give it in",
        ),
        (
            lambda r: r if r["round"] < 4 else {},
            "needs a start and at least four rounds, got 3 rounds",
        ),
        (
            lambda r: r if r["seed"] == 0 else {},
            "needs two seeds or more, or a finite error_truth_se beside 'error_truth'",
        ),
    ],
)
def test_what_cannot_be_advised_on_is_refused(change, message):
    errors = {"error_truth": Key(0).numpy().random((6, 3)) + 1}
    with pytest.raises(ValueError, match=message):
        advise([change(row) for row in rows(errors, [100] * 5, names=("error_truth",))])


@pytest.mark.parametrize(
    ("metric", "settings", "message"),
    [
        ("error_truth", {"resamples": 10}, "resamples must be at least 40, got 10; draw more"),
        ("error_truth", {"resamples": 50.5}, "resamples must be an integer of at least 1, got 50"),
        ("odd", {"worse": "higher", "floor": "0"}, "floor must be a finite number, got '0'"),
        ("odd", {}, "'odd' needs worse='higher' or worse='lower', got None"),
        ("nelbo_own", {}, "'nelbo_own' needs worse="),
        (
            "entropy",
            {},
            "'entropy' is better when higher and needs its best value, got none; .*floor=",
        ),
        ("odd", {"worse": "lower"}, "'odd' is better when higher and needs its best value"),
        (
            "recall",
            {"worse": "higher"},
            "'recall' is better when higher, got worse='higher'; leave worse= out",
        ),
        ("odd", {"worse": "higher", "floor": np.inf}, "floor must be a finite number, got inf"),
        ("odd", {"worse": "higher", "floor": 5.0}, "values worse than the best one, 5, got 'odd'"),
    ],
)
def test_a_metric_of_unknown_direction_or_best_value_is_refused(metric, settings, message):
    errors = {metric: Key(0).numpy().random((6, 3)) + 1}
    with pytest.raises(ValueError, match=message):
        advise(rows(errors, [100] * 5, names=(metric,)), metric, **settings)


def test_a_floor_is_taken_off_and_put_back():
    """A metric that is an error above 100, or below it: the same conclusion, numbers about 100."""
    given = [row | {"away": row["error_center"]} for row in seeds([[0.45, 0.3, 0.1, 1.0]], SIZES)]
    plain = advise(given)
    for sign, worse in ((1, "higher"), (-1, "lower")):
        table = []
        for row in given:
            table.append(row | {"odd": 100 + sign * row["error_truth"]})
        advice = advise(table, "odd", worse=worse, floor=100.0, center="away")
        assert advice.conclusion == plain.conclusion == "get a better verifier"
        assert advice.bias.value == pytest.approx(plain.bias.value)
        assert advice.forecast.value == pytest.approx(100 + sign * plain.forecast.value)
        assert advice.forecast.low < advice.forecast.value < advice.forecast.high


def test_without_the_centre_noise_and_bias_are_not_told_apart():
    """A rise is as well one of noise as one of bias, with another rho; a floor looks like noise."""
    path = 50 + Contraction(np.ones(10)).path(np.array([[0.45, 8.4, 3.6, 100.0]]))[0]
    table = [row | {"odd": row["error_truth"], "odd_se": 0.01} for row in means(path, SIZES)]
    advice = advise(table, "odd", worse="higher")
    assert advice.conclusion == "change the verifier or the filter"
    assert advice.noise.value is None and advice.bias.value is None
    assert "plateau, noise and bias need a pool that replaces, five seeds, and" in str(advice)


def test_one_first_model_for_all_seeds_is_no_misfit(exact):
    """The start then has no spread, and the rounds after it have."""
    problem, _ = exact(0.25, 0.5)
    errors = problem.simulate(SIZES, 10, Key(19))
    errors = {name: np.concatenate([0 * x[:1] + x[0].mean(), x[1:]]) for name, x in errors.items()}
    advice = advise(rows(errors, SIZES))
    assert np.isfinite(advice.misfit)


def test_verified_can_be_said(exact):
    problem, _ = exact(0.0, 0.5)
    run = problem.simulate(SIZES, 20, Key(15), verified=False)
    assert advise(rows(run, SIZES), verified=False).conclusion == "add real data"
    said = [row | {"verified": False} for row in rows(run, SIZES)]
    assert advise(said).conclusion == "add real data"


def test_a_column_or_an_argument_names_the_pool(exact):
    problem, _ = exact(0.25, 0.5)
    table = rows(problem.simulate(SIZES, 10, Key(20)), SIZES)
    unknown = advise(table)
    assert "if yours does not, name it with pool=" in str(unknown)
    replaced = advise([row | {"pool": "Replace()"} for row in table])
    assert replaced.notes == () and replaced.rho == unknown.rho
    with pytest.raises(TypeError, match=r"pool must be a name, as in 'replace', got Window\("):
        advise(table, pool=Window(3))
    with pytest.raises(TypeError, match="verified must be True, False or None, got 'no'"):
        advise(table, verified="no")
    window = advise(table, pool="window")
    assert "rho" not in window.reason and window.forecast == unknown.forecast
    assert window.rho.value is None and "this is 'window'" in str(window)
