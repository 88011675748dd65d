"""Distances, agreement and NELBO by round under each data policy, verified and unverified."""

from __future__ import annotations

from typing import Any

from figures._mnist import MAIN, by_round
from figures._seeds import STYLE, difference, ends, gains
from figures.style import COLORS, Figure, Measured, Rows, line, select

METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "recall")
LABELS = {"subsample": "accumulate, subsample"}


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a policy."""
    colors = dict(zip(_policies(rows), COLORS, strict=False))
    arms: list[tuple[Rows, dict[str, Any]]] = []
    handles: list[Any] = []
    for policy, color in colors.items():
        for verified, style in STYLE.items():
            own = select(rows, policy=policy, verified=verified)
            arms.append((own, {"color": color, "ls": style}))
        label = LABELS.get(policy, policy.replace("mix", "real share"))
        handles.append(line(label, color=color))
    return by_round(rows, METRICS, arms, handles, arms=True)


def _policies(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["policy"] for row in rows))


def summarise(rows: Rows) -> dict[str, Measured]:
    """How far each policy's arms moved, what verifying gains under it, and how far they ended from
    replacing.
    """
    numbers: dict[str, Measured] = {}
    for policy in _policies(rows):
        numbers |= gains(rows, f"{policy}, ", MAIN, policy=policy)
        for name in MAIN if policy != "replace" else ():
            for verified, kind in ((False, "unverified"), (True, "verified")):
                _, mine = ends(rows, name, policy=policy, verified=verified)
                _, other = ends(rows, name, policy="replace", verified=verified)
                numbers[f"{policy}, {name}: {kind} - {kind} replace"] = difference(mine - other)
    return numbers
