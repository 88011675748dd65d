"""Steps of every refit, by generator and verifier: a short refit hides what the verifier gains."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from _mnist import Arm, Digits, both, per_seed, prepare, schedules
from figures.mnist_refit_length import draw, summarise
from veriloop.study import Unit, Whole, main


class RefitLength(Digits):
    """Arms are all generators and refit lengths: verified, unverified, and with real images."""

    steps: Annotated[list[Whole], Field(min_length=1)]
    models: Annotated[list[Literal["conv", "mlp"]], Field(min_length=1)]


def units(config: RefitLength) -> list[Unit]:
    """One unit an arm and seed."""
    work = []
    for size, counts in schedules(config).items():
        for model in config.models:
            for steps in config.steps:
                refit = replace(config.refit, steps=steps)
                own = config.model_copy(update={"model": model, "refit": refit})
                about = {"size": size, "steps": steps}
                name = f"{size}-{model}-{steps}"
                work += both(name, own, counts, **about)
                real = own.model_copy(update={"initial": counts[0]})
                work.append(
                    Arm(f"{name}-real", real, [], about | {"verified": None}, False, as_refit=True)
                )
    return per_seed(config, work)


if __name__ == "__main__":
    main(RefitLength, units, draw, summarise, prepare)
