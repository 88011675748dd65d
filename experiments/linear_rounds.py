"""Sixty rounds: radius x bias x size, verified and unverified, with Theorem 4.1's bound and the exact map."""

from itertools import product
from typing import Any

import numpy as np

from _config import BadInput, Config, NotNegatives, Positives, Sizes, Whole, per_round
from _plot import COLORS, GREY, band, column, panels, plt, select, values
from _run import Measured, Rows, Unit, main
from veriloop import Key
from veriloop.linear import Problem, simulate, theory


class Rounds(Config):
    """Arms are all combinations of noise, bias, radius and size, and an unverified one for each size."""

    rows: Whole
    dim: Whole
    rounds: Whole
    sizes: Sizes  # kept rows per direction
    replicates: Whole
    noise: Positives
    radius: NotNegatives
    bias: NotNegatives
    design_seed: int
    direction_seed: int


def arm(
    config: Rounds, name: str, noise: float, bias: float, radius: float | None, size: str, counts: list[int]
) -> Rows:
    """Simulate one arm; radius None is no verifier."""
    seeds = {"design_seed": config.design_seed, "direction_seed": config.direction_seed}
    problem = Problem.gaussian(
        bias=bias, radius=radius or 0.0, rows=config.rows, dim=config.dim, noise=noise, **seeds
    )
    mu, c, dim = problem.singular_values, problem.center_offset, config.dim
    width = np.inf if radius is None else problem.half_width
    # All arms share one key: their real data are the same, and so are the lots their labels are drawn with.
    errors = simulate(mu, c, width, counts, config.replicates, Key(config.seed))
    drawn = np.sum(1 / theory.acceptance(errors[:-1], 1.0, c - width, c + width), axis=2).mean(axis=1) * counts
    about = {"arm": name, "noise": noise, "bias": bias, "radius": radius, "size": size, "seed": config.seed}
    predicted = _predicted(mu, c, width, counts)
    rows = []
    for k in range(len(counts) + 1):
        row = about | {"round": k, "candidates": drawn[k - 1] if k else 0, "kept": counts[k - 1] * dim if k else 0}
        row |= {"replicates": config.replicates}
        for target, offset in (("error_center", c), ("error_truth", 0.0)):
            row |= _spread(target, np.sum((errors[k] - offset) ** 2, axis=1))
        rows.append(row | {name: float(curve[k]) for name, curve in predicted.items()})
    return rows


def _spread(name: str, sample: np.ndarray) -> dict[str, float]:
    low, high = np.quantile(sample, [0.05, 0.95])
    error = sample.std(ddof=1) / np.sqrt(len(sample)) if len(sample) > 1 else np.nan
    return {name: sample.mean(), f"{name}_se": error, f"{name}_low": low, f"{name}_high": high}


def _predicted(mu: np.ndarray, c: np.ndarray, width: float, counts: list[int]) -> dict[str, np.ndarray]:
    """The bound on error_center, the noise-free map from round 0 on, and the unverified law, by round."""
    initial = np.sum(mu**-2.0 + c**2)
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    path = theory.mean_path(nodes[:, None] / mu, c, width, len(counts))  # (rounds + 1, nodes, p)
    weights = weights[:, None] / weights.sum()
    bound = theory.error_bound(initial, width, counts, len(mu))
    return {
        "bound_center": bound,
        "map_center": np.sum(weights * (path - c) ** 2, axis=(1, 2)),
        "map_truth": np.sum(weights * path**2, axis=(1, 2)),
        "unfiltered_truth": theory.unfiltered_mse(mu, counts),
    }


def units(config: Rounds) -> list[Unit]:
    """One unit an arm."""
    try:
        schedules = per_round(config.sizes, config.rounds)
    except ValueError as error:
        raise BadInput(str(error)) from None
    work = []
    for noise, bias, (size, counts) in product(config.noise, config.bias, schedules.items()):
        for radius in (*config.radius, None):
            kind = "unverified" if radius is None else f"radius{radius:g}"
            name = f"{kind}-bias{bias:g}-{size}-noise{noise:g}"
            work.append(Unit(name, config.rounds, arm, (name, noise, bias, radius, size, counts)))
    return work


def draw(rows: Rows) -> plt.Figure:
    """One row a size; one column a bias for the error to the truth, and one more to the centre for the largest."""
    noise, biases = rows[0]["noise"], values(rows, "bias")
    targets = [(bias, "truth") for bias in biases] + [(biases[-1], "center")] * (biases[-1] > 0)
    sizes = list(dict.fromkeys(row["size"] for row in rows))
    figure, axes = panels(len(sizes), len(targets), height=2.2, sharex=True)
    for line, size in zip(axes, sizes, strict=True):
        for panel, (bias, target) in zip(line, targets, strict=True):
            _panel(panel, select(rows, noise=noise, bias=bias, size=size), target)
        line[0].set_ylabel(f"{size} size\nsquared error / $\\sigma^2$")
    for panel, (bias, target) in zip(axes[0], targets, strict=True):
        to = r"\theta_*" if target == "truth" else r"\theta_c"
        panel.set_title(f"$\\Delta$ = {bias:g}: {_regime(rows, bias)}\n$\\|\\hat\\theta_k - {to}\\|^2 / \\sigma^2$")
    for panel in axes[-1]:
        panel.set_xlabel("round $k$")
    _legend(figure, rows)
    return figure


def _regime(rows: Rows, bias: float) -> str:
    """Name the regime: biased is mild where the tightest ball's first round, without noise, gains on real data."""
    if bias == 0:
        return "unbiased"
    start, first = (select(rows, bias=bias, radius=values(rows, "radius")[0], round=k)[0] for k in (0, 1))
    return "mildly biased" if first["map_truth"] < start["map_truth"] else "strongly biased"


def _panel(panel: Any, rows: Rows, target: str) -> None:
    for color, radius in zip((*COLORS, *COLORS), values(rows, "radius"), strict=False):
        arm_rows = select(rows, radius=radius)
        x = column(arm_rows, "round")
        band(panel, x, arm_rows, f"error_{target}", color=color)
        panel.plot(x, column(arm_rows, f"map_{target}"), ":", color=color, lw=0.9)
        if target == "center":
            panel.plot(x, column(arm_rows, "bound_center"), "--", color=color, lw=0.8)
    unverified = select(rows, radius=None)
    band(panel, column(unverified, "round"), unverified, f"error_{target}", color=GREY)
    shown = [row[f"error_{target}_{end}"] for row in rows for end in ("low", "high")]
    panel.set(yscale="log", ylim=(0.7 * min(shown), 1.4 * max(shown)))


def _legend(figure: plt.Figure, rows: Rows) -> None:
    handles = [
        plt.Line2D([], [], color=color, label=f"$r$ = {radius:g}")
        for color, radius in zip((*COLORS, *COLORS), values(rows, "radius"), strict=False)
    ]
    handles += [
        plt.Line2D([], [], color=GREY, label="unverified"),
        plt.Line2D([], [], color="black", ls="--", lw=0.8, label="Theorem 4.1 bound"),
        plt.Line2D([], [], color="black", ls=":", label="exact map, no noise"),
        plt.Rectangle((0, 0), 1, 1, color="black", alpha=0.15, label=f"middle 90 % of n = {rows[0]['replicates']}"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


def summarise(rows: Rows) -> dict[str, Measured]:
    """The last round of every constant-size arm."""
    last = [row for row in rows if row["round"] == rows[-1]["round"] and row["size"] == rows[0]["size"]]
    numbers = {}
    for row in last:
        arm_name = "unverified" if row["radius"] is None else f"radius {row['radius']:g}"
        for target in ("truth", "center") if row["bias"] else ("truth",):
            name = f"bias {row['bias']:g}, {arm_name}: error to {target}, round {row['round']}"
            exact = row["unfiltered_truth"] if row["radius"] is None and target == "truth" else None
            numbers[name] = Measured(row[f"error_{target}"], row[f"error_{target}_se"], exact)
    return numbers


if __name__ == "__main__":
    main(Rounds, units, draw, summarise)
