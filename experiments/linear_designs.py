"""Beyond the block design: rounds on other designs, and which data to estimate from, in 1-D and in regression."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from pydantic import Field

from _config import BadInput, Config, NotNegatives, Positive, Positives, Whole
from _plot import COLORS, band, column, grid, panels, plt, select, values
from _run import Measured, Rows, Unit, main
from veriloop import Key, Loop, Quota, RoundError, State, Threshold, run
from veriloop.linear import (
    Errors,
    FixedDesign,
    GaussianDesign,
    Generate,
    KnowledgeBall,
    Problem,
    RandomDirections,
    least_squares,
    truncated_means,
)

STRATEGIES = ("real", "filtered real", "filtered synthetic", "filtered synthetic from filtered real")
DESIGNS = ("real design's basis", "standard basis", "random directions", "Gaussian rows")


class Designs(Config):
    """Three parts: designs over rounds, the 1-D map and the regression map of the best strategy."""

    rows: Whole  # real rows, in all three parts
    dim: Whole
    noise: Positive
    sizes: Whole  # kept rows: per direction over rounds, in all in the maps
    budget: Whole  # the most candidates a round may draw
    rounds: Whole
    replicates: Whole
    radius: Positive  # over rounds
    bias: Annotated[float, Field(ge=0)]  # over rounds
    mean_replicates: Whole
    map_replicates: Whole  # of the regression map
    shift: NotNegatives  # 1-D map: the interval's centre - the true mean
    width: Positives  # 1-D map: the interval's width
    map_dim: Whole
    map_bias: NotNegatives  # regression map
    map_radius: NotNegatives


def design_arm(config: Designs, name: str) -> Rows:
    """Run the generic loop on one design; every design keeps `sizes * dim` rows a round."""
    runs = [_design_run(config, name, Key(config.seed).fold(i)) for i in range(config.replicates)]
    rows = []
    for k, each in enumerate(zip(*runs, strict=True)):
        error = np.array([one["error_center"] for one in each])
        low, high = np.quantile(error, [0.05, 0.95])
        about = {"arm": name, "part": "rounds", "seed": config.seed, "replicates": config.replicates, "round": k}
        about |= {key: float(np.mean([one[key] for one in each])) for key in ("candidates", "kept", "error_truth")}
        spread = error.std(ddof=1) / np.sqrt(len(error)) if len(error) > 1 else np.nan
        rows.append(
            about
            | {"error_center": error.mean(), "error_center_se": spread}
            | {"error_center_low": low, "error_center_high": high}
        )
    return rows


def _design_run(config: Designs, name: str, key: Key) -> list[dict[str, float]]:
    size = {"rows": config.rows, "dim": config.dim, "noise": config.noise}
    problem = Problem.gaussian(bias=config.bias, radius=config.radius, **size)
    blocks = {DESIGNS[0]: FixedDesign(problem.basis), DESIGNS[1]: FixedDesign(np.eye(config.dim))}
    others = {DESIGNS[2]: RandomDirections(config.dim), DESIGNS[3]: GaussianDesign(config.dim)}
    design = {**blocks, **others}[name]
    loop = Loop(
        generate=Generate(design, config.noise),
        verify=problem.verifier,
        filter=Threshold(0.0),
        refit=least_squares,
        measure=Errors(problem.truth, problem.center, config.noise),
        group=design.group if isinstance(design, FixedDesign) else None,
    )
    block = isinstance(design, FixedDesign)
    n = config.sizes * (1 if block else config.dim)
    quota = Quota(n, groups=config.dim if block else 1, budget=config.budget)
    start = problem.real_estimate(key)
    rounds = run(loop, key, start, [quota] * config.rounds)
    first = {"candidates": 0, "kept": 0, **loop.measure(key, start.model)}
    return [first, *({"candidates": r.candidates, "kept": r.kept, **r.metrics} for _, r in rounds)]


def mean_strip(config: Designs, width: float) -> Rows:
    """Estimate the mean of N(0, 1) four ways where the verifier passes an interval, for every shift of it."""
    # One key for all cells of a map: neighbours differ by their settings, not by their lots.
    rows, key = [], Key(config.seed).fold("mean")
    for shift in config.shift:
        bounds = (shift - width / 2, shift + width / 2)
        real = key.fold("real").numpy().standard_normal((config.mean_replicates, config.rows))
        inside = (real >= bounds[0]) & (real <= bounds[1])
        usable = inside.any(axis=1)  # with no real row in the interval there is no filtered estimate
        real, inside = real[usable], inside[usable]
        filtered = np.sum(real * inside, axis=1) / np.sum(inside, axis=1)
        means = (real.mean(axis=1), filtered)
        synthetic = [truncated_means(key.fold("synthetic"), mean, *bounds, config.sizes) for mean in means]
        squares = np.square([*means, *synthetic])
        rows.append(_map_row(config, "mean", shift, width, squares))
    return rows


def regression_strip(config: Designs, radius: float) -> Rows:
    """Estimate theta four ways on Gaussian rows with a knowledge ball, for every bias of its centre."""
    rows, key = [], Key(config.seed).fold("regression")
    for bias in config.map_bias:
        squares = []
        for i in range(config.map_replicates):
            try:
                squares.append(_four_errors(config, radius, bias, key.fold(i)))
            except RoundError:
                continue  # as in 1-D: too few real rows pass for a filtered estimate; `replicates` counts the rest
        rows.append(_map_row(config, "regression", bias, radius, np.transpose(squares)))
    return rows


def _four_errors(config: Designs, radius: float, bias: float, key: Key) -> list[float]:
    truth = np.zeros(config.map_dim)
    direction = key.fold("direction").numpy().standard_normal(config.map_dim)
    center = truth + bias * direction / np.linalg.norm(direction)
    write = Generate(GaussianDesign(config.map_dim), config.noise)
    ball = KnowledgeBall(center, radius, config.noise * np.sqrt(2 / np.pi))
    real = write(key.fold("real"), truth, config.rows)
    passed = real[ball(key, real) >= 0]
    if len(passed) < config.map_dim:
        raise RoundError(f"{len(passed)} real rows pass, {config.map_dim} are needed")
    estimates = [least_squares(key, truth, data) for data in (real, passed)]
    loop = Loop(generate=write, verify=ball, filter=Threshold(0.0), refit=least_squares)
    quota = Quota(config.sizes, budget=config.budget)
    estimates += [loop.step(key.fold("synthetic"), State(theta), quota)[0].model for theta in estimates]
    return [float(np.sum((theta - truth) ** 2)) / config.noise**2 for theta in estimates]


def _map_row(config: Designs, part: str, x: float, y: float, squares: np.ndarray) -> dict[str, Any]:
    row: dict[str, Any] = {
        "part": part,
        "seed": config.seed,
        "replicates": squares.shape[1],
        "bias": x,
        "radius": y,
    }
    for name, sample in zip(STRATEGIES, squares, strict=True):
        row[name] = sample.mean()
        row[f"{name} se"] = sample.std(ddof=1) / np.sqrt(len(sample)) if len(sample) > 1 else np.nan
    first, second = np.argsort(squares.mean(axis=1))[:2]
    lead = squares[second] - squares[first]
    row["lead"], row["lead se"] = lead.mean(), lead.std(ddof=1) / np.sqrt(len(lead)) if len(lead) > 1 else np.nan
    return row


def units(config: Designs) -> list[Unit]:
    """The designs, then the strips of the two maps."""
    if config.budget < config.sizes * config.dim:
        raise BadInput(f"budget: got {config.budget}, must be at least sizes * dim = {config.sizes * config.dim}")
    if config.rows < max(config.dim, config.map_dim):
        raise BadInput(f"rows: got {config.rows}, must be at least dim and map_dim")
    return [
        *(Unit(name.replace(" ", "-").replace("'", ""), config.rounds, design_arm, (name,)) for name in DESIGNS),
        *(Unit(f"mean-{i:04d}", 1, mean_strip, (width,)) for i, width in enumerate(config.width)),
        *(
            Unit(f"regression-{i:04d}", 1, regression_strip, (radius,))
            for i, radius in enumerate(config.map_radius)
        ),
    ]


def draw(rows: Rows) -> plt.Figure:
    """Error by round on each design; the best strategy over the two maps."""
    figure, axes = panels(1, 3, height=2.8)
    for color, name, style in zip(COLORS, DESIGNS, ("-", "--", "-", "--"), strict=False):
        arm = select(rows, arm=name)
        band(axes[0, 0], column(arm, "round"), arm, "error_center", color=color, label=name, ls=style)
    axes[0, 0].set(xlabel="round $k$", ylabel=r"$\|\hat\theta_k-\theta_c\|^2/\sigma^2$", yscale="log")
    axes[0, 0].set_title(f"designs, middle 90 % of n = {arm[0]['replicates']}")
    axes[0, 0].legend()
    titles = {"mean": ("best for the mean of N(0, 1)", "interval's shift", "interval's width")}
    titles["regression"] = ("best for regression", r"bias $\Delta$", "radius $r$")
    for panel, (part, (title, x, y)) in zip(axes[0, 1:], titles.items(), strict=True):
        _best(panel, select(rows, part=part))
        panel.set(title=title, xlabel=f"{x} / $\\sigma$", ylabel=f"{y} / $\\sigma$")
    squares = [plt.Rectangle((0, 0), 1, 1, color=color) for color in COLORS[:4]]
    pale = plt.Rectangle((0, 0), 1, 1, color="black", alpha=0.2)
    labels = (*STRATEGIES, "pale: lead within 2 s.e.")
    figure.legend([*squares, pale], labels, loc="outside lower right", ncols=3)
    return figure


def _best(panel: Any, rows: Rows) -> None:
    """Colour each cell by the best estimate, pale where its lead over the next is within two standard errors."""
    tables = {name: grid(rows, name, "radius", "bias")[2] for name in (*STRATEGIES, "lead", "lead se")}
    best = np.argmin([tables[name] for name in STRATEGIES], axis=0)
    x, y, _ = grid(rows, "lead", "radius", "bias")
    alpha = np.where(tables["lead"] > 2 * tables["lead se"], 1.0, 0.35)
    norm = BoundaryNorm(np.arange(5) - 0.5, 4)
    panel.pcolormesh(x, y, best, cmap=ListedColormap(COLORS[:4]), norm=norm, alpha=alpha, rasterized=True)


def summarise(rows: Rows) -> dict[str, Measured]:
    """Each design's last round, and the share of each map where synthetic data are the best."""
    last = [row for row in select(rows, part="rounds") if row["round"] == max(values(rows, "round"))]
    numbers = {
        f"{row['arm']}: error to centre, round {row['round']}": Measured(
            row["error_center"], row["error_center_se"]
        )
        for row in last
    }
    for part in ("mean", "regression"):
        table = np.array([column(select(rows, part=part), name) for name in STRATEGIES])
        numbers[f"{part} map: share where synthetic is best"] = Measured(
            float(np.mean(np.argmin(table, axis=0) >= 2))
        )
    return numbers


if __name__ == "__main__":
    main(Designs, units, draw, summarise)
