"""The sentences of advice: what a conclusion rests on, and where the formula does not hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from veriloop.diagnose.arm import Scale, replaces
from veriloop.diagnose.conclusions import CHANGE, WORTH, best_contraction
from veriloop.diagnose.fits import FAR, Fit


@dataclass(frozen=True)
class Reason:
    """The numbers that a conclusion rests on, in units of the metric."""

    scale: Scale
    first: int
    rounds: int
    parameters: np.ndarray
    path: np.ndarray

    def of(self, conclusion: str, forecast: str) -> str:
        path = self.path
        best = int(path[: self.rounds + 1].argmin())
        aims, errors = best_contraction(self.parameters[None])
        aim = float(aims[0])
        error = float(errors[0])
        rho, _, noise, bias = self.parameters
        start = self._value(0)
        now = self._value(self.rounds)
        none = f"no round is expected to beat the start's {start}"
        if self.scale.known:
            none += f" by {WORTH:.0%}"
        reached = f"{self.scale.value(error):.3g}"
        return {
            "keep going": f"from {now} now to {forecast}",
            "stop now": f"expected best in round {self.first + best}, {self._value(best)} from "
            f"{start}; {now} now, and {forecast}",
            "add real data": f"{none}, no verifier chooses the rows, and {forecast}",
            CHANGE: f"{none}; {forecast}",
            "tighten the filter": f"{none}; noise of {noise:.2g} a round adds up at rho {rho:.2g}, "
            f"and less at a smaller rho, down to {aim:.2g}",
            "loosen the filter": f"{none}; at rho {aim:.2g} in place of {rho:.2g} "
            f"one round would reach {reached}",
            "get a better verifier": f"{none}, at any rho: the verifier's own error is {bias:.3g}",
        }[conclusion]

    def _value(self, place: int) -> str:
        return f"{self.scale.value(float(self.path[place])):.3g}"


def notes(pool: str | None, fit: Fit, missed: str, *, far: bool, apart: bool) -> list[str]:
    """Return a sentence for each way in which the formula does not hold, or may not.

    missed: names the round that the fit misses most.
    """
    found: list[str] = []
    if pool is None:
        found.append(
            "the formula is that of a pool that replaces: if yours does not, name it with pool="
        )
    elif not replaces(pool):
        found.append(
            f"the formula is that of a pool that replaces, and this is {pool!r}: take this as a "
            "sketch"
        )
    if not apart:
        found.append(
            "plateau, noise and bias need a pool that replaces, five seeds, and the distance to "
            "the verifier's centre"
        )
    if far:
        found.append(
            f"the verifier's centre may be far: at a bias of more than {FAR} starts' errors, which "
            "is not ruled out, the pull is stronger than rho"
        )
    if not fit.explains:
        found.append(
            f"the formula misses {missed} by {fit.misfit:.1f} standard errors: take this as a "
            "sketch"
        )
    return found
