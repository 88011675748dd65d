"""The paper's setting as one value: its printed numbers, its units, one round of its loop, and a bare install."""

import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

from veriloop import Accumulate, Key, Quota, State, Threshold, run
from veriloop.linear import FixedDesign, KnowledgeBall, Problem, least_squares, simulate, theory
from veriloop.testing import check_backend


def z_mean(sample, want, axis=0):
    """How many of its own standard errors the mean of a sample is away from `want`."""
    return (sample.mean(axis) - want) / (sample.std(axis, ddof=1) / np.sqrt(sample.shape[axis]))


# The paper's numbers


def test_the_published_direction():
    """All five printed digits of u."""
    problem = Problem.gaussian(bias=1.0, radius=0.5)
    printed = [-0.32112, 0.02597, -0.47398, -0.60004, 0.23964, -0.17796, 0.44972, 0.14198]
    np.testing.assert_array_equal(np.round(problem.center - problem.truth, 5), printed)
    np.testing.assert_array_equal(problem.truth, np.ones(8))


def test_the_published_baseline():
    """The sum of 1 / mu^2, to the rounding of a singular value decomposition."""
    problem = Problem.gaussian(bias=0.3, radius=0.5)
    assert problem.real_x.shape == (100, 8)
    assert np.sum(problem.singular_values**-2) == pytest.approx(0.08373871826678209, rel=1e-14)


# What it derives


@pytest.mark.parametrize("noise", [0.2, 1.0, 7.0])
@pytest.mark.parametrize("bias", [0.0, 0.35, 4.0])
def test_center_offset_is_the_bias_in_units_of_noise(bias, noise):
    problem = Problem.gaussian(bias=bias, radius=0.5, noise=noise)
    assert np.linalg.norm(problem.center_offset) == pytest.approx(bias / noise, rel=1e-12)
    np.testing.assert_allclose(
        problem.truth + noise * problem.center_offset @ problem.basis, problem.center, rtol=1e-12
    )


def test_half_width_is_radius_and_slack_in_units_of_noise():
    """The slack is the mean absolute noise, E|xi| = sigma sqrt(2 / pi), unless given."""
    assert Problem.gaussian(bias=0, radius=0.4, noise=2.0).half_width == pytest.approx(
        0.2 + np.sqrt(2 / np.pi)
    )
    assert Problem.gaussian(bias=0, radius=0.4, noise=2.0, slack=0.0).half_width == pytest.approx(
        0.2
    )
    assert Problem.gaussian(bias=0, radius=0.4, noise=2.0, slack=3.0).half_width == pytest.approx(
        1.7
    )
    assert Problem.gaussian(bias=0, radius=np.inf).half_width == np.inf


def test_basis_and_singular_values_are_those_of_the_design():
    problem = Problem.gaussian(bias=0.5, radius=0.5, dim=4, rows=9)
    mu, basis = problem.singular_values, problem.basis
    np.testing.assert_allclose(basis @ basis.T, np.eye(4), atol=1e-14)
    gram = problem.real_x.T @ problem.real_x
    np.testing.assert_allclose(basis.T * mu**2 @ basis, gram, rtol=0, atol=1e-13 * mu[0] ** 2)


def test_the_verifier_and_the_loop_are_the_papers():
    problem = Problem.gaussian(bias=0.5, radius=0.3, noise=2.0)
    verify = problem.verifier
    assert isinstance(verify, KnowledgeBall) and verify.center is problem.center
    assert (verify.radius, verify.slack) == (0.3, 2.0 * np.sqrt(2 / np.pi))
    loop = problem.loop(verify=verify)
    assert loop.verify is verify and loop.filter == Threshold(0.0)
    assert problem.size(7) == Quota(7, groups=8)


def test_a_loop_has_no_verifier_unless_one_is_given():
    """And the filter given, in place of the default; one put in by replace makes the same loop."""
    problem = Problem.gaussian(bias=0.5, radius=0.3)
    plain, verified = problem.loop(), problem.loop(verify=problem.verifier, filter=Threshold(0.2))
    assert plain.verify is None and plain.filter == Threshold(0.0)
    assert verified.filter == Threshold(0.2)
    given = problem.loop(verify=problem.verifier)
    put_in = replace(plain, verify=problem.verifier)
    state, record = put_in.step(Key(1), problem.start(Key(0)), problem.size(20))
    other, same = given.step(Key(1), problem.start(Key(0)), problem.size(20))
    assert record == same and state.model.tobytes() == other.model.tobytes()


def test_the_real_estimate_is_normal_about_the_truth():
    """By direction: mean theta*, standard deviation sigma / mu_j, and no correlation."""
    problem = Problem.gaussian(bias=0.5, radius=0.5, dim=3, rows=10, noise=0.3)
    models = np.array([problem.start(Key(0).fold(i)).model for i in range(2000)])
    standard = (models - problem.truth) @ problem.basis.T / problem.noise * problem.singular_values
    products = np.einsum("ni,nj->nij", standard, standard)
    assert abs(z_mean(standard, 0)).max() < 4
    assert abs(z_mean(products, np.eye(3))).max() < 4
    assert problem.start(Key(0)).round == 0


# The loop


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "unverified"])
def test_the_contract_of_backends(verified):
    problem = Problem.gaussian(bias=0.5, radius=0.3, dim=4, rows=12)
    verify = problem.verifier if verified else None
    check_backend(problem.loop(verify=verify), problem.start(Key(0)), problem.size(15))


def test_round_0_is_the_estimate_from_real_data():
    """Its errors are those of that model, whatever the run's key; no rows are drawn for it."""
    problem = Problem.gaussian(bias=0.5, radius=0.3, dim=4, rows=12, noise=0.5)
    start = problem.start(Key(0))
    loop = problem.loop(verify=problem.verifier)
    state, record = next(run(loop, Key(1), start, [problem.size(15)]))
    assert state is start
    for name, center in (("error_truth", problem.truth), ("error_center", problem.center)):
        wanted = np.sum((start.model - center) ** 2) / 0.5**2
        assert record.metrics[name] == pytest.approx(wanted, rel=1e-12)
    assert (record.round, record.candidates, record.kept) == (0, 0, 0)


def test_the_start_carries_its_real_data():
    """Under Accumulate the first refit is to those real rows and to the kept ones."""
    problem = Problem.gaussian(bias=0.5, radius=0.3, dim=4, rows=12)
    start = problem.start(Key(0))
    (real,) = start.past
    np.testing.assert_array_equal(real.x, problem.real_x)
    np.testing.assert_array_equal(start.model, least_squares(Key(9), problem.truth, real))
    seen = []

    def refit(key, model, batch):
        seen.append(len(batch))
        return model

    loop = replace(problem.loop(), pool=Accumulate(), refit=refit)
    list(run(loop, Key(1), start, [problem.size(5)] * 2))
    assert seen == [12 + 20, 12 + 40]


def test_a_state_comes_back_from_its_folder_as_it_was(tmp_path):
    """Model and past to the bit, so that what follows is the same."""
    problem = Problem.gaussian(bias=0.5, radius=0.3, dim=4, rows=12)
    loop = replace(problem.loop(verify=problem.verifier), pool=Accumulate())
    *_, (state, _) = run(loop, Key(1), problem.start(Key(0)), [problem.size(5)] * 2)
    problem.save(state, tmp_path)
    back = problem.load(tmp_path)
    assert back.round == 2 and back.model.tobytes() == state.model.tobytes()
    for one, other in zip(back.past, state.past, strict=True):
        assert (one.x.tobytes(), one.y.tobytes()) == (other.x.tobytes(), other.y.tobytes())
    after = [loop.step(Key(1), each, problem.size(5))[1] for each in (state, back)]
    assert after[0] == after[1]


def test_a_quota_keeps_so_many_rows_in_every_direction():
    """Also where the verifier's centre makes directions differ in acceptance; without it all candidates pass."""
    problem = Problem.gaussian(bias=2.0, radius=0.1, dim=3, rows=10)
    seen = []

    def observe(key, batch, scores, mask):
        directions = FixedDesign(problem.basis).group(batch[mask])
        seen.append(np.bincount(directions, minlength=3).tolist())
        return {}

    def count(loop):
        watched = replace(loop, observe=observe)
        return watched.step(Key(1), State(problem.truth), problem.size(20))[1]

    verified, open_ = count(problem.loop(verify=problem.verifier)), count(problem.loop())
    assert seen == [[20] * 3, [20] * 3]
    assert verified.kept == open_.kept == 60
    assert verified.candidates > 60 == open_.candidates


def test_one_large_round_is_the_mean_map():
    """Each direction's offset goes to T(a), with variance V(a) / n: from inside, the edge, and far outside."""
    problem, n = Problem.gaussian(bias=0.8, radius=0.3, dim=4, rows=12, noise=0.7), 20_000
    offset, width = np.array([0.1, -1.0, 2.0, -2.5]), problem.half_width
    start = State(problem.truth + problem.noise * offset @ problem.basis)
    state, record = problem.loop(verify=problem.verifier).step(Key(2), start, problem.size(n))
    got = problem.basis @ (state.model - problem.truth) / problem.noise
    center = problem.center_offset
    want = theory.mean_map(offset, center, width)
    variance = theory.truncated_moments(offset, 1.0, center - width, center + width)[1]
    assert record.kept == 4 * n
    assert (abs(got - want) < 4 * np.sqrt(variance / n)).all()
    assert (abs(got - center) < abs(offset - center)).all()


def test_acceptance_of_a_round_is_that_of_theory():
    """All candidates judged, no quota: the share kept, by z, on equally many copies of each direction."""
    problem, n = Problem.gaussian(bias=0.8, radius=0.3, dim=4, rows=12, noise=0.7), 40_000
    _, record = problem.loop(verify=problem.verifier).step(Key(3), State(problem.truth), n)
    center, width = problem.center_offset, problem.half_width
    chance = theory.acceptance(0.0, 1.0, center - width, center + width)
    error = np.sqrt(np.mean(chance * (1 - chance)) / n)
    assert abs(record.acceptance - chance.mean()) < 4 * error


@pytest.mark.parametrize("factor", [0.01, 3.0])
def test_units_do_not_matter(factor):
    """Noise, bias and radius in other units: the same errors in units of noise, round by round, same key.

    Up to rounding; the number of candidates, which no rounding should change, exactly.
    """

    def errors(unit):
        problem = Problem.gaussian(bias=0.6 * unit, radius=0.2 * unit, dim=3, rows=12, noise=unit)
        loop = problem.loop(verify=problem.verifier)
        rounds = run(loop, Key(4), problem.start(Key(5)), [problem.size(30)] * 4)
        fast = simulate(
            problem.singular_values, problem.center_offset, problem.half_width, [30] * 4, 20, Key(6)
        )
        measured = [
            [r.metrics["error_truth"], r.metrics["error_center"], r.candidates] for _, r in rounds
        ]
        return np.array(measured), fast

    (plain, fast), (other, other_fast) = errors(1.0), errors(factor)
    np.testing.assert_allclose(other, plain, rtol=1e-9)
    assert other[:, 2].tolist() == plain[:, 2].tolist()
    np.testing.assert_allclose(other_fast, fast, rtol=1e-9, atol=1e-12)


def test_arms_of_the_loop_share_the_candidates_of_a_round():
    """With one key the unverified arm sees the same first block of rows and noise as the verified one."""
    problem = Problem.gaussian(bias=0.5, radius=0.3, dim=3, rows=10)

    def first_block(loop):
        batches = []

        def watched(key, model, n):
            batches.append(loop.generate(key, model, n))
            return batches[-1]

        replace(loop, generate=watched).step(Key(7), State(problem.truth), problem.size(10))
        return batches[0]

    batches = [first_block(problem.loop(verify=problem.verifier)), first_block(problem.loop())]
    assert len(batches[0]) == 30
    assert (
        batches[0].x.tobytes() == batches[1].x.tobytes()
        and batches[0].y.tobytes() == batches[1].y.tobytes()
    )


# Bad input


@pytest.mark.parametrize(
    "change, message",
    [
        ({"radius": -0.5}, "Problem.radius must be at least 0, got -0.5"),
        ({"radius": np.nan}, "Problem.radius .* got nan"),
        ({"noise": 0.0}, "Problem.noise .* got 0.0"),
        ({"noise": -1.0}, "Problem.noise .* got -1.0"),
        ({"noise": np.nan}, "Problem.noise .* got nan"),
        ({"slack": -0.1}, "Problem.slack .* got -0.1"),
        ({"slack": np.nan}, "Problem.slack .* got nan"),
    ],
)
def test_a_problem_refuses_in_one_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        Problem.gaussian(**({"bias": 0.1, "radius": 0.5} | change))
    assert "\n" not in str(caught.value)


# A bare install


def test_the_linear_backend_needs_numpy_and_scipy_alone():
    """Where all other packages are refused: two rounds of the loop, simulation and theory, without scipy.stats."""
    script = """
        import sys

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                top = name.partition(".")[0]
                if top.startswith("_sysconfigdata"):  # the standard library's, named by platform
                    return
                if top not in {"numpy", "scipy", "veriloop"} and top not in sys.stdlib_module_names:
                    raise ModuleNotFoundError(f"refused: {name}", name=name)

        sys.meta_path.insert(0, Refuse())
        try:
            import pytest
        except ModuleNotFoundError as error:
            assert str(error) == "refused: pytest"
        else:
            raise SystemExit("nothing was refused")

        from veriloop import Key, run
        from veriloop.linear import Problem, simulate, theory

        problem = Problem.gaussian(bias=0.5, radius=0.5)
        loop = problem.loop(verify=problem.verifier)
        rounds = list(run(loop, Key(0), problem.start(Key(1)), [problem.size(5)] * 2))
        assert [record.kept for _, record in rounds] == [0, 40, 40]
        parts = problem.singular_values, problem.center_offset, problem.half_width
        assert simulate(*parts, [5, 5], 3, Key(0)).shape == (3, 3, 8)
        assert theory.one_round_mse(*parts, 100) > 0
        heavy = [name for name in ("scipy.stats", "scipy.optimize") if name in sys.modules]
        assert not heavy, heavy
        print("ran")
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "ran\n"), done.stderr


# Fewer real rows than parameters


FEW = {"bias": 0.7, "radius": 0.4, "dim": 7, "rows": 4, "noise": 1.3}
SIZES = [6, 9, 30, 30]


@pytest.fixture(scope="module")
def few():
    """A problem of 4 rows in 7 dimensions, whose centre differs from the truth inside and outside their span."""
    return Problem.gaussian(**FEW)


@pytest.mark.parametrize("verified", [True, False], ids=["verified", "unverified"])
def test_beyond_one_row_a_parameter_the_loop_is_what_is_simulated(few, verified):
    """Both errors, round by round, by z of two samples; the part that no real row sees is in both."""
    loop = few.loop(verify=few.verifier if verified else None)
    quotas = [few.size(n) for n in SIZES]
    runs = []
    for key in (Key(11).fold(i) for i in range(300)):
        rounds = run(loop, key, few.start(key.fold("real")), quotas)
        runs.append([[r.metrics["error_truth"], r.metrics["error_center"]] for _, r in rounds])
    looped = np.array(runs)
    fast = few.simulate(SIZES, 4000, Key(12), verified=verified)
    for i, name in enumerate(("error_truth", "error_center")):
        mine = looped[..., i]
        error = np.hypot(
            mine.std(0, ddof=1) / np.sqrt(300), fast[name].std(1, ddof=1) / np.sqrt(4000)
        )
        assert (abs(mine.mean(0) - fast[name].mean(1)) < 4 * error).all()


def test_beyond_one_row_a_parameter_the_theory_adds_what_no_row_sees(few):
    """One round exactly, and many without a verifier; the start is the baseline plus the unseen part."""
    mu, c, width = few.singular_values, few.center_offset, few.half_width
    assert mu.shape == c.shape == (4,) and few.basis.shape == (4, 7)
    fast = few.simulate(SIZES[:1], 60_000, Key(13))["error_truth"]
    exact = theory.one_round_mse(mu, c, width, SIZES[0]) + few.unseen_truth
    assert abs(z_mean(fast[1], exact)) < 4
    assert abs(z_mean(fast[0], np.sum(mu**-2.0) + few.unseen_truth)) < 4
    unverified = few.simulate(SIZES, 60_000, Key(14), verified=False)["error_truth"]
    walk = theory.unfiltered_mse(mu, SIZES) + few.unseen_truth
    assert (abs(z_mean(unverified.T, walk)) < 4).all()
    measured = 0.5 * np.log((np.sum(mu**-2.0) + few.unseen_truth) / exact)
    gain = theory.log_improvement(mu, c, width, SIZES[0], unseen=few.unseen_truth)
    assert gain == pytest.approx(measured, rel=1e-12)


def test_what_no_real_row_sees_is_the_null_space_and_stays(few):
    """By an independent projection; the model has nothing there in any round."""
    outside = np.eye(7) - np.linalg.pinv(few.real_x) @ few.real_x
    for point, stated in ((few.truth, few.unseen_truth), (few.center, few.unseen_center)):
        assert stated == pytest.approx(np.sum((outside @ point) ** 2) / 1.3**2, rel=1e-12)
    loop = few.loop(verify=few.verifier)
    for state, _ in run(loop, Key(1), few.start(Key(0)), [few.size(5)] * 2):
        assert abs(outside @ state.model).max() < 1e-12


def test_no_bias_that_one_round_pays_for_counts_what_lies_outside_the_span(few):
    """The direction inside the span is shorter than 1; the break-even bias grows by just that."""
    mu, width = few.singular_values, few.half_width
    unit = few.basis @ (few.center - few.truth) / 0.7
    length = np.linalg.norm(unit)
    assert length < 0.99
    shorter = theory.break_even_bias(mu, unit, width, 50)
    assert shorter > 0
    assert shorter * length == pytest.approx(theory.break_even_bias(mu, unit / length, width, 50))


def test_equal_columns_are_one_direction():
    """What least squares takes for a direction of length 0 is none: rank 2 in 3 dimensions, 5 rows."""
    x = Key(3).numpy().standard_normal((5, 2))[:, [0, 1, 1]]
    problem = Problem(x, truth=np.ones(3), center=np.ones(3), radius=1.0)
    assert len(problem.basis) == 2 and problem.unseen_truth == pytest.approx(0.0, abs=1e-20)
    apart = replace(problem, truth=np.array([1.0, 3.0, 1.0]))
    assert apart.unseen_truth == pytest.approx(2.0)
    check_backend(problem.loop(verify=problem.verifier), problem.start(Key(0)), problem.size(5))


def test_rows_that_span_everything_leave_nothing_unseen():
    problem = Problem.gaussian(bias=0.5, radius=0.5, dim=4, rows=4)
    assert problem.unseen_truth == problem.unseen_center == 0.0


@pytest.mark.parametrize(
    "change, message",
    [
        ({"real_x": np.zeros((0, 3))}, "Problem.real_x must have shape"),
        ({"real_x": np.zeros((3, 3))}, "Problem.real_x must have shape .* an entry that is not 0"),
        ({"real_x": np.ones(3)}, "Problem.real_x must have shape"),
        ({"real_x": np.full((3, 3), np.nan)}, "Problem.real_x must be finite, got nan"),
        ({"truth": np.ones(2)}, r"Problem.truth must have shape \(3,\), .* got \(2,\)"),
        ({"center": 1.0}, r"Problem.center must have shape \(3,\), .* got \(\)"),
        ({"center": [1, 2, np.inf]}, "Problem.center must be finite, got inf"),
        ({"truth": ["1", "2", "3"]}, "Problem.truth must be a number or a list of numbers"),
    ],
)
def test_a_problem_refuses_arrays_in_one_sentence(change, message):
    given = {"real_x": np.eye(3), "truth": np.ones(3), "center": np.ones(3), "radius": 1.0}
    with pytest.raises(ValueError, match=message) as caught:
        Problem(**(given | change))
    assert "\n" not in str(caught.value)


def test_a_problem_takes_lists():
    problem = Problem([[2, 0], [0, 1]], truth=[1, 1], center=[1, 2], radius=1)
    assert problem.singular_values.tolist() == [2.0, 1.0]
    assert problem.center.dtype == float


@pytest.mark.parametrize("method", ["start", "real_data"])
def test_a_seed_in_place_of_a_key_is_refused(method):
    problem = Problem.gaussian(bias=0.0, radius=1.0)
    with pytest.raises(TypeError, match=rf"Problem\.{method}: key must be a Key, got int 0; write"):
        getattr(problem, method)(0)
