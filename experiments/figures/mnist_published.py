"""Metrics by round over the published curves, and every published number beside ours."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from figures._mnist import LABELS, legend, published
from figures._seeds import STYLE, curve, difference, mean, metrics
from figures.style import COLORS, Figure, Measured, Rows, column, line, panels, select
from veriloop.records import interval

METRICS = (
    "nelbo",
    "reconstruction",
    "kl",
    "verifier_accuracy",
    "mnist_fid_v2",
    "fid",
    "recall",
    "coverage",
)
CONTROLS = ("half real", "the verifier's images")
PER_ROW = 4


class Compared(NamedTuple):
    """One published number beside ours.

    sample: ours, one value a seed. theirs: the published one, of one seed.
    source: "table", or "figure" where it was read off one.
    """

    arm: str
    metric: str
    round: int
    sample: np.ndarray
    theirs: float
    source: str

    @property
    def z(self) -> float | None:
        """How many standard deviations of the difference lie between them; None for one seed.

        Theirs is one more draw with our spread s, so the difference from our mean of n seeds has
        standard deviation s sqrt(1 + 1 / n).

        >>> Compared("a", "nelbo", 1, np.array([1.0, 2.0, 3.0]), 2.0, "table").z
        0.0
        """
        n = len(self.sample)
        if n < 2:
            return None
        deviation = self.sample.std(ddof=1) * np.sqrt(1 + 1 / n)
        return float((self.sample.mean() - self.theirs) / deviation)

    @property
    def within(self) -> bool | None:
        """Whether theirs is in our 95 % prediction interval for one more seed; None for one seed.

        >>> Compared("a", "nelbo", 1, np.array([1.0, 2.0, 3.0]), 20.0, "table").within
        False
        """
        n = len(self.sample)
        if n < 2:
            return None
        middle, _, high = interval(self.sample)
        return bool(abs(self.theirs - middle) <= (high - middle) * np.sqrt(n + 1))


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a schedule and first model; theirs are thin."""
    names = metrics(rows, METRICS)
    lines = -(-len(names) // PER_ROW)
    figure, axes = panels(lines, PER_ROW, height=2.0)
    colors = dict(zip(_settings(rows), COLORS, strict=False))
    for panel, name in zip(axes.flat, names, strict=False):
        for setting, color in colors.items():
            _draw_setting(panel, rows, setting, name, color)
        given = [row[name] for row in select(rows, control=CONTROLS[1]) if row.get(name)]
        if given:
            panel.axhline(mean(given)[0], color="black", lw=0.8, ls=":")
        panel.set(title=LABELS[name], xlabel="round $k$")
    for panel in axes.flat[len(names) :]:
        panel.set_visible(False)
    handles = [line(f"{size}, first {n}", color=color) for (size, n), color in colors.items()]
    if select(rows, control=CONTROLS[0]):
        handles.append(line("half real, unverified", color="black", ls="-."))
        handles.append(line("fitted to the verifier's images", color="black", ls=":", lw=0.8))
    title = f"protocol: {rows[0]['protocol']}"
    legend(figure, rows, handles, arms=True, title=title)
    return figure


def summarise(rows: Rows) -> dict[str, Measured]:
    """Every number that was published too, beside it, and the ends of all arms."""
    numbers: dict[str, Measured] = {}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = select(rows, arm=arm)
        last = max(row["round"] for row in own)
        for name in metrics(own, METRICS):
            sample = column(select(own, round=last), name)
            if np.isfinite(sample).all():
                numbers[f"{arm}, {name}: round {last}"] = difference(sample)
    for each in compared(rows):
        what = f"{each.arm}, {each.metric}: round {each.round}"
        numbers[what] = difference(each.sample)._replace(expected=each.theirs)
    return numbers


def compared(rows: Rows) -> list[Compared]:
    """Return every published number of the arms, metrics and rounds that our rows hold."""
    found: list[Compared] = []
    for size, n in _settings(rows):
        for verified in STYLE:
            own = select(rows, size=size, initial=n, verified=verified, control=None)
            for name in metrics(own, METRICS):
                for row in theirs(size, n, verified=verified, metric=name):
                    sample = column(select(own, round=row["round"]), name)
                    if not len(sample):
                        continue
                    arm = own[0]["arm"]
                    each = Compared(arm, name, row["round"], sample, row["value"], row["source"])
                    found.append(each)
    return found


def theirs(size: str, initial: int, *, verified: bool, metric: str) -> Rows:
    """Return the published curve of a schedule and first model, by round; nothing if there is none.

    Their first model has 500 real images, except where the figure is about its size.

    >>> theirs("5k more each", 500, verified=True, metric="nelbo")[0]["value"]
    121.078
    >>> theirs("20k", 60_000, verified=True, metric="nelbo")[0]["value"]
    92.1197
    >>> theirs("5k", 1000, verified=True, metric="nelbo")
    []
    """
    wanted = {"mnist_schedules": size, "mnist_elbo": size}
    if initial != 500:
        wanted = {}
    if initial != 500 and size == "20k":
        wanted = {"mnist_initial_size": str(initial)}
    found: list[dict[str, object]] = []
    for experiment, name in wanted.items():
        found += select(published(experiment), line=name, verified=verified, metric=metric)
    return sorted(found, key=lambda row: row["round"])


def _settings(rows: Rows) -> list[tuple[str, int]]:
    """Return the schedules and first models, in the order of the rows."""
    return list(dict.fromkeys((row["size"], row["initial"]) for row in rows if row["size"]))


def _draw_setting(panel: Any, rows: Rows, setting: tuple[str, int], name: str, color: str) -> None:
    """Draw both arms, the control with real data, and the published curves up to our last round."""
    size, n = setting
    own = select(rows, size=size, initial=n)
    last = max(row["round"] for row in own)
    drawn = {
        style: select(own, verified=verified, control=None) for verified, style in STYLE.items()
    }
    drawn["-."] = select(own, control=CONTROLS[0])
    for style, arm in drawn.items():
        if metrics(arm, [name]):
            curve(panel, arm, name, color=color, ls=style)
    for verified, style in STYLE.items():
        known = theirs(size, n, verified=verified, metric=name)
        known = [row for row in known if row["round"] <= last]
        if known:
            x, y = column(known, "round"), column(known, "value")
            panel.plot(x, y, color=color, lw=0.5, ls=style, gid="published")
