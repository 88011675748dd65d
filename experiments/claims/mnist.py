"""The tables of docs/results/mnist.md: arms from round 0 to the end, and differences in pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from claims.tables import (
    RESULTS,
    Quantity,
    Table,
    Tables,
    apart,
    arms,
    counted,
    last_round,
    moved,
    over,
    p_value,
    plain,
    quantities,
    records,
    sample,
    shown,
    since_best,
    table,
)
from figures.mnist_published import Compared, compared, theirs
from veriloop.records import Records

MAIN = ("mnist_fid", "agreement", "nelbo")
VARIETY = ("recall", "diversity", "coverage", "entropy")
EVERY = (*MAIN, "reconstruction", "kl", "precision", *VARIETY)


def schedules(name: str) -> list[Table]:
    """Both arms, a model of all real images, NELBO by round, and how many are accepted."""
    rows = records(name)
    verified = "20k-verified"
    unverified = "20k-unverified"
    compared = {verified: unverified, unverified: None}
    if name != "mnist_schedules":
        return [arms(rows, compared, MAIN)]
    tables = [arms(rows, compared, MAIN + VARIETY)]
    found = [over(f"real data, {metric}", sample(rows, "real", metric, 0)) for metric in MAIN]
    for arm in (verified, unverified):
        found.append(over(f"{arm}, nelbo: round 1", sample(rows, arm, "nelbo", 1)))
    found.append(moved(rows, f"{verified}, nelbo: round 10 - round 1", verified, "nelbo", since=1))
    what = "verified - unverified, nelbo: round 1"
    found.append(apart(rows, what, verified, unverified, "nelbo", 1))
    found += _judged(rows, verified) + _accepted(rows, verified)
    return [*tables, quantities(found)]


def verifier_size(name: str) -> list[Table]:
    """Every size against no verifier, and each against the next smaller one."""
    rows = records(name)
    sizes = [arm for arm in rows.arms if arm != "20k-unverified"]
    tables = [arms(rows, dict.fromkeys(sizes, "20k-unverified") | {"20k-unverified": None}, MAIN)]
    steps = []
    for less, more in pairwise(sizes):
        for metric in MAIN:
            steps.append(apart(rows, f"{more} - {less}, {metric}: the end", more, less, metric))
    steps += [
        moved(rows, f"{arm}, nelbo: the end - round 1", arm, "nelbo", since=1) for arm in sizes
    ]
    return [*tables, quantities(steps)]


def initial_size(name: str) -> list[Table]:
    """Every first model, verified and not, and the largest against the smallest."""
    rows = records(name)
    tables = [arms(rows, _without_verifier(rows), MAIN)]
    few = rows.arms[0]
    many = rows.arms[-2]
    found = []
    for metric in MAIN:
        for k, when in ((0, "round 0"), (1, "round 1"), (-1, "the end")):
            found.append(apart(rows, f"{many} - {few}, {metric}: {when}", many, few, metric, k))
        few_without = few.replace("-verified", "-unverified")
        many_without = many.replace("-verified", "-unverified")
        what = f"{many_without} - {few_without}, {metric}: the end"
        found.append(apart(rows, what, many_without, few_without, metric))
        gained = _gap(rows, many, many_without, metric) - _gap(rows, few, few_without, metric)
        what = f"verified - unverified, {many} - {few}, {metric}: the end"
        found.append(over(what, gained))
    for arm in rows.select(verified=True).arms:
        found.append(moved(rows, f"{arm}, nelbo: round 1 - round 0", arm, "nelbo", to=1))
    return [*tables, quantities(found)]


def _without_verifier(rows: Records) -> dict[str, str | None]:
    """Return for each verified arm the one without a verifier, for all others None."""
    other: dict[str, str | None] = {}
    for arm in rows.arms:
        other[arm] = None
        if arm.endswith("-verified"):
            other[arm] = arm.replace("-verified", "-unverified")
    return other


def fitted_start(name: str) -> list[Table]:
    """Both arms from a first model of all images, fitted to its end, and from a short fit."""
    rows = records(name)
    verified, unverified = rows.arms
    tables = [arms(rows, {verified: unverified, unverified: None}, MAIN + VARIETY)]
    found = []
    for metric in MAIN:
        for arm in (verified, unverified):
            found.append(moved(rows, f"{arm}, {metric}: round 1 - round 0", arm, metric, to=1))
            what = f"{arm}, {metric}: the end - round 1"
            found.append(moved(rows, what, arm, metric, since=1))
    seeds = set(rows.seeds)
    short = Records([row for row in records("mnist_initial_size") if row["seed"] in seeds])
    for metric in MAIN:
        for k, when in ((0, "round 0"), (-1, "the end")):
            longer = sample(rows, verified, metric, k) - sample(short, verified, metric, k)
            found.append(over(f"long fits - short fits, {verified}, {metric}: {when}", longer))
    for metric in EVERY:
        few = sample(short, "20k-initial1000-verified", metric, 0)
        more = sample(rows, verified, metric, 0) - few
        found.append(over(f"first models, 60,000 images - 1,000, {metric}", more))
    return [*tables, quantities(found)]


def elbo(name: str) -> list[Table]:
    """Both arms, and where the verified one is lowest."""
    rows = records(name)
    verified = "5k more each-verified"
    unverified = "5k more each-unverified"
    metrics = ("nelbo", "reconstruction", "mnist_fid")
    tables = [arms(rows, {verified: unverified, unverified: None}, metrics)]
    curve = rows.mean(verified, "nelbo")
    lowest = int(curve.round[np.argmin(curve.mean)])
    what = f"{verified}, nelbo: round {lowest}, the lowest"
    found = [over(what, sample(rows, verified, "nelbo", lowest))]
    for metric in ("nelbo", "reconstruction"):
        for since in (1, lowest):
            what = f"{verified}, {metric}: the end - round {since}"
            if since != last_round(rows, verified):
                found.append(moved(rows, what, verified, metric, since=since))
        found.append(since_best(rows, verified, metric, lowest=True))
    return [*tables, quantities(found)]


def fixed_verifier(name: str) -> list[Table]:
    """Every way to train against no verifier, the first round, and the verifier's own accuracy."""
    rows = records(name)
    ways = ("20k-each round", "20k-once", "20k-on many")
    compared = dict.fromkeys(ways, "20k-unverified") | {"20k-unverified": None}
    tables = [arms(rows, compared, MAIN)]
    found = []
    for arm in ways:
        for metric in ("mnist_fid", "nelbo"):
            what = f"{arm} - 20k-unverified, {metric}: round 1"
            found.append(apart(rows, what, arm, "20k-unverified", metric, 1))
        found += _judged(rows, arm)
    return [*tables, quantities(found)]


def refit_length(name: str) -> list[Table]:
    """One round of every length: against round 0, against no verifier, and with real images."""
    rows = records(name)
    tables = []
    for model in ("conv", "mlp"):
        compared: dict[str, str | None] = {}
        found = []
        for steps in (500, 1500, 4000):
            arm = f"20k-{model}-{steps}"
            compared |= {f"{arm}-verified": f"{arm}-unverified", f"{arm}-unverified": None}
            for metric in ("mnist_fid", "nelbo"):
                real = sample(rows, f"{arm}-real", metric, 0)
                start = sample(rows, f"{arm}-verified", metric, 0)
                found.append(over(f"{arm}-real - round 0, {metric}", real - start))
        tables += [arms(rows, compared, ("mnist_fid", "nelbo")), quantities(found)]
    return tables


def policies(name: str) -> list[Table]:
    """Every policy, verified and not, against replacing, and half real data against verifying."""
    rows = records(name)
    names = ("replace", "accumulate", "subsample", "mix 0.5")
    compared: dict[str, str | None] = {}
    for policy in names:
        compared[f"10k-{policy}-verified"] = f"10k-{policy}-unverified"
        compared[f"10k-{policy}-unverified"] = None
    found = []
    for policy in names[1:]:
        for kind in ("unverified", "verified"):
            one = f"10k-{policy}-{kind}"
            other = f"10k-replace-{kind}"
            found += [
                apart(rows, f"{one} - {other}, {metric}", one, other, metric) for metric in MAIN
            ]
    one = "10k-mix 0.5-unverified"
    other = "10k-replace-verified"
    found += [apart(rows, f"{one} - {other}, {metric}", one, other, metric) for metric in MAIN]
    looks = len(found)
    for metric in ("mnist_fid", "nelbo"):
        p = p_value(_gap(rows, one, other, metric))
        what = f"{one} - {other}, {metric}: p, of {looks} comparisons"
        found.append(Quantity(what, p, n=len(rows.seeds)))
    found.append(Quantity(f"0.05 / {looks}: the p that {looks} comparisons ask for", 0.05 / looks))
    return [arms(rows, compared, MAIN), quantities(found)]


def same_data(name: str) -> list[Table]:
    """Every pair of sizes against no verifier, and against one another, end against end."""
    rows = records(name)
    none = "20k-initial500-verifiernone"
    none_8000 = "20k-initial8000-verifiernone"
    own = "20k-initial500-verifier500"
    more = "20k-initial500-verifier8000"
    first = "20k-initial8000-verifier8000"
    compared = {own: none, more: none, first: none_8000, none: None, none_8000: None}
    found = []
    for one, other in ((more, own), (more, first)):
        for metric in MAIN:
            found.append(apart(rows, f"{one} - {other}, {metric}: the end", one, other, metric))
    for metric in MAIN:
        grown = sample(rows, more, metric, -1) - sample(rows, first, metric, 0)
        found.append(over(f"{more}, the end - {first}, round 0, {metric}", grown))
    return [arms(rows, compared, MAIN), quantities(found)]


def evolving(name: str) -> list[Table]:
    """Compare every way to train with no verifier, and with a new one every round."""
    rows = records(name)
    none = "10k-unverified"
    anew = "10k-retrained"
    ways = [arm for arm in rows.arms if arm != none]
    found = []
    for arm in ways:
        for metric in MAIN:
            if arm != anew:
                found.append(apart(rows, f"{arm} - {anew}, {metric}: the end", arm, anew, metric))
    for arm, metric in (("10k-continued", "mnist_fid"), ("10k-grown", "agreement")):
        p = p_value(_gap(rows, arm, anew, metric))
        found.append(Quantity(f"{arm} - {anew}, {metric}: p, of nine comparisons", p, n=3))
    for arm in ways:
        found += _judged(rows, arm)
    other = sample(records("mnist_elbo-laptop"), "5k more each-unverified", "mnist_fid", 0)
    what = "round 0, mnist_fid: this run's feature network - that of mnist_elbo-laptop"
    found.append(over(what, sample(rows, none, "mnist_fid", 0) - other))
    return [arms(rows, dict.fromkeys(ways, none) | {none: None}, MAIN), quantities(found)]


def _gap(rows: Records, one: str, other: str, metric: str) -> np.ndarray:
    """Return how far two arms end apart, seed by seed."""
    return sample(rows, one, metric, -1) - sample(rows, other, metric, -1)


def _judged(rows: Records, arm: str) -> list[Quantity]:
    """Return a verifier's accuracy, and the fraction of candidates it accepts, first and last."""
    found = []
    for metric, words in (("verifier_accuracy", "accuracy"), ("passed", "acceptance")):
        for k in (1, last_round(rows, arm)):
            what = f"{arm}, verifier's {words}: round {k}"
            found.append(over(what, sample(rows, arm, metric, k)))
    return found


def _accepted(rows: Records, arm: str) -> list[Quantity]:
    """Return the range of the acceptance over rounds, and over rounds and seeds."""
    rounds = range(1, last_round(rows, arm) + 1)
    each = np.array([sample(rows, arm, "passed", k) for k in rounds])
    by_round = each.mean(axis=1)
    n = each.shape[1]
    text = f"{by_round.min():.3f} to {by_round.max():.3f}, mean {each.mean():.3f}"
    whole = Quantity(f"{arm}, acceptance: means of rounds", n=n, text=text)
    text = f"{each.min():.3f} to {each.max():.3f}"
    return [whole, Quantity(f"{arm}, acceptance: single rounds of single seeds", n=n, text=text)]


def selection(name: str) -> list[Table]:
    """Compare every filter with none, and with the top fraction of each digit."""
    rows = records(name)
    size = rows[0]["arm"].split("-")[0]
    none = f"{size}-unverified"
    top = f"{size}-top"
    others = tuple(f"{size}-{rule}" for rule in ("threshold", "weight 1", "weight 4"))
    compared: dict[str, str | None] = dict.fromkeys((top, *others), none)
    compared[none] = None
    found = []
    for one in others:
        found += [apart(rows, f"{one} - {top}, {metric}", one, top, metric) for metric in MAIN]
    return [arms(rows, compared, MAIN), quantities(found)]


# The authors' models: schedule, number of first images and round of their published numbers, and
# their MNIST-FID v2 where it was published.
MODELS = {
    "real-500": ("5k more each", 500, 0, "430 to 461"),
    "real-60000": ("20k", 60_000, 0, ""),
    "verified-5k-round50": ("5k more each", 500, 50, ""),
    "verified-30k-round40": ("30k more each", 500, 40, ""),
}

PAIRS = (
    ("verified-30k-round40", "real-60000"),
    ("verified-5k-round50", "real-60000"),
    ("verified-5k-round50", "verified-30k-round40"),
)


def published_models(name: str) -> list[Table]:
    """Every model of the authors by each training of their feature network, beside their values."""
    rows = records(name)
    header = ["arm", "n", "mnist_fid_v2", "each training", "published"]
    header += ["nelbo", "published nelbo", "published fid"]
    lines = []
    for arm in rows.arms:
        values = sample(rows, arm, "mnist_fid_v2", 0)
        distance = over("", values)
        each = ", ".join(plain(float(value)) for value in values)
        cells = [arm, counted(distance.n), shown(distance.value, distance.half), each]
        if arm in MODELS:
            size, n, k, known = MODELS[arm]
            total = f"{sample(rows, arm, 'nelbo', 0).mean():.2f}"
            cells += [known, total, _theirs(size, n, k, "nelbo"), _theirs(size, n, k, "fid")]
        else:
            cells += ["", "", "", ""]
        lines.append(cells)
    accuracy = sample(rows, rows.arms[0], "accuracy", 0)
    found = [over("accuracy of the feature network on test images", accuracy)]
    for one, other in PAIRS:
        gap = sample(rows, one, "mnist_fid_v2", 0) - sample(rows, other, "mnist_fid_v2", 0)
        found.append(over(f"{one} - {other}, mnist_fid_v2", gap))
    return [table(header, lines), quantities(found)]


def _theirs(size: str, n: int, k: int, metric: str) -> str:
    """Return one published number of a verified arm, as it is shown; nothing if there is none."""
    for row in theirs(size, n, verified=True, metric=metric):
        if row["round"] == k:
            return f"{row['value']:.2f}"
    return ""


def published(name: str) -> list[Table]:
    """Every published number beside ours; all arms, and how the verified ones move by round."""
    rows = records(name)
    found = []
    for arm in rows.select(verified=True).arms:
        for metric in ("nelbo", "reconstruction", "mnist_fid"):
            for k in range(1, last_round(rows, arm) + 1):
                what = f"{arm}, {metric}: round {k} - round {k - 1}"
                found.append(moved(rows, what, arm, metric, since=k - 1, to=k))
    metrics = (*MAIN, "reconstruction", "kl")
    tables = [beside(compared(list(rows))), arms(rows, _without_verifier(rows), metrics)]
    return [*tables, quantities(found)]


def beside(found: Sequence[Compared]) -> Table:
    """Return a table of published numbers, each with ours, z, and whether seeds explain the gap."""
    header = ["arm", "metric", "round", "n", "published", "measured", "z", "verdict"]
    words = {None: "one seed", True: "within seed noise", False: "differs"}
    lines = []
    for each in found:
        ours = over("", each.sample)
        z = ""
        if each.z is not None:
            z = f"{each.z:+.1f}"
        cells = [each.arm, each.metric, str(each.round), counted(ours.n), plain(each.theirs)]
        lines.append([*cells, shown(ours.value, ours.half), z, words[each.within]])
    return table(header, lines)


RUNS: dict[str, Tables] = {
    "mnist_schedules": schedules,
    "mnist_schedules-laptop": schedules,
    "mnist_verifier_size": verifier_size,
    "mnist_verifier_size-laptop": verifier_size,
    "mnist_initial_size": initial_size,
    "mnist_initial_size-laptop": initial_size,
    "mnist_initial_size-fitted": fitted_start,
    "mnist_elbo": elbo,
    "mnist_elbo-laptop": elbo,
    "mnist_fixed_verifier": fixed_verifier,
    "mnist_fixed_verifier-laptop": fixed_verifier,
    "mnist_refit_length": refit_length,
    "policies_vae-laptop": policies,
    "same_data_verifier-laptop": same_data,
    "evolving_verifier-laptop": evolving,
}
RUNS |= {file.name: selection for file in RESULTS.glob("mnist_selection*")}
RUNS |= {file.name: published for file in RESULTS.glob("mnist_published*")}
RUNS |= {file.name: published_models for file in RESULTS.glob("published_models*")}
