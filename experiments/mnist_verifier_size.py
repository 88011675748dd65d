"""Verifiers of few and of many real images: what it knows is where verified retraining ends."""

from typing import Annotated, Literal

from pydantic import Field

from _mnist import Arm, Digits, both, per_seed, prepare, schedules
from figures.mnist_verifier_size import draw, summarise
from veriloop.study import Unit, Whole, main


class VerifierSize(Digits):
    """Arms are verifiers of all sizes, among them the generator's own images, and no verifier."""

    verifier_sizes: Annotated[list[Whole | Literal["initial"]], Field(min_length=1)]


def units(config: VerifierSize) -> list[Unit]:
    """One unit an arm and seed."""
    work = []
    for size, counts in schedules(config).items():
        for real in config.verifier_sizes:
            own = config.model_copy(
                update={"judge": config.judge.model_copy(update={"real": real})}
            )
            work.append(
                Arm(
                    f"{size}-verifier{real}",
                    own,
                    counts,
                    {"size": size, "verifier_size": real, "verified": True},
                )
            )
        work.append(both(size, config, counts, size=size, verifier_size=None)[1])
    return per_seed(config, work)


if __name__ == "__main__":
    main(VerifierSize, units, draw, summarise, prepare)
