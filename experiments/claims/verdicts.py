"""What the records at hand say of each claim: a statistic that could have failed, and a verdict.

A claim is tested on the run of one figure. Its findings are quantities with an interval, each held
to what the claim says of it. No finding, no verdict.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit

from claims.tables import Quantity, apart, last_round, moved, sample, shown, student
from figures.style import column, select, values
from veriloop.records import Records

HOLDS = "holds"
PARTLY = "partly"
NOT = "not"
UNTESTED = "not tested here"
ALONE = "no interval"
ALL_IMAGES = 60_000
FITTED = 30  # passes over its images after which a first model is taken for fitted
OPPOSITE = "the other way"
UNSURE = "no clear difference"


class Run(NamedTuple):
    """A finished run: its folder, what run.json says, and its records."""

    folder: Path
    about: Mapping[str, Any]
    records: Records


class Finding(NamedTuple):
    """A quantity, what the claim says of it, and whether its interval agrees.

    holds: None where there is no interval, as with one seed. why: what is said where it does not.
    """

    quantity: Quantity
    wanted: str
    holds: bool | None
    why: str = ""


class Published(NamedTuple):
    """Which of the authors' curves are drawn beside ours.

    metric: theirs, on a scale of its own. lines: their names. verified: "true", "false", or both.
    """

    metric: str
    lines: tuple[str, ...]
    verified: tuple[str, ...] = ("true",)


class Claim(NamedTuple):
    """A claim, how it is tested, and the findings of a run.

    ours: the setting that stands for the paper's.
    run: the name of the figure. find: its run -> findings.
    metric: what is drawn by round. None: the figure of the run shows it.
    theirs: the published curves of the claim.
    """

    text: str
    ours: str
    run: str
    find: Callable[[Run], Sequence[Finding]]
    metric: str | None = None
    theirs: Published | None = None


def verdict(findings: Sequence[Finding]) -> str:
    """Return one word for findings, of which those without an interval do not count.

    >>> held, failed = Finding(Quantity("a"), "", True), Finding(Quantity("b"), "", False)
    >>> verdict([held]), verdict([held, failed]), verdict([failed]), verdict([])
    ('holds', 'partly', 'not', 'not tested here')
    """
    told = [finding.holds for finding in findings if finding.holds is not None]
    if not told:
        return UNTESTED
    if all(told):
        return HOLDS
    if any(told):
        return PARTLY
    return NOT


def below(quantity: Quantity, bound: float = 0.0) -> Finding:
    """Hold a quantity to lie below a number with its whole interval."""
    half = _half(quantity)
    if half is None:
        return Finding(quantity, f"below {bound:g}", None, ALONE)
    why = OPPOSITE if quantity.value - half > bound else UNSURE
    return Finding(quantity, f"below {bound:g}", quantity.value + half < bound, why)


def above(quantity: Quantity, bound: float = 0.0) -> Finding:
    """Hold a quantity to lie above a number with its whole interval."""
    half = _half(quantity)
    if half is None:
        return Finding(quantity, f"above {bound:g}", None, ALONE)
    why = OPPOSITE if quantity.value + half < bound else UNSURE
    return Finding(quantity, f"above {bound:g}", quantity.value - half > bound, why)


def around(quantity: Quantity, wanted: float = 0.0) -> Finding:
    """Hold the interval of a quantity to contain a number."""
    half = _half(quantity)
    holds = None if half is None else abs(quantity.value - wanted) <= half
    why = ALONE if half is None else "outside"
    return Finding(quantity, f"{wanted:.4g} in the interval", holds, why)


def not_above(quantity: Quantity, bound: float) -> Finding:
    """Hold a quantity to a bound: its interval may not lie above."""
    half = _half(quantity)
    holds = None if half is None else quantity.value - half <= bound
    why = ALONE if half is None else "above it"
    return Finding(quantity, f"at most {bound:.4g}", holds, why)


def agreement(what: str, z: np.ndarray) -> list[Finding]:
    """Hold the largest of many z-scores to what chance allows, with a false alarm in 20."""
    z = z[np.isfinite(z)]
    if not len(z):
        return []
    largest = float(np.abs(z).max())
    allowed = float(-ndtri(0.025 / len(z)))
    quantity = Quantity(f"{what}: largest |z| of {len(z)}", largest, n=len(z))
    return [Finding(quantity, f"at most {allowed:.3g}", largest <= allowed, "above it")]


def _half(quantity: Quantity) -> float | None:
    """Return half of an interval, or None where there is none to judge by."""
    half = quantity.half
    if half is None or not math.isfinite(half) or not math.isfinite(quantity.value):
        return None
    return half


# The linear setting ------------------------------------------------------------------------------


def one_round(run: Run) -> list[Finding]:
    """The gap of simulation and exact theory, summed over the cells of a radius or a bias."""
    rows = list(run.records)
    scores: list[float] = []
    for name in ("radius", "bias"):
        for value in values(rows, name):
            cells = select(rows, **{name: value})
            gap = column(cells, "mean") - column(cells, "exact")
            error = np.sqrt(np.sum(column(cells, "standard_error") ** 2))
            scores.append(float(gap.sum() / error))
    return agreement("simulation - theory, by radius and by bias", np.array(scores))


def narrow_and_hardly_biased(run: Run) -> list[Finding]:
    """The error saved in one round at the least and the largest bias, at both ends of the radii."""
    rows = list(run.records)
    found: list[Finding] = []
    for radius in (values(rows, "radius")[0], values(rows, "radius")[-1]):
        cells = sorted(select(rows, radius=radius), key=lambda row: row["bias"])
        for cell, hold in ((cells[0], above), (cells[-1], below)):
            n = cell["replicates"]
            half = student(n) * cell["standard_error"]
            what = f"error saved at bias {cell['bias']:g}, radius {radius:g}"
            found.append(hold(Quantity(what, cell["baseline"] - cell["mean"], half, n)))
    return found


def plateau(run: Run) -> list[Finding]:
    """The bound in the last round, that it is flat before, and that a wide radius lies higher."""
    rows = [row for row in run.records if row["size"] == "constant" and row["radius"] is not None]
    last = max(row["round"] for row in rows)
    ends = sorted(select(rows, round=last, bias=0), key=lambda row: row["radius"])
    biased = select(rows, round=last, bias=values(rows, "bias")[-1])
    found: list[Finding] = []
    for row in (*ends, *biased):
        what = f"bias {row['bias']:g}, radius {row['radius']:g}: error to centre, round {last}"
        found.append(not_above(_of_row(row, "error_center", what), row["bound_center"]))
    for less, more in pairwise(ends):
        what = f"bias 0, error of radius {more['radius']:g} - {less['radius']:g}, round {last}"
        found.append(above(_apart(more, less, "error_center", what)))
    early = select(rows, round=last // 2, bias=0, radius=ends[0]["radius"])[0]
    what = f"bias 0, radius {early['radius']:g}: error in round {last} - round {last // 2}"
    return [*found, around(_apart(ends[0], early, "error_center", what))]


def regimes(run: Run) -> list[Finding]:
    """Gains over no verifier in the last round: without bias, and with the largest one."""
    rows = [row for row in run.records if row["radius"] is not None]
    last = max(row["round"] for row in rows)
    most = values(rows, "bias")[-1]
    radius = values(rows, "radius")[0]
    found: list[Finding] = []
    for size in values(rows, "size"):
        for bias, hold in ((0, above), (most, below)):
            row = select(rows, size=size, bias=bias, radius=radius, round=last)[0]
            what = f"{size} size, bias {bias:g}, radius {radius:g}: error saved, round {last}"
            found.append(hold(_of_row(row, "gain_truth", what)))
    return found


def random_walk(run: Run) -> list[Finding]:
    """The unverified error in the last round beside its law."""
    rows = [row for row in run.records if row["radius"] is None]
    last = max(row["round"] for row in rows)
    found: list[Finding] = []
    for size in values(rows, "size"):
        row = select(rows, size=size, bias=0, round=last)[0]
        quantity = _of_row(row, "error_truth", f"{size} size, unverified: error, round {last}")
        found.append(around(quantity, row["unfiltered_truth"]))
    return found


def _of_row(row: Mapping[str, Any], metric: str, what: str) -> Quantity:
    n = int(row["replicates"])
    return Quantity(what, row[metric], student(n) * row[f"{metric}_se"], n)


def _apart(one: Mapping[str, Any], other: Mapping[str, Any], metric: str, what: str) -> Quantity:
    """Return a difference; arms share their lots, so this interval is rather too wide."""
    n = int(one["replicates"])
    error = math.hypot(one[f"{metric}_se"], other[f"{metric}_se"])
    return Quantity(what, one[metric] - other[metric], student(n) * error, n)


# Digits ------------------------------------------------------------------------------------------


def _arms(run: Run, **wanted: str | int) -> list[str]:
    """Return the arms whose rows have some values, in order."""
    rows = run.records.select(**wanted)
    return list(rows.arms)


def _change(run: Run, arm: str, metric: str, since: int = 0, to: int = -1) -> Quantity:
    end = last_round(run.records, arm) if to == -1 else to
    what = f"{arm}, {metric}: round {end} - round {since}"
    return moved(run.records, what, arm, metric, since=since, to=to)


def digits_improve(run: Run) -> list[Finding]:
    """The distance of verified digits falls."""
    return [below(_change(run, arm, "mnist_fid")) for arm in _arms(run, verified=True)]


def digits_degrade(run: Run) -> list[Finding]:
    """The distance of unverified digits rises."""
    arms = [arm for arm in _arms(run, verified=False) if arm != "real"]
    return [above(_change(run, arm, "mnist_fid")) for arm in arms]


def paper_architecture(run: Run) -> list[Finding]:
    """The distance of verified digits of a convolutional model falls."""
    return [
        below(_change(run, arm, "mnist_fid")) for arm in _arms(run, verified=True, model="conv")
    ]


def schedules_against_fixed(run: Run) -> list[Finding]:
    """A growing schedule against each fixed one, where the run has both."""
    arms = _arms(run, verified=True)
    growing = [arm for arm in arms if " to " in arm]
    fixed = [arm for arm in arms if arm not in growing]
    found: list[Finding] = []
    for one in growing:
        for other in fixed:
            quantity = apart(run.records, f"{one} - {other}, mnist_fid", one, other, "mnist_fid")
            found.append(below(quantity))
    return found


def larger_verifier(run: Run) -> list[Finding]:
    """NELBO and distance of every size beside those of the next smaller one."""
    found: list[Finding] = []
    for less, more in pairwise(_arms(run, verified=True)):
        for metric in ("nelbo", "mnist_fid"):
            what = f"{more} - {less}, {metric}: the end"
            found.append(below(apart(run.records, what, more, less, metric)))
    return found


def all_images_made_worse(run: Run) -> list[Finding]:
    """NELBO and distance of the verified arm rise from a first model of 60,000 images.

    A first model that is fitted for few passes over its images is worse than it could be, and any
    refit may better it. So such a run tests nothing.
    """
    found: list[Finding] = []
    if _passes(run.about["config"]["first"], ALL_IMAGES) < FITTED:
        return found
    for arm in _arms(run, verified=True, initial=ALL_IMAGES):
        for metric in ("nelbo", "mnist_fid"):
            found.append(above(_change(run, arm, metric)))
    return found


def _passes(fit: Mapping[str, Any], images: int) -> float:
    """Return how often a fit passes over so many images at most."""
    if fit["steps"] is None:
        return fit["epochs"]
    return fit["steps"] * fit["batch"] / images


def nelbo_goes_back(run: Run) -> list[Finding]:
    """NELBO falls in round 1, and rises from there."""
    found: list[Finding] = []
    for arm in _arms(run, verified=True):
        found.append(below(_change(run, arm, "nelbo", to=1)))
        found.append(above(_change(run, arm, "nelbo", since=1)))
    return found


def nelbo_falls(run: Run) -> list[Finding]:
    """NELBO of verified arms falls."""
    return [below(_change(run, arm, "nelbo")) for arm in _arms(run, verified=True)]


def trained_once(run: Run) -> list[Finding]:
    """NELBO and distance of verifiers that are trained once, against no verifier."""
    none = _arms(run, verified=False)[0]
    found: list[Finding] = []
    for way in ("once", "on many"):
        for arm in _arms(run, trained=way):
            for metric in ("nelbo", "mnist_fid"):
                what = f"{arm} - {none}, {metric}: the end"
                found.append(below(apart(run.records, what, arm, none, metric)))
    return found


def quality_and_diversity(run: Run) -> list[Finding]:
    """Label agreement rises; recall and coverage fall."""
    found: list[Finding] = []
    for arm in _arms(run, verified=True):
        found.append(above(_change(run, arm, "agreement")))
        found += [below(_change(run, arm, metric)) for metric in ("recall", "coverage")]
    return found


# Summaries ---------------------------------------------------------------------------------------


def _by_corpus(run: Run) -> Records:
    """Return one row a filtering, rule, corpus and round: the mean over the models."""
    samples: dict[tuple[str, int, int], list[float]] = {}
    for row in run.records:
        place = (f"{row['filtering']}, {row['rule']}", row["seed"], row["round"])
        samples.setdefault(place, []).append(row["rouge1"])
    rows: list[dict[str, Any]] = []
    for (arm, seed, k), numbers in samples.items():
        rows.append({"arm": arm, "seed": seed, "round": k, "rouge1": float(np.mean(numbers))})
    return Records(rows)


def _changes(run: Run, filtering: str, growing: bool) -> Iterator[Quantity]:
    rows = _by_corpus(run)
    for arm in rows.arms:
        if arm.startswith(f"{filtering},") and ("growing" in arm) == growing:
            last = last_round(rows, arm)
            yield moved(rows, f"{arm}, rouge1: round {last} - round 0", arm, "rouge1")


def filtered_constant(run: Run) -> list[Finding]:
    """ROUGE-1 of filtered arms rises while as many are kept."""
    return [above(change) for change in _changes(run, "filtered", False)]


def filtered_growing(run: Run) -> list[Finding]:
    """ROUGE-1 of filtered arms rises while more are kept."""
    return [above(change) for change in _changes(run, "filtered", True)]


def unfiltered(run: Run) -> list[Finding]:
    """The largest step up and the largest step down from one round to the next.

    Their intervals are as wide as picking them among all steps asks for.
    """
    rows = _by_corpus(run)
    found: list[Finding] = []
    for arm in rows.arms:
        if not arm.startswith("unfiltered,") or "growing" in arm:
            continue
        steps: list[np.ndarray] = []
        for k in range(1, last_round(rows, arm) + 1):
            steps.append(sample(rows, arm, "rouge1", k) - sample(rows, arm, "rouge1", k - 1))
        means = [float(step.mean()) for step in steps]
        found.append(above(_step(arm, steps, int(np.argmax(means)))))
        found.append(below(_step(arm, steps, int(np.argmin(means)))))
    return found


def _step(arm: str, steps: Sequence[np.ndarray], place: int) -> Quantity:
    step = steps[place]
    n = len(step)
    half = None
    if n > 1:
        reach = float(stdtrit(n - 1, 1 - 0.025 / len(steps)))
        half = reach * float(step.std(ddof=1)) / math.sqrt(n)
    what = f"{arm}, rouge1: round {place + 1} - round {place}, picked of {len(steps)}"
    return Quantity(what, float(step.mean()), half, n)


# Closed forms ------------------------------------------------------------------------------------


def closed_forms(run: Run) -> list[Finding]:
    """Every number of the run's figure that has a closed form, beside it."""
    figure = importlib.import_module(f"figures.{run.about['experiment']}")
    scores: list[float] = []
    for number in figure.summarise(list(run.records)).values():
        if number.expected is not None and number.standard_error:
            scores.append((number.value - number.expected) / number.standard_error)
    return agreement("measured - closed form", np.array(scores))


MLP = "a fully connected model, and the distance of a feature network of our own"
EXACT = "a model whose expected path is known, simulated"
REPORTS = "a small language model and written reports in place of XSum"
CLAIMS = (
    Claim("Theorem 3.1: the error of one round", "the same setting", "linear_landscape", one_round),
    Claim(
        "Synthetic data beat real data if the verifier is narrow and hardly biased",
        "the same setting",
        "linear_landscape",
        narrow_and_hardly_biased,
    ),
    Claim(
        "Theorem 4.1: a plateau at the verifier's centre, whose radius sets its height",
        "sizes and radii of our own",
        "linear_rounds",
        plateau,
    ),
    Claim(
        "Without bias the verifier helps to the end; with a large bias it ends in harm",
        "sizes and radii of our own",
        "linear_rounds",
        regimes,
    ),
    Claim(
        "Without a verifier the error is a random walk",
        "sizes and radii of our own",
        "linear_rounds",
        random_walk,
    ),
    Claim(
        "Verified digits improve over the rounds",
        MLP,
        "mnist_schedules",
        digits_improve,
        "mnist_fid",
        Published("mnist_fid", ("20k",)),
    ),
    Claim(
        "They do so with the paper's architecture",
        "one round of a convolutional model",
        "mnist_refit_length",
        paper_architecture,
    ),
    Claim(
        "Growing schedules beat fixed ones",
        MLP,
        "mnist_schedules",
        schedules_against_fixed,
    ),
    Claim(
        "Unverified digits degrade",
        MLP,
        "mnist_schedules",
        digits_degrade,
        "mnist_fid",
        Published("fid", ("20k",), ("false",)),
    ),
    Claim(
        "A verifier that knows more images is better",
        MLP,
        "mnist_verifier_size",
        larger_verifier,
        "nelbo",
        Published("mnist_fid", ("500", "5000", "20000", "60000")),
    ),
    Claim(
        "From a model of all images, verifying makes it worse",
        MLP + ", where the first model is fitted for 30 passes or more",
        "mnist_initial_size",
        all_images_made_worse,
        "mnist_fid",
        Published("fid", ("60000",), ("true", "false")),
    ),
    Claim(
        "NELBO gains early, then goes back",
        MLP,
        "mnist_schedules",
        nelbo_goes_back,
        "nelbo",
        Published("nelbo", ("10k to 256k",)),
    ),
    Claim(
        "NELBO falls as more is kept",
        MLP,
        "mnist_elbo",
        nelbo_falls,
        "nelbo",
        Published("nelbo", ("5k more each",)),
    ),
    Claim(
        "One strong verifier, trained once, works",
        MLP,
        "mnist_fixed_verifier",
        trained_once,
        "nelbo",
    ),
    Claim(
        "Quality goes up, diversity down",
        MLP,
        "mnist_schedules",
        quality_and_diversity,
        "recall",
    ),
    Claim("Filtered summaries rise, then stay", REPORTS, "xsum_rouge", filtered_constant),
    Claim("They do so under the growing rule", REPORTS, "xsum_rouge", filtered_growing),
    Claim("Unfiltered summaries fluctuate", REPORTS, "xsum_rouge", unfiltered),
    Claim("Closed forms hold: data policies", EXACT, "linear_policies", closed_forms),
    Claim("Closed forms hold: spread singular values", EXACT, "linear_spectrum", closed_forms),
    Claim("Closed forms hold: noisy verifiers", EXACT, "noisy_verifier", closed_forms),
    Claim("Closed forms hold: curation of rewards", EXACT, "curation", closed_forms),
    Claim("Closed forms hold: biased selection", EXACT, "selection_bias", closed_forms),
)


def told(finding: Finding) -> list[str]:
    """Return a finding's cells: the quantity, its number, what is wanted, n, and the reading."""
    quantity = finding.quantity
    count = "" if quantity.n is None else f"{quantity.n:,}"
    reading = finding.why
    if finding.holds is not None:
        reading = "yes" if finding.holds else f"no, {finding.why}"
    return [quantity.what, shown(quantity.value, quantity.half), count, finding.wanted, reading]
