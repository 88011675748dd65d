"""Selection by a verifier with a biased centre narrows a Gaussian, round by round, under three data policies."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from _gaussian import (
    Fit,
    Gaussian,
    Near,
    draw_rows,
    replace_log_volume,
    selected_path,
    selected_round,
    unverified_trace,
)
from figures.selection_bias import POLICIES, draw, summarise
from veriloop import (
    Accumulate,
    AccumulateSubsample,
    Constant,
    KeepAll,
    Key,
    Loop,
    Replace,
    SelectionBias,
    State,
    TopFraction,
)
from veriloop.study import BadInput, Config, NotNegatives, Positive, Rows, Unit, Whole, follow, main, spread


class Selection(Config):
    """Round 0 is the truth itself; every round adds n rows, all that were drawn or the best of n / fraction."""

    dim: Annotated[int, Field(ge=2)]
    n: Whole  # rows added a round, with and without selection
    fraction: Annotated[float, Field(gt=0, le=1)]  # kept by selection
    rounds: Whole
    replicates: Whole
    ridge: Positive  # on the diagonal of every refit
    truth: Literal["standard", "drawn"]  # drawn: mean, covariance and centre anew each replicate, as published
    bias: NotNegatives  # of the centre, in standard deviations; drawn: the deviation of half its coordinates

    @property
    def candidates(self) -> int:
        """What selection draws, so that it keeps n."""
        return round(self.n / self.fraction)


MEASURED = ("trace", "log_volume", "toward", "shift_toward", "spread_toward")


def arm(config: Selection, policy: str, bias: float | None) -> Rows:
    """Run one policy's replicates, with selection unless the bias is None, and average them by round."""
    runs = [_replicate(config, policy, bias, Key(config.seed).fold(i)) for i in range(config.replicates)]
    name = f"{policy}-unverified" if bias is None else f"{policy}-verified-bias{bias:g}"
    about = {"arm": name, "policy": policy, "verified": bias is not None, "bias": bias}
    about |= config.model_dump(include={"truth", "n", "fraction", "seed", "replicates"})
    limit = _limit(config, policy, bias)
    rows: Rows = []
    for k, each in enumerate(zip(*runs, strict=True)):
        row = about | {"round": k, "candidates": each[0]["candidates"], "kept": each[0]["kept"]}
        for number in MEASURED if k else MEASURED[:3]:
            row |= spread(number, np.array([run[number] for run in each]))
        expected = {key: [run[key] for run in each] for key in each[0] if key.startswith("expected_")}
        row |= {key: None if None in own else float(np.mean(own)) for key, own in expected.items()}
        rows.append(row | {"limit_trace": limit[k]})
    return rows


def _replicate(config: Selection, policy: str, bias: float | None, key: Key) -> Rows:
    """One run of the generic loop; arms share their draws, and distances are by the truth's own covariance."""
    verified = bias is not None
    truth, center = _truth(config, bias or 0.0, key.fold("truth"))
    root = np.linalg.cholesky(truth.covariance)
    away = np.linalg.solve(root, center - truth.mean)
    distance = float(np.linalg.norm(away))
    toward = away / distance if distance else np.eye(config.dim)[0]
    readout = np.linalg.solve(root.T, toward)  # of a row, how far it lies from the truth's mean towards the centre
    size, volume = np.trace(truth.covariance), np.linalg.slogdet(truth.covariance)[1]

    def measure(key: Key, model: Gaussian) -> dict[str, float]:
        return {
            "trace": float(np.trace(model.covariance) / size),
            "log_volume": float(np.linalg.slogdet(model.covariance)[1] - volume),
            "toward": float((model.mean - truth.mean) @ readout),
        }

    loop = Loop(
        generate=draw_rows,
        verify=Near(center, root) if verified else Constant(),
        filter=TopFraction(config.fraction) if verified else KeepAll(),
        refit=Fit(config.ridge),
        measure=measure,
        pool=_pool(policy, config.n),
        observe=SelectionBias(lambda rows: {"toward": (rows - truth.mean) @ readout}),
    )
    rows = follow(loop, key, State(truth), [config.candidates if verified else config.n] * config.rounds)
    line, ridge = root @ toward, config.ridge * config.dim / size
    expected = _expected(config, policy, verified, distance, float(line @ line / size), float(ridge))
    return [
        row | {f"expected_{name}": by_round[row["round"]] for name, by_round in expected.items()} for row in rows
    ]


def _truth(config: Selection, bias: float, key: Key) -> tuple[Gaussian, np.ndarray]:
    """Return the truth and the verifier's centre."""
    if config.truth == "standard":
        return Gaussian(np.zeros(config.dim), np.eye(config.dim)), bias * np.eye(config.dim)[0]
    random = key.numpy()
    mean, factor = random.standard_normal(config.dim), random.standard_normal((config.dim, config.dim))
    half = random.permutation(config.dim)[: config.dim // 2]
    center = mean.copy()
    center[half] += bias * random.standard_normal(len(half))
    return Gaussian(mean, factor @ factor.T + 0.1 * np.eye(config.dim)), center


def _pool(policy: str, n: int) -> Any:
    return {"replace": Replace(), "accumulate": Accumulate(), "subsample": AccumulateSubsample(n)}[policy]


def _expected(
    config: Selection, policy: str, verified: bool, distance: float, weight: float, ridge: float
) -> dict[str, list[float | None]]:
    """Exact expectations by round; None where there is none. weight: of the bias's direction in the trace."""
    rounds, unknown = config.rounds, [None] * config.rounds
    if verified:
        shift, along, across = selected_round(config.dim, distance, config.n, config.candidates)
        trace = across + (along - across) * weight + ridge
        first = {"trace": [1.0, trace], "log_volume": [0.0, None], "toward": [0.0, shift]}
        return {name: [*start, *unknown[1:]] for name, start in first.items()}
    volume = replace_log_volume(config.dim, config.n, rounds).tolist() if policy == "replace" else [0.0, *unknown]
    trace = unverified_trace(policy, config.n, rounds, ridge).tolist()
    return {"trace": trace, "log_volume": volume, "toward": [0.0] * (rounds + 1)}


def _limit(config: Selection, policy: str, bias: float | None) -> list[float | None]:
    """The trace by round as n goes to infinity, at a fixed fraction; of the standard truth only."""
    if bias is None:
        return [1.0] * (config.rounds + 1)
    if config.truth == "drawn":
        return [None] * (config.rounds + 1)
    path = selected_path(policy, config.dim, bias, config.fraction, config.rounds, config.ridge)
    return ((path[:, 1] + (config.dim - 1) * path[:, 2]) / config.dim).tolist()


def units(config: Selection) -> list[Unit]:
    """One unit a policy without selection, then one a policy and bias of the verifier's centre."""
    if config.n <= config.dim:
        raise BadInput(f"n: got {config.n}, must be at least dim + 1 = {config.dim + 1}")
    work = [(policy, bias) for bias in (None, *config.bias) for policy in POLICIES]
    names = [policy if bias is None else f"{policy}-bias{bias:g}" for policy, bias in work]
    return [Unit(name, config.rounds, arm, arguments) for name, arguments in zip(names, work, strict=True)]


if __name__ == "__main__":
    main(Selection, units, draw, summarise)
