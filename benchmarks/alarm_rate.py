"""How often `veriloop.alarm` is false: python benchmarks/alarm_rate.py [RUNS].

Prints the table of docs/advice.md: the fraction of runs without any expected change in which there
is an alarm at 5 %, by how the changes since the start are distributed.
"""

from __future__ import annotations

import sys

import numpy as np

from veriloop import Key
from veriloop.diagnose.alarms import levels, paired

ALPHA = 0.05
SEEDS = (3, 5, 10)
ROUNDS = (4, 10)
KINDS = (
    "normal",
    "normal, shared start",
    "-1, 0 or 1",
    "-1 or 1",
    "fractions of five",
    "fractions of fifty",
    "rare large changes for the worse",
    "rare large changes for the better",
    "half of the variance shared by all seeds",
)


def changes(kind: str, shape: tuple[int, int, int], generator: np.random.Generator) -> np.ndarray:
    """Return changes in the bad direction, zero on average, shape (runs, seeds, rounds)."""
    runs, seeds, rounds = shape
    normal = generator.standard_normal(shape)
    if kind == "normal, shared start":
        return normal - generator.standard_normal((runs, seeds, 1))
    if kind == "-1, 0 or 1":
        return generator.integers(-1, 2, shape).astype(float)
    if kind == "-1 or 1":
        return generator.choice([-1.0, 1.0], shape)
    if kind.startswith("fractions"):
        count = 5 if kind.endswith("five") else 50
        fractions = generator.binomial(count, 0.9, (runs, seeds, rounds + 1)) / count
        return fractions[..., :1] - fractions[..., 1:]
    if kind.startswith("rare"):
        skewed = generator.exponential(1, shape) - 1
        return skewed if kind.endswith("worse") else -skewed
    if kind.startswith("half"):
        return normal + generator.standard_normal((runs, 1, rounds))
    return normal


def main(runs: int) -> None:
    """Print a row for each kind of change."""
    cells = [(seeds, rounds) for seeds in SEEDS for rounds in ROUNDS]
    names = [f"{seeds} seeds, {rounds} rounds" for seeds, rounds in cells]
    print(f"| changes | {' | '.join(names)} |\n|{'---|' * (1 + len(names))}")
    for kind in KINDS:
        shown: list[str] = []
        for seeds, rounds in cells:
            generator = Key(41).fold(kind, seeds, rounds).numpy()
            _, p, _ = paired(changes(kind, (runs, seeds, rounds), generator))
            fired = (p <= levels(ALPHA, rounds, None)).any(axis=-1)
            shown.append(f"{fired.mean():.1%}")
        print(f"| {kind} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10000)
