"""How often the intervals of `veriloop.advise` hold the truth.

python benchmarks/advice_coverage.py RUNS CENTRE

Prints two tables of docs/advice.md, of advice with the distance to the centre (CENTRE is yes) or
without (no). Each cell is `RUNS` runs of linear regression for each bias and radius. The noise of a
run is one of three kinds: that of the loop, in which rounds of a seed depend on one another; the
same with rounds of different seeds put together, so that they do not; and that of the loop times a
factor by round which all seeds share.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import product

import numpy as np

from veriloop import Advice, Key, advise
from veriloop.linear import Problem, theory

BIASES = (0.0, 0.25, 0.5, 1.0, 2.0)
RADII = (0.5, 1.0, 1.5)
SEEDS = (3, 5, 10, 20)
ROUNDS = (4, 6, 10)
NOISES = ("of the loop", "independent", "shared")
NUMBERS = ("rho", "plateau", "noise", "bias", "forecast")
SIZE = 100  # labels a direction
SHARED = 0.1  # the standard deviation of the factor that all seeds share
RESAMPLES = 200
METRICS = ("error_truth", "error_center")


@dataclass
class Count:
    """How many intervals were printed, how many of them held the truth, and how many there were."""

    runs: int = 0
    printed: int = 0
    held: int = 0

    def add(self, printed: bool, held: bool) -> None:
        self.runs += 1
        self.printed += printed
        self.held += printed and held

    def __str__(self) -> str:
        if self.printed == 0:
            return "- (0 %)"
        return f"{self.held / self.printed:.1%} ({self.printed / self.runs:.0%})"


@dataclass
class Counts:
    """The counts of each number, by what a table is about."""

    cells: dict[tuple[object, ...], Count] = field(default_factory=dict)

    def add(self, about: tuple[object, ...], advice: Advice, truth: dict[str, float]) -> None:
        for name, true in truth.items():
            estimate = getattr(advice, name)
            slack = 1e-9 * abs(true)
            held = estimate.low - slack <= true <= estimate.high + slack
            count = self.cells.setdefault((*about, name), Count())
            count.add(estimate.value is not None, held)

    def row(self, about: tuple[object, ...]) -> str:
        shown = [*about, *(self.cells[(*about, name)] for name in NUMBERS)]
        return f"| {' | '.join(map(str, shown))} |"


@cache
def truths(bias: float, radius: float, rounds: int) -> dict[str, float]:
    """Return what the intervals are to hold: rho of theory, the others from many long runs."""
    problem = Problem.gaussian(bias=bias, radius=radius)
    path = problem.simulate([SIZE] * 60, 2000, Key(12))["error_truth"].mean(axis=1)
    plateau = float(path[40:].mean())
    return {
        "rho": float(theory.contraction_factor(problem.half_width)),
        "plateau": plateau,
        "noise": plateau - bias**2,
        "bias": bias**2,
        "forecast": float(path[2 * rounds]),
    }


def simulated(
    bias: float, radius: float, seeds: int, rounds: int, noise: str, runs: int, key: Key
) -> Iterator[list[dict[str, object]]]:
    """Yield the rows of so many runs."""
    problem = Problem.gaussian(bias=bias, radius=radius)
    errors = problem.simulate([SIZE] * rounds, seeds * runs, key)
    generator = key.fold("noise").numpy()
    if noise == "independent":
        for k in range(rounds + 1):
            order = generator.permutation(seeds * runs)
            for each in errors.values():
                each[k] = each[k, order]
    if noise == "shared":
        normal = generator.standard_normal((rounds + 1, runs))
        factor = np.repeat(np.exp(SHARED * normal - SHARED**2 / 2), seeds, axis=1)
        errors = {name: each * factor for name, each in errors.items()}
    for run in range(runs):
        yield _rows({name: errors[name][:, run * seeds : (run + 1) * seeds] for name in METRICS})


def _rows(errors: dict[str, np.ndarray]) -> list[dict[str, object]]:
    rounds, seeds = errors[METRICS[0]].shape
    rows: list[dict[str, object]] = []
    for k, seed in product(range(rounds), range(seeds)):
        counts = {"kept": 8 * SIZE * (k > 0), "candidates": 10 * SIZE * (k > 0)}
        metrics = {name: float(each[k, seed]) for name, each in errors.items()}
        rows.append({"seed": seed, "round": k, **counts, **metrics})
    return rows


def head(*names: str) -> None:
    """Print the head of a table, whose first columns are `names`."""
    columns = [*names, *NUMBERS]
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)


def main(runs: int, centre: str) -> None:
    """Print one row for each kind of run, then one for each bias."""
    counts = Counts()
    by_bias = Counts()
    center = "error_center" if centre == "yes" else None
    head("centre", "noise", "rounds", "seeds")
    for noise, rounds, seeds in product(NOISES, ROUNDS, SEEDS):
        about = (centre, noise, rounds, seeds)
        for bias, radius in product(BIASES, RADII):
            key = Key(31).fold(noise, rounds, seeds, int(100 * bias), int(10 * radius))
            truth = truths(bias, radius, rounds)
            for rows in simulated(bias, radius, seeds, rounds, noise, runs, key):
                advice = advise(rows, center=center, pool="replace", resamples=RESAMPLES)
                counts.add(about, advice, truth)
                by_bias.add((centre, noise, bias), advice, truth)
        print(counts.row(about), flush=True)
    head("centre", "noise", "bias")
    for about in product((centre,), NOISES, BIASES):
        print(by_bias.row(about), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
