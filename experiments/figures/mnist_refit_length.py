"""What one refit does to distances, agreement and ELBO, against its number of steps."""

from __future__ import annotations

from figures._mnist import LABELS, legend
from figures._seeds import STYLE, curve, difference, ends, metrics
from figures.style import COLORS, Figure, Measured, Rows, line, panels, select, values

METRICS = ("mnist_fid", "fid", "agreement", "nelbo")


def draw(rows: Rows) -> Figure:
    """One row a generator, one panel a metric: the last round against steps, round 0 as a level."""
    names = metrics(rows, METRICS)
    models = values(rows, "model")
    last = max(row["round"] for row in rows)
    figure, axes = panels(len(models), len(names), height=2.1, sharex=True)
    for row, model in zip(axes, models, strict=True):
        for panel, name in zip(row, names, strict=True):
            own = select(rows, model=model)
            for verified, style in STYLE.items():
                curve(
                    panel,
                    select(own, verified=verified, round=last),
                    name,
                    x="steps",
                    color=COLORS[0],
                    ls=style,
                )
            curve(panel, select(own, verified=None), name, x="steps", color=COLORS[2])
            curve(
                panel, select(own, verified=True, round=0), name, x="steps", color="black", ls=":"
            )
            panel.set(xscale="log", title=LABELS[name])
            panel.set_xticks(
                values(own, "steps"), [f"{steps:,}" for steps in values(own, "steps")], minor=False
            )
            panel.minorticks_off()
        row[0].set_ylabel(f"{model}, round {last}")
    for panel in axes[-1]:
        panel.set_xlabel("steps of a refit")
    handles = [line("verified", color=COLORS[0]), line("unverified", color=COLORS[0], ls="--")]
    handles += [
        line("fitted to as many real images", color=COLORS[2]),
        line("round 0", color="black", ls=":"),
    ]
    legend(figure, rows, handles)
    return figure


def summarise(rows: Rows) -> dict[str, Measured]:
    """For each generator and length, how far verified refits moved, and how far they ended from the
    others.
    """
    numbers: dict[str, Measured] = {}
    for model in values(rows, "model"):
        for steps in values(rows, "steps"):
            arm = {"model": model, "steps": steps}
            for name in ("mnist_fid", "nelbo"):
                first, verified = ends(rows, name, verified=True, **arm)
                _, unverified = ends(rows, name, verified=False, **arm)
                real, _ = ends(rows, name, verified=None, **arm)
                at = f"{model}, {steps} steps, {name}"
                numbers[f"{at}: verified - round 0"] = difference(verified - first)
                numbers[f"{at}: verified - unverified"] = difference(verified - unverified)
                numbers[f"{at}: real data - round 0"] = difference(real - first)
    return numbers
