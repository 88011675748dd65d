"""The exact numbers about a Gaussian refitted to its own draws, and the script that measures beside them."""

from __future__ import annotations

import csv
from importlib import import_module

import numpy as np
import pytest
from helpers import EXPERIMENTS, settings, z

from veriloop import Accumulate, AccumulateSubsample, Key, Loop, Replace, State, run

NAME = "selection_bias"


@pytest.fixture(scope="module")
def exact():
    """The module of the closed forms; the path to it is there once the scripts' fixtures are."""
    import _gaussian

    return _gaussian


@pytest.mark.parametrize(
    "policy, pool", [("replace", Replace()), ("accumulate", Accumulate()), ("subsample", AccumulateSubsample(8))]
)
def test_the_trace_without_a_verifier_is_exact(policy, pool, exact):
    """Seven rounds of the generic loop with few rows and a large ridge, where an error in any term would show."""
    loop = Loop(
        generate=exact.draw_rows,
        refit=exact.Fit(0.05),
        pool=pool,
        measure=lambda key, model: {"trace": float(np.trace(model.covariance)) / 2},
    )
    truth = exact.Gaussian(np.zeros(2), np.eye(2))
    paths = [
        [record.metrics["trace"] for _, record in run(loop, Key(3).fold(i), State(truth), [8] * 7)]
        for i in range(1000)
    ]
    expected = exact.unverified_trace(policy, 8, 7, ridge=0.05)
    assert expected[0] == 1
    for k, sample in enumerate(np.transpose(paths)):
        assert abs(z(sample, expected[k + 1])) < 4, (k + 1, expected[k + 1])


def test_accumulating_loses_no_more_than_eulers_product(exact):
    """The trace's limit is a sine: 1 - pi^2 / (6 n), the variance's counterpart of pi^2 / 6."""
    for n in (2, 10, 300):
        angle = np.pi / np.sqrt(n)
        limit = np.sin(angle) / angle
        path = exact.unverified_trace("accumulate", n, 5000)
        assert np.all(np.diff(path) < 0) and 0 < path[-1] - limit < 1 / (n * 4999)
    assert exact.unverified_trace("replace", 300, 200) == pytest.approx((1 - 1 / 300) ** np.arange(201))


def test_the_volume_under_replace_is_exact(exact):
    """The log-determinant of three rounds, against the Wishart expectation."""
    loop = Loop(
        generate=exact.draw_rows,
        refit=exact.Fit(0.0),
        measure=lambda key, model: {"volume": float(np.linalg.slogdet(model.covariance)[1])},
    )
    truth = exact.Gaussian(np.zeros(3), np.diag([1.0, 2.0, 0.5]))
    paths = [
        [record.metrics["volume"] for _, record in run(loop, Key(5).fold(i), State(truth), [9] * 3)]
        for i in range(800)
    ]
    for k, sample in enumerate(np.transpose(paths)):
        assert abs(z(sample, exact.replace_log_volume(3, 9, 3)[k + 1])) < 4


@pytest.mark.parametrize("bias", [0.0, 1.5, 6.0])
def test_one_selected_round_is_exact(bias, exact):
    """Shift and both variances of the 6 nearest of 40 rows in 3 dimensions: few, for no limit is taken."""
    generator, found = Key(7).numpy(), []
    center = np.array([bias, 0.0, 0.0])
    near = exact.Near(center, np.eye(3))
    for _ in range(4000):
        rows = generator.standard_normal((40, 3))
        kept = rows[np.argsort(-near(Key(0), rows))[:6]]
        covariance = np.cov(kept, rowvar=False, bias=True)
        found.append([kept[:, 0].mean(), covariance[0, 0], (covariance[1, 1] + covariance[2, 2]) / 2])
    for sample, expected in zip(np.transpose(found), exact.selected_round(3, bias, 6, 40), strict=True):
        assert abs(z(sample, expected)) < 4


def test_keeping_all_is_no_selection(exact):
    """With as many candidates as rows kept, nothing is chosen."""
    assert exact.selected_round(4, 2.0, 50, 50) == (0.0, 1 - 1 / 50, 1 - 1 / 50)


@pytest.mark.parametrize("bias", [0.0, 1.0, 4.0])
def test_the_limit_path_starts_where_one_round_with_many_rows_ends(bias, exact):
    """Two ways to the same moments: quadrature along the line, and non-central chi-squares at n = 10^7."""
    path = exact.selected_path("replace", 6, bias, 0.2, 1)
    assert path[1] == pytest.approx(exact.selected_round(6, bias, 10**7, 5 * 10**7), abs=1e-5)


def test_centred_selection_is_geometric_under_replace_and_a_power_law_under_accumulate(exact):
    """Centred, every round multiplies the variance by G_2; pooled, t falls as t^-(1 - G_2) by Gamma functions."""
    from scipy.special import gammaln
    from scipy.stats import chi2

    g = chi2.cdf(chi2.ppf(0.1, 10), 12) / 0.1
    t = np.arange(1, 41)
    power = np.exp(gammaln(t + g) - gammaln(g) - gammaln(t + 1))
    for policy, law in (("replace", g**t), ("accumulate", power), ("subsample", power)):
        path = exact.selected_path(policy, 10, 0.0, 0.1, 40)[1:]
        assert path[:, 1] == pytest.approx(law, rel=1e-6) and path[:, 2] == pytest.approx(law, rel=1e-6)
        assert np.abs(path[:, 0]).max() < 1e-9


def test_the_limit_path_follows_the_loop_with_many_rows(exact):
    """Three biased rounds of the generic loop on 20,000 kept rows: the model is no longer round after the first."""
    from veriloop import TopFraction

    center = np.array([1.5, 0.0, 0.0, 0.0])
    for policy, pool in (("replace", Replace()), ("accumulate", Accumulate())):
        loop = Loop(
            generate=exact.draw_rows,
            verify=exact.Near(center, np.eye(4)),
            filter=TopFraction(0.25),
            refit=exact.Fit(0.0),
            pool=pool,
        )
        truth = State(exact.Gaussian(np.zeros(4), np.eye(4)))
        found = []
        for i in range(8):
            *_, (state, _) = run(loop, Key(11).fold(i), truth, [80_000] * 3)
            variance = np.diag(state.model.covariance)
            found.append([state.model.mean[0], variance[0], variance[1:].mean()])
        expected = exact.selected_path(policy, 4, 1.5, 0.25, 3)[3]
        for sample, number in zip(np.transpose(found), expected, strict=True):
            # Student's t with 7 degrees of freedom is past 6 as rarely as a normal past 4.
            assert abs(z(sample, number)) < 6, policy


@pytest.mark.parametrize("truth", ["standard", "drawn"])
def test_the_records_follow_what_they_state(truth, here):
    """Every expectation in the records, on a truth of either kind, within 4 standard errors."""
    small = ("replicates=60", "rounds=3", "n=40", f"truth={truth}", "bias=[1]", "dim=3", "fraction=0.2")
    rows = here(NAME, *settings(*small)).rows
    stated = 0
    for row in rows:
        for name in ("trace", "log_volume", "toward"):
            if row["round"] and row[f"expected_{name}"] is not None:
                assert abs(row[name] - row[f"expected_{name}"]) < 4 * row[f"{name}_se"], (row["arm"], name)
                stated += 1
        if row["round"]:
            assert (row["shift_toward"] == 0 and row["spread_toward"] == 1) == (not row["verified"])
            assert (row["candidates"], row["kept"]) == ((200, 40) if row["verified"] else (40, 40))
    assert stated == 3 * (3 + 3) + 3 + 3 * 2  # trace and mean of three policies, one volume, first selected rounds


def test_published_numbers_are_drawn_only_beside_their_like(smoke):
    """Published ticks belong to a run of the published kind that reaches round 200."""
    plots = import_module("figures.selection_bias")
    rows = smoke(NAME).rows

    def ticks(rows):
        figure = plots.draw(rows)
        return [each for panel in figure.axes for each in panel.lines if each.get_gid() == "published"]

    assert not ticks(rows)
    like = [row | {"truth": "drawn", "n": 300, "fraction": 0.05} for row in rows if row["bias"] in (None, 2)]
    like = [row | {"bias": 3} if row["bias"] else row for row in like]
    assert not ticks(like)  # three rounds only
    whole = [row | {"round": k} for row in like for k in ([row["round"]] if row["round"] < 3 else range(3, 201))]
    assert len(ticks(whole)) == 4


def test_the_published_numbers_are_a_table_that_can_be_read():
    """Eight numbers of one n and round, and none for a policy that was not published."""
    path = EXPERIMENTS / "published" / "selection_bias.csv"
    with open(path) as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 and {row["policy"] for row in rows} == {"replace", "accumulate"}
    assert all(0 <= float(row["value"]) < 1.1 and row["round"] == "200" for row in rows)


def test_one_replicate_and_one_round_run_and_draw(here):
    """No standard error can be had from one value: it is null, and neither the figure nor the summary minds."""
    run = here(NAME, *settings("replicates=1", "rounds=1", "bias=[0]"), figure="laid out")
    assert (run.code, run.stderr) == (0, "")
    assert all(row["trace_se"] is None for row in run.rows) and "nan" not in run.stdout
