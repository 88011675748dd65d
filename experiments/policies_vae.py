"""Data policies of the literature on the VAE, verified and not: what becomes of old rounds."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field

from _mnist import Digits, both, per_seed, prepare, replaced, schedule
from figures.policies_vae import draw, summarise
from veriloop import Accumulate, AccumulateSubsample, Key, MixReal
from veriloop.study import Shares, Unit, main


class Policies(Digits):
    """Arms are all policies, verified and unverified. Refits have equal steps, not equal epochs."""

    real_shares: Annotated[
        Shares, Field(max_length=3)
    ]  # of what a model is fitted to, the first model's images


def accumulated(real: Any) -> Accumulate:
    """Fit every model to all images so far."""
    return Accumulate()


def subsampled(real: Any) -> Callable[..., Any]:
    """Fit every model to a sample of all images so far."""
    return subsample


def subsample(key: Key, past: Any, kept: Any) -> tuple[Any, Any]:
    """Accumulate, and train on as many images of it all as the round kept (Kazdan et al., 2024)."""
    return AccumulateSubsample(len(kept))(key, past, kept)


def units(config: Policies) -> list[Unit]:
    """One unit an arm and seed."""
    size, counts = schedule(config)
    pools: dict[str, Any] = {
        "replace": replaced,
        "accumulate": accumulated,
        "subsample": subsampled,
    }
    for share in config.real_shares:
        pools[f"mix {share:g}"] = partial(MixReal, fraction=share)
    arms = []
    for policy, pool in pools.items():
        for arm in both(f"{size}-{policy}", config, counts, size=size, policy=policy):
            arms.append(arm._replace(pool=pool))
    return per_seed(config, arms)


if __name__ == "__main__":
    main(Policies, units, draw, summarise, prepare)
