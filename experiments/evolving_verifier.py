"""A verifier trained once, and verifiers that evolve with the generator: what keeps up with it."""

from typing import Any

from _mnist import Arm, Digits, both, every_round, per_seed, prepare, schedule
from figures.evolving_verifier import draw, summarise
from veriloop import schedules
from veriloop.study import BadInput, Unit, Whole, main


class EvolvingVerifier(Digits):
    """Arms are the ways in which the verifier of a round comes about, and no verifier."""

    grown_from: Whole  # real images that the growing verifier knows in round 1; in the last it knows judge.real


def once(k: int, train: Any, model: Any, judge: Any) -> Any:
    """Keep round 1's."""
    return judge(1) if k > 1 else train(1, model(0))


def continued(k: int, train: Any, model: Any, judge: Any) -> Any:
    """Train the last round's on, against the newest model."""
    return train(k, model(k - 1), warm=judge(k - 1) if k > 1 else None)


def cumulative(k: int, train: Any, model: Any, judge: Any) -> Any:
    """Train anew, against equally many images of every model so far."""
    return train(k, *map(model, range(k)))


WAYS = {
    "once": once,
    "retrained": every_round,
    "continued": continued,
    "cumulative": cumulative,
    "grown": every_round,
}


def units(config: EvolvingVerifier) -> list[Unit]:
    """One unit an arm and seed."""
    size, counts = schedule(config)
    known = config.initial if config.judge.real == "initial" else config.judge.real
    if config.rounds < 2:
        raise BadInput(f"rounds: got {config.rounds}, must be at least 2; round 1 has no evolution")
    if config.grown_from >= known:
        raise BadInput(
            f"grown_from: got {config.grown_from}, must be less than judge.real, {known}"
        )
    sizes = schedules.linear(config.grown_from, known, config.rounds)
    middle = [10 * round(n / 10) for n in sizes[1:-1]]
    work = []
    for way, judge in WAYS.items():
        real = [config.grown_from, *middle, known] if way == "grown" else [known] * config.rounds
        about = {"size": size, "verified": True, "way": way}
        work.append(Arm(f"{size}-{way}", config, counts, about, judge=judge, real=real))
    return per_seed(config, [*work, both(size, config, counts, size=size, way=None)[1]])


if __name__ == "__main__":
    main(EvolvingVerifier, units, draw, summarise, prepare)
