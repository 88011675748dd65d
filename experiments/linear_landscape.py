"""One round's log improvement over bias and radius: exact theory, Theorem 3.1, and Monte Carlo with its errors."""

import numpy as np
from matplotlib.colors import BoundaryNorm

from _config import Config, NotNegatives, Positives, Whole
from _plot import column, grid, panels, plt, select, values
from _run import Measured, Rows, Unit, main
from veriloop import Key
from veriloop.linear import Problem, simulate, theory

LEVELS = np.linspace(-0.8, 0.8, 6)


class Landscape(Config):
    """A grid of one-round problems on one real design."""

    rows: Whole
    dim: Whole
    sizes: Whole  # kept rows per direction
    replicates: Whole
    noise: Positives
    radius: NotNegatives
    bias: NotNegatives
    design_seed: int
    direction_seed: int


def strip(config: Landscape, noise: float, radius: float) -> Rows:
    """Compute the cells of one radius."""
    seeds = {"design_seed": config.design_seed, "direction_seed": config.direction_seed}
    size = {"rows": config.rows, "dim": config.dim, "noise": noise}
    problems = [Problem.gaussian(bias=bias, radius=radius, **size, **seeds) for bias in config.bias]
    mu, width = problems[0].singular_values, problems[0].half_width
    centers = np.array([problem.center_offset for problem in problems])
    exact, expansion = (theory.one_round_mse(mu, centers, width, config.sizes, m) for m in ("exact", "expansion"))
    rows = []
    for i, bias in enumerate(config.bias):
        key = Key(config.seed).fold("cell", repr((noise, radius, bias)))
        errors = simulate(mu, centers[i], width, [config.sizes], config.replicates, key)[1]
        mse = np.sum(errors**2, axis=1)
        rows.append(
            {"bias": bias, "radius": radius, "noise": noise, "seed": config.seed, "replicates": config.replicates}
            | {"baseline": np.sum(mu**-2.0), "exact": exact[i], "expansion": expansion[i], "mean": mse.mean()}
            | {"standard_error": mse.std(ddof=1) / np.sqrt(len(mse)) if len(mse) > 1 else np.nan}
        )
    return rows


def units(config: Landscape) -> list[Unit]:
    """One unit a radius."""
    pairs = [(noise, radius) for noise in config.noise for radius in config.radius]
    return [Unit(f"noise{noise:g}-radius{radius:.6g}", 1, strip, (noise, radius)) for noise, radius in pairs]


def draw(rows: Rows) -> plt.Figure:
    """Three maps with the exact zero-improvement curve, and the Monte Carlo's z-scores, for each noise."""
    noises = values(rows, "noise")
    figure, axes = panels(len(noises), 4, height=2.1, width_ratios=[1, 1, 1, 0.9])
    titles = {"exact": "exact", "expansion": "Theorem 3.1", "mean": f"Monte Carlo, n = {rows[0]['replicates']}"}
    for row, noise in zip(axes, noises, strict=True):
        cells = select(rows, noise=noise)
        for panel, (name, title) in zip(row, titles.items(), strict=False):
            _map(panel, cells, name)
            panel.set(title=title, xlabel=rf"bias $\Delta$  ($\sigma$ = {noise:g})")
        row[0].set_ylabel(r"radius $r$")
        row[0].annotate("no gain", (0.335, 0.44), fontsize=6.5, rotation=-88, va="center")
        row[0].annotate(r"$\Delta = r$", (0.02, 0.07), fontsize=6.5, rotation=52)
        colors = plt.cm.ScalarMappable(BoundaryNorm(LEVELS, 256, extend="both"), "RdYlBu")
        bar = figure.colorbar(colors, ax=row[:3], shrink=0.9, pad=0.02)
        bar.set_label(r"$\log(\|\hat\theta_0-\theta_*\| / \|\hat\theta_1-\theta_*\|)$", fontsize=7)
        _scores(row[3], cells)
    return figure


def _map(panel: plt.Axes, cells: Rows, name: str) -> None:
    bias, radius, mse = grid(cells, name, "radius", "bias")
    exact = grid(cells, "exact", "radius", "bias")[2]
    improvement, truth = (0.5 * np.log(cells[0]["baseline"] / table) for table in (mse, exact))
    norm = BoundaryNorm(LEVELS, 256, extend="both")
    panel.pcolormesh(bias, radius, improvement, norm=norm, cmap="RdYlBu", shading="nearest", rasterized=True)
    if min(truth.shape) > 1:
        panel.contour(bias, radius, truth, levels=[0], colors="black", linewidths=1)
    panel.plot([0, 1], [0, 1], ":", color="black", lw=0.8)
    panel.set(xlim=(min(bias), max(bias)), ylim=(min(radius), max(radius))) if min(truth.shape) > 1 else None


def _scores(panel: plt.Axes, cells: Rows) -> None:
    z = (column(cells, "mean") - column(cells, "exact")) / column(cells, "standard_error")
    z = z[np.isfinite(z)]
    panel.hist(z, bins=np.linspace(-5, 5, 41), density=True, color="#56B4E9")
    line = np.linspace(-5, 5, 200)
    panel.plot(line, np.exp(-(line**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=0.8)
    panel.set(title=f"rms z = {np.sqrt(np.mean(z**2)) if len(z) else np.nan:.2f}")
    panel.set(xlabel="z of a cell", yticks=[])


def summarise(rows: Rows) -> dict[str, Measured]:
    """The gain without bias and the zero-improvement bias at the ends of the radii, and the Monte Carlo's fit."""
    numbers = {}
    for radius in (min(values(rows, "radius")), max(values(rows, "radius"))):
        cells = sorted(select(rows, radius=radius, noise=rows[0]["noise"]), key=lambda row: row["bias"])
        for name, title in (("exact", "exact"), ("expansion", "Theorem 3.1")):
            gain = 0.5 * np.log(column(cells, "baseline") / column(cells, name))
            numbers[f"{title}: log improvement, bias {cells[0]['bias']:g}, radius {radius:g}"] = Measured(gain[0])
            if gain[0] > 0 > gain[-1]:
                crossing = float(np.interp(0, -gain, column(cells, "bias")))
                numbers[f"{title}: zero-improvement bias, radius {radius:g}"] = Measured(crossing)
    gap, error = column(rows, "mean") - column(rows, "exact"), column(rows, "standard_error")
    numbers["z of all cells' mean gap, Monte Carlo - exact"] = Measured(gap.sum() / np.sqrt(np.sum(error**2)), 1.0)
    return numbers


if __name__ == "__main__":
    main(Landscape, units, draw, summarise)
