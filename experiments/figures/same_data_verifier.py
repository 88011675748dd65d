"""Distances, agreement and NELBO by round, for verifiers that know what the generator knows, or
more.
"""

from __future__ import annotations

from figures._mnist import MAIN, by_round
from figures._seeds import difference, ends
from figures.style import COLORS, Figure, Measured, Rows, line, select

METRICS = ("mnist_fid", "fid", "agreement", "nelbo", "recall")


def draw(rows: Rows) -> Figure:
    """One panel a metric, one colour a verifier; dashed, in the colour of its like, a generator
    without one.
    """
    colors = dict(zip(_pairs(rows), COLORS, strict=False))
    arms = []
    for (initial, knows), color in colors.items():
        arms.append((select(rows, initial=initial, verifier_size=knows), {"color": color}))
        if initial == knows:
            arms.append(
                (select(rows, initial=initial, verified=False), {"color": color, "ls": "--"})
            )
    handles = [
        line(f"{initial:,} and " + ("the same" if knows == initial else f"{knows:,}"), color=color)
        for (initial, knows), color in colors.items()
    ]
    return by_round(
        rows, METRICS, arms, handles, arms=True, title="real images of first model and verifier"
    )


def _pairs(rows: Rows) -> list[tuple[int, int]]:
    return list(
        dict.fromkeys((row["initial"], row["verifier_size"]) for row in rows if row["verified"])
    )


def summarise(rows: Rows) -> dict[str, Measured]:
    """What each verifier adds; and what more images are worth to the verifier, and to the generator
    itself.
    """
    numbers: dict[str, Measured] = {}
    fewest = min(row["initial"] for row in rows)
    for initial, knows in _pairs(rows):
        for name in MAIN:
            arm = f"first model {initial}, verifier {knows}, {name}"
            first, last = ends(rows, name, initial=initial, verifier_size=knows)
            numbers[f"{arm}: last - round 0"] = difference(last - first)
            unverified = ends(rows, name, initial=initial, verified=False)[1]
            numbers[f"{arm}: last - unverified"] = difference(last - unverified)
            if knows != initial:
                same = ends(rows, name, initial=fewest, verifier_size=fewest)[1]
                numbers[f"{arm}: last - same data"] = difference(last - same)
                given = ends(rows, name, initial=knows, verified=False)[0]
                numbers[f"{arm}: last - first model {knows}"] = difference(last - given)
    return numbers
