"""Distances, agreement and NELBO by round under each data policy, verified and unverified."""

from __future__ import annotations

from figures._mnist import MAIN, by_round
from figures._seeds import STYLE, difference, ends, gains
from figures.style import COLORS, Figure, Measured, Rows, line, select

METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "recall")
LABELS = {"subsample": "accumulate, subsample"}


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a policy."""
    colors = dict(zip(_policies(rows), COLORS, strict=False))
    arms = [
        (select(rows, policy=policy, verified=verified), {"color": color, "ls": style})
        for policy, color in colors.items()
        for verified, style in STYLE.items()
    ]
    handles = [
        line(LABELS.get(policy, policy.replace("mix", "real share")), color=color)
        for policy, color in colors.items()
    ]
    return by_round(rows, METRICS, arms, handles, arms=True)


def _policies(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["policy"] for row in rows))


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each policy's arms moved, what verifying gains under it, and how far they ended from replacing."""
    numbers: dict[str, Measured] = {}
    for policy in _policies(rows):
        numbers |= gains(rows, f"{policy}, ", MAIN, policy=policy)
        for name in MAIN if policy != "replace" else ():
            for verified, kind in ((False, "unverified"), (True, "verified")):
                mine, other = (
                    ends(rows, name, policy=p, verified=verified)[1] for p in (policy, "replace")
                )
                numbers[f"{policy}, {name}: {kind} - {kind} replace"] = difference(mine - other)
    return numbers
