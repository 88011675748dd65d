"""Time the linear backend against the plain way, in one run; print a Markdown table.

One core is used, unless a row says otherwise.

python benchmarks/linear.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable
from functools import partial

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import joblib  # noqa: E402
import numpy as np  # noqa: E402
from _timing import processor, seconds  # noqa: E402

from veriloop import Key, run  # noqa: E402
from veriloop.linear import Problem, simulate, theory  # noqa: E402

KEPT = 100


def plain_replicate(rng: np.random.Generator, problem: Problem) -> np.ndarray:
    """One round the plain way.

    Per direction, draw 2,000 labels, keep the accepted, and repeat until there are 100.
    """
    mu, center, width = problem.singular_values, problem.center_offset, problem.half_width
    estimate = np.empty(len(mu))
    for j, offset in enumerate(rng.normal(size=len(mu)) / mu):
        kept, size = np.empty(0), 2000
        while len(kept) < KEPT:
            labels = rng.normal(offset, 1.0, size)
            kept = np.concatenate([kept, labels[np.abs(labels - center[j]) <= width]])
            size *= 2
        estimate[j] = kept[:KEPT].mean()
    return estimate


def exact_strip(
    problem: Problem, directions: np.ndarray, radii: np.ndarray, biases: np.ndarray
) -> np.ndarray:
    """Exact one-round error over some radii and all biases."""
    widths = radii[:, None] + float(problem.slack or 0)
    return theory.one_round_mse(problem.singular_values, biases[:, None] * directions, widths, KEPT)


def monte_carlo_strip(
    problem: Problem, directions: np.ndarray, radius: float, biases: np.ndarray
) -> np.ndarray:
    """Simulated one-round errors over all biases at one radius, 100 replicates a cell."""
    mu, width = problem.singular_values, radius + float(problem.slack or 0)
    keys = (Key(0).fold("bench", repr(radius), repr(bias)) for bias in biases)
    cells = (
        simulate(mu, bias * directions, width, [KEPT], 100, key)
        for bias, key in zip(biases, keys, strict=True)
    )
    return np.array([np.sum(cell[1] ** 2, axis=1).mean() for cell in cells])


def replicates_table(count: int) -> None:
    """Print replicates per second of one round, and the ratio to the plain loop run beside it."""
    print(
        "| one round, p = 8, 100 kept per direction | µs per replicate | range | replicates/s "
        "| x plain |"
    )
    print("|---|--:|--:|--:|--:|")
    for radius in (0.1, 0.5, 1.0):
        problem, rng = Problem.gaussian(bias=0.35, radius=radius), np.random.default_rng(0)
        setting = problem.singular_values, problem.center_offset, problem.half_width
        draws = np.empty((count, 8, KEPT))
        work: dict[str, tuple[int, Callable[[], object]]] = {
            "plain rejection loop": (50, partial(_plain, rng, problem)),
            "`simulate`": (count, partial(simulate, *setting, [KEPT], count, Key(0))),
            "generic loop with a quota": (50, partial(_generic, problem)),
            "the 800 normals alone, NumPy's generator": (
                count,
                partial(rng.standard_normal, out=draws),
            ),
            "the 800 normals alone, `Key`'s": (
                count,
                partial(Key(0).numpy().standard_normal, out=draws),
            ),
        }
        replicates = np.array([n for n, _ in work.values()])
        each = 1e6 * seconds(*(call for _, call in work.values())) / replicates
        ratios = np.median(each[:, :1] / each, axis=0)
        for name, times, ratio in zip(work, each.T, ratios, strict=True):
            middle, ends = np.median(times), f"{times.min():.1f}-{times.max():.1f}"
            print(
                f"| r = {radius:g}: {name} | {middle:.1f} | {ends} | {1e6 / middle:,.0f} "
                f"| {ratio:.1f} |"
            )


def _plain(rng: np.random.Generator, problem: Problem) -> list[np.ndarray]:
    return [plain_replicate(rng, problem) for _ in range(50)]


def _generic(problem: Problem) -> list[object]:
    loop, keys = problem.loop(verify=problem.verifier), [Key(i) for i in range(50)]
    return [list(run(loop, key, problem.start(key), [problem.size(KEPT)])) for key in keys]


def landscape_table(side: int) -> None:
    """Print the wall time of whole landscapes on two processes."""
    problem = Problem.gaussian(bias=1.0, radius=0.0)
    directions = problem.center_offset
    radii, biases = np.linspace(0.01, 0.5, side), np.linspace(0, 0.7, side)
    exact = [
        joblib.delayed(exact_strip)(problem, directions, strip, biases)
        for strip in np.array_split(radii, 8)
    ]
    carlo = [
        joblib.delayed(monte_carlo_strip)(problem, directions, radius, biases) for radius in radii
    ]
    print("\n| landscape on two processes | s | range |")
    print("|---|--:|--:|")
    with joblib.Parallel(n_jobs=2) as parallel:
        for name, tasks, repeats in (
            ("exact", exact, 3),
            ("Monte Carlo, 100 replicates a cell", carlo, 1),
        ):
            times = seconds(partial(parallel, tasks), repeats=repeats)
            ends = f"{times.min():.2f}-{times.max():.2f}"
            print(f"| {side} x {side} x 8, {name} | {np.median(times):.2f} | {ends} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    quick = parser.parse_args().quick
    print(
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"numpy {np.__version__}\n"
    )
    replicates_table(50 if quick else 1000)
    landscape_table(20 if quick else 300)
