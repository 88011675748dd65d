"""Data policies of the literature, each with and without the verifier, against their closed forms."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from _config import BadInput, Config, NotNegative, Positive, Share, Whole
from _plot import COLORS, GREY, band, column, panels, plt, select
from _run import Measured, Rows, Unit, main
from veriloop import (
    Accumulate,
    AccumulateSubsample,
    Constant,
    FreshReal,
    Key,
    Loop,
    MixReal,
    Quota,
    Replace,
    State,
    Threshold,
    build,
    run,
)
from veriloop.linear import Errors, FixedDesign, Generate, KnowledgeBall, WeightedReal, least_squares

POLICIES = ("replace", "accumulate", "subsample", "mix", "fresh")


class Policies(Config):
    """One real design a replicate, relabelled every round; `sizes` rows are kept each round."""

    dim: Annotated[int, Field(ge=2)]
    sizes: Whole
    budget: Whole  # the most candidates a round may draw
    rounds: Whole
    replicates: Whole
    noise: Positive
    radius: NotNegative
    bias: NotNegative
    weights: list[Share]  # shares of fresh real data to sweep
    verifier: dict[str, Any] | None = None  # {call: module:name, ...} in place of the knowledge ball


def arm(config: Policies, policy: str, weight: float | None, verified: bool) -> Rows:
    """Run one policy's replicates and average them by round."""
    runs = [
        _replicate(config, policy, weight, verified, Key(config.seed).fold(i)) for i in range(config.replicates)
    ]
    kind = "verified" if verified else "unverified"
    about = {"arm": f"{policy}{'' if weight is None else weight}-{kind}", "policy": policy, "verified": verified}
    about |= {"weight": weight, "seed": config.seed, "replicates": config.replicates}
    forms = None if verified else _closed_form(policy, weight, config)
    rows = []
    for k, each in enumerate(zip(*runs, strict=True)):
        row = about | {"round": k} | {name: float(np.mean([one[name] for one in each])) for name in each[0]}
        error = np.array([one["error_truth"] for one in each])
        row["error_truth_se"] = error.std(ddof=1) / np.sqrt(len(error)) if len(error) > 1 else np.nan
        row["error_truth_low"], row["error_truth_high"] = np.quantile(error, [0.05, 0.95])
        rows.append(row | {"closed_form": None if forms is None else forms[k]})
    return rows


def _replicate(config: Policies, policy: str, weight: float | None, verified: bool, key: Key) -> Rows:
    """One run of the generic loop; arms share the real data and every candidate's random lots."""
    n, noise = config.sizes, config.noise
    truth = np.ones(config.dim)
    center = truth + config.bias * _unit(key.fold("direction").numpy().standard_normal(config.dim))
    real_x = key.fold("design").numpy().standard_normal((n, config.dim))
    write = Generate(FixedDesign(real_x), noise)
    measure, label = Errors(truth, center, noise), partial(_label, write, truth)
    real = label(key.fold("real"), n)
    ball = KnowledgeBall(center, config.radius, noise * np.sqrt(2 / np.pi))
    loop = Loop(
        generate=write,
        verify=(build(config.verifier) if config.verifier else ball) if verified else Constant(),
        filter=Threshold(0.0),
        refit=least_squares,
        measure=measure,
        pool=_pool(policy, weight, real, label, n),
    )
    start = State(least_squares(key, truth, real), past=(real,))
    rounds = run(loop, key, start, [Quota(n, budget=config.budget)] * config.rounds)
    first = {"candidates": 0, "kept": 0, **measure(key, start.model)}
    return [first, *({"candidates": r.candidates, "kept": r.kept, **r.metrics} for _, r in rounds)]


def _label(write: Generate, truth: np.ndarray, key: Key, n: int) -> Any:
    return write(key, truth, n)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def _pool(policy: str, weight: float | None, real: Any, label: Any, n: int) -> Any:
    if weight is not None:
        return WeightedReal(label, n, weight)
    pools = {"replace": Replace(), "accumulate": Accumulate(), "subsample": AccumulateSubsample(n)}
    return pools.get(policy) or (MixReal(real, 0.5) if policy == "mix" else FreshReal(label, n))


def _closed_form(policy: str, weight: float | None, config: Policies) -> list[float] | None:
    """The unverified expectation of error_truth by round, for one design relabelled, averaged over designs.

    With v = d / (n - d - 1), the error of one fit: replace (k + 1) v and accumulate v * sum 1/i^2 (Gerstgrasser et
    al., 2024); half fixed real data v (1 + (1 - 4^-k) / 3); real share w renewed each round
    v_{k+1} = w^2 v + (1 - w)^2 (v + v_k), least in the limit at w = (sqrt(5) - 1) / 2 (He, Xu and Cheng, 2025).
    """
    v = config.dim / (config.sizes - config.dim - 1)
    k = np.arange(config.rounds + 1)
    if policy == "replace":
        return list(v * (k + 1))
    if policy == "accumulate":
        return list(v * np.cumsum(1 / (k + 1.0) ** 2))
    if policy == "mix":
        return list(v * (1 + (1 - 0.25**k) / 3))
    if policy == "subsample":
        return None
    share, path = weight or 0.5, [v]
    for _ in k[1:]:
        path.append(share**2 * v + (1 - share) ** 2 * (v + path[-1]))
    return path


def units(config: Policies) -> list[Unit]:
    """One unit an arm: the policies, then the sweep over the real share."""
    if config.budget < config.sizes:
        raise BadInput(f"budget: got {config.budget}, must be at least sizes, the {config.sizes} rows kept a round")
    if config.sizes < config.dim + 2:
        raise BadInput(f"sizes: got {config.sizes}, must be at least dim + 2 = {config.dim + 2}")
    try:
        build(config.verifier) if config.verifier else None
    except ValueError as error:
        raise BadInput(f"verifier: {error}") from None
    arms = [(policy, None) for policy in POLICIES] + [("weight", weight) for weight in config.weights]
    return [
        Unit(
            f"{policy}{weight or ''}-{'verified' if verified else 'unverified'}",
            config.rounds,
            arm,
            (policy, weight, verified),
        )
        for policy, weight in arms
        for verified in (False, True)
    ]


LABELS = ("replace", "accumulate", "accumulate, subsample", "half fixed real", "half fresh real")


def draw(rows: Rows) -> plt.Figure:
    """Errors by round, unverified and verified, and the last round's error against the share of real data."""
    figure, axes = panels(1, 3, height=2.7)
    for panel, verified in zip(axes[0], (False, True), strict=False):
        for color, policy, label in zip(COLORS, POLICIES, LABELS, strict=False):
            arm_rows = select(rows, policy=policy, verified=verified)
            x = column(arm_rows, "round")
            band(panel, x, arm_rows, "error_truth", color=color, label=label)
            panel.plot(x, column(arm_rows, "closed_form"), "--", color="black", lw=0.8)
        panel.set(title="verified" if verified else "unverified", xlabel="round $k$", yscale="log")
    axes[0, 0].set_ylabel(r"$\|\hat\theta_k-\theta_*\|^2/\sigma^2$")
    limits = [limit for panel in axes[0, :2] for limit in panel.get_ylim()]
    for panel in axes[0, :2]:
        panel.set_ylim(min(limits), max(limits))
    _sweep(axes[0, 2], rows)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    handles += [
        plt.Line2D([], [], color="black", ls="--", lw=0.8),
        plt.Rectangle((0, 0), 1, 1, color="black", alpha=0.12),
    ]
    labels += ["closed form", f"middle 90 % of n = {rows[0]['replicates']}"]
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _sweep(panel: Any, rows: Rows) -> None:
    last = [row for row in select(rows, policy="weight") if row["round"] == rows[-1]["round"]]
    for verified, color, label in ((False, GREY, "unverified"), (True, COLORS[0], "verified")):
        arm_rows = sorted(select(last, verified=verified), key=lambda row: row["weight"])
        x, error = column(arm_rows, "weight"), 1.96 * column(arm_rows, "error_truth_se")
        panel.errorbar(
            x, column(arm_rows, "error_truth"), error, fmt="o", ms=3, color=color, label=label, capsize=2
        )
        panel.plot(x, column(arm_rows, "closed_form"), "--", color="black", lw=0.8)
    panel.axvline((np.sqrt(5) - 1) / 2, color="black", ls=":", lw=0.8, label="golden ratio")
    panel.set(title=f"fresh real data, round {rows[-1]['round']}", xlabel="weight of the real rows")
    panel.legend()


def summarise(rows: Rows) -> dict[str, Measured]:
    """The last round of every policy, as a multiple of the real-data estimate's error in closed form."""
    unit = select(rows, policy="replace", verified=False, round=0)[0]["closed_form"]
    last = [row for row in rows if row["round"] == rows[-1]["round"] and row["weight"] is None]
    numbers = {}
    for row in last:
        form = None if row["closed_form"] is None else row["closed_form"] / unit
        ratio = Measured(row["error_truth"] / unit, row["error_truth_se"] / unit, form)
        numbers[f"{row['arm']}: error to truth / real data's, round {row['round']}"] = ratio
    sweep = [row for row in select(rows, policy="weight", verified=False) if row["round"] == rows[-1]["round"]]
    if sweep:
        best = min(sweep, key=lambda row: row["error_truth"])
        numbers["best weight of real rows, unverified"] = Measured(best["weight"], expected=(np.sqrt(5) - 1) / 2)
    return numbers


if __name__ == "__main__":
    main(Policies, units, draw, summarise)
