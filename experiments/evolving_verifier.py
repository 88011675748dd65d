"""A verifier trained once, and verifiers that evolve with the generator: what keeps up with it."""

from _mnist import (
    Arm,
    Digits,
    both,
    continued,
    cumulative,
    every_round,
    once,
    per_seed,
    prepare,
    schedule,
)
from figures.evolving_verifier import draw, summarise
from veriloop import schedules, study
from veriloop.study import Unit, Whole


class EvolvingVerifier(Digits):
    """Arms are the ways in which the verifier of a round comes about, and no verifier."""

    grown_from: Whole  # real images the growing verifier knows in round 1, judge.real in the last
    depends_on_rounds = True


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
        raise study.BadInput(
            f"rounds: got {config.rounds}, must be at least 2; round 1 has no evolution"
        )
    if config.grown_from >= known:
        raise study.BadInput(
            f"grown_from: got {config.grown_from}, must be less than judge.real, {known}"
        )
    grown = [10 * round(n / 10) for n in schedules.linear(config.grown_from, known, config.rounds)]
    work = []
    for way, judge in WAYS.items():
        real = [known] * config.rounds
        if way == "grown":
            real = [config.grown_from, *grown[1:-1], known]
        about = {"size": size, "verified": True, "way": way}
        work.append(Arm(f"{size}-{way}", config, counts, about, judge=judge, real=real))
    return per_seed(config, [*work, both(size, config, counts, size=size, way=None)[1]])


if __name__ == "__main__":
    study.main(EvolvingVerifier, units, draw, summarise, prepare)
