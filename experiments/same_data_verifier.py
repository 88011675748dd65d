"""What verifying adds: one training set for both, more for the verifier alone, or for both."""

from typing import Annotated

from pydantic import Field

from _mnist import Arm, Digits, per_seed, prepare, schedule
from figures.same_data_verifier import draw, summarise
from veriloop.study import BadInput, Unit, Whole, main


class SameData(Digits):
    """Arms are pairs of a first model's and a verifier's images, and an arm without a verifier.

    The images are `initial` for both, more for the verifier, or more for both. All sets nest: a
    larger one holds the smaller. A first model of more images is fitted as every refit is.
    """

    larger: Annotated[list[Whole], Field(min_length=1, max_length=2)]
    depends_on_rounds = True


def units(config: SameData) -> list[Unit]:
    """One unit an arm and seed."""
    size, counts = schedule(config)
    if config.judge.real != "initial":
        raise BadInput(
            f"judge.real: got {config.judge.real}, must be initial; "
            "what the other verifiers know is larger's"
        )
    for n in config.larger:
        if n <= config.initial:
            raise BadInput(
                f"larger: got {n}, must be more than initial, "
                f"the {config.initial} images of the first model"
            )
    pairs: list[tuple[int, int | None]] = []
    for n in (config.initial, *config.larger):
        pairs += [(n, None), (n, n)]
    pairs += [(config.initial, n) for n in config.larger]
    work = []
    for n, knows in pairs:
        about = {"size": size, "initial": n, "verifier_size": knows, "verified": knows is not None}
        own = config.model_copy(update={"initial": n})
        arm = Arm(
            f"{size}-initial{n}-verifier{knows or 'none'}", own, counts, about, about["verified"]
        )
        work.append(arm._replace(real=knows and [knows] * len(counts), as_refit=n > config.initial))
    return per_seed(config, work)


if __name__ == "__main__":
    main(SameData, units, draw, summarise, prepare)
