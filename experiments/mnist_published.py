"""The published digits experiment, its own numbers under ours: what seed noise explains."""

from functools import partial
from typing import Annotated

from pydantic import Field

from _mnist import Arm, Digits, both, per_seed, prepare, schedules
from figures.mnist_published import CONTROLS, draw, summarise
from veriloop import MixReal
from veriloop.study import BadInput, Unit, Whole, main


class Published(Digits):
    """Arms are all schedules and first models, each verified and unverified, and two controls.

    The controls have no verifier. One mixes each round's images with as many real ones of its first
    model. The other is one model fitted to the real images that the verifier knows.
    """

    initial_sizes: Annotated[list[Whole], Field(min_length=1)]
    controls: bool


def units(config: Published) -> list[Unit]:
    """One unit an arm and seed."""
    if config.controls and config.judge.real == "initial":
        raise BadInput(
            "judge.real: got initial, and a control is fitted to the verifier's images; "
            "give their number, or controls=false"
        )
    half, given = CONTROLS
    work = []
    for size, counts in schedules(config).items():
        for n in config.initial_sizes:
            own = config.model_copy(update={"initial": n})
            name = f"{size}-initial{n}"
            about = {"size": size, "initial": n, "protocol": config.protocol}
            work += both(name, own, counts, control=None, **about)
            if config.controls:
                about |= {"verified": False, "control": half}
                pool = partial(MixReal, fraction=0.5)
                work.append(Arm(f"{name}-half real", own, counts, about, False, pool=pool))
    if config.controls:
        own = config.model_copy(update={"initial": config.judge.real})
        about = {"size": None, "initial": config.judge.real, "protocol": config.protocol}
        about |= {"verified": None, "control": given}
        work.append(Arm("real", own, [], about, verified=False, as_refit=True))
    return per_seed(config, work)


if __name__ == "__main__":
    main(Published, units, draw, summarise, prepare)
