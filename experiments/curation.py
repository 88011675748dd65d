"""Curated retraining: of K samples one is picked by its reward, and the next model fitted to these.

Source: Ferbach et al. (2024), arXiv:2407.09499. The laws are in `veriloop.exact.reward_levels`.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from _curation import TOLD, gaps, iterated, law_of, run_curated
from figures.curation import draw, summarise
from veriloop import Key
from veriloop.study import BadInput, Config, NotNegatives, Rows, Unit, Whole, main, over_replicates

Share = Annotated[float, Field(ge=0, lt=1)]
Several = Annotated[int, Field(ge=2)]


class Curation(Config):
    """Every choice with every share of real data, in which all levels are equally likely."""

    levels: NotNegatives  # rewards, one a level
    luce: Annotated[list[Several], Field(min_length=1)]  # K of the choices by Luce's rule
    best_of: list[Several]  # K of the choices of the best
    shares: Annotated[list[Share], Field(min_length=1)]  # of fresh real data in the fit
    size: Whole  # picked samples a round
    rounds: Whole
    replicates: Whole


def arm(config: Curation, name: str, choice: str, k: int, share: float, fresh: int) -> Rows:
    """Run one choice with one share, beside the law of each round and the map iterated."""
    law = law_of(choice, k, np.array(config.levels), config.size, fresh)
    keys = [Key(config.seed).fold(name, i) for i in range(config.replicates)]
    runs = [run_curated(law, choice, k, config.rounds, key) for key in keys]
    about = {"arm": name, "choice": choice, "k": k, "share": share, "top": law.rewards.max()}
    about |= {"seed": config.seed, "replicates": config.replicates}
    parts = zip(over_replicates(runs, TOLD), gaps(runs), iterated(law, config.rounds), strict=True)
    return [about | measured | gap | exact for measured, gap, exact in parts]


def units(config: Curation) -> list[Unit]:
    """One unit a choice and share."""
    work = []
    for share in config.shares:
        fresh = round(config.size * share / (1 - share))
        if share and not fresh:
            raise BadInput(f"shares: got {share:g}, no row beside {config.size} picked; raise size")
        for choice, sets in {"luce": config.luce, "best": config.best_of}.items():
            arms = [(f"{choice}{k}-real{share:g}", choice, k, share, fresh) for k in sets]
            work += [Unit(each[0], config.rounds, arm, each) for each in arms]
    return work


if __name__ == "__main__":
    main(Curation, units, draw, summarise)
