"""What the digit experiments share: configuration, and one arm of one seed, round by round."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, replace
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.dataclasses import dataclass

from figures._mnist import MAIN
from veriloop import EachRound, KeepAll, Key, Loop, Quota, Replace, RunDir, State, Threshold, build
from veriloop.core.checks import check_device
from veriloop.core.parts import Filter
from veriloop.mnist import (
    CVAE,
    Data,
    Discriminate,
    FeatureNet,
    Images,
    Inception,
    Measure,
    Problem,
    Refit,
    TopPerDraw,
    Training,
    balanced,
    feature_net,
    have_mnist,
    load,
    probabilities,
    retrained,
)
from veriloop.mnist.features import DEVIATION, MEAN, RECIPES
from veriloop.mnist.training import check_holdout
from veriloop.study import BadInput, Config, Rows, Sizes, Unit, Whole, per_round, say, tell
from veriloop.study.shared import Shared


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Fit(Training):
    """`Training`, from a configuration."""


class Judged(BaseModel):
    """The discriminator of the verified arms, see `Discriminate`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    real: (
        Whole | Literal["initial"]
    )  # real images it learns from; "initial": those of the first model
    view: Literal["bernoulli", "threshold", "grey"] = "bernoulli"
    conditional: bool = True
    smoothing: float = 0.0
    dropout: float = 0.0
    spectral: bool = False
    fit: Fit


# Settings of `Digits` on which an arm's rows do not depend: what the arm itself says, and where
# work is done.
BESIDE = {
    "data",
    "on_digits",
    "seed",
    "replicates",
    "rounds",
    "sizes",
    "engine",
    "store",
    "shared",
    "unit_timeout",
}
OF_THE_VERIFIER = {
    "keep",
    "filter",
    "judge",
}  # on which the rows of an unverified arm do not depend either


class Digits(Config):
    """A loop on digits.

    `sizes` counts the images kept each round, `initial` the real ones of the first model.
    """

    # Whether parts of an arm's loop hold a list with one value a round.
    depends_on_rounds: ClassVar[bool] = False

    data: str  # see `veriloop.mnist.load`; "auto": MNIST where it is found, else digits
    on_digits: dict[str, Any] | None = (
        None  # what replaces the values of a preset where the data are the digits
    )
    protocol: Literal["corrected", "authors"] = "corrected"
    replicates: Whole  # seeds: seed, seed + 1, ...
    rounds: Whole
    sizes: Sizes
    keep: Annotated[
        float, Field(gt=0, le=1)
    ]  # share of a digit's candidates that a verified round keeps
    filter: Literal["top", "threshold"] = "top"
    initial: Whole
    model: Literal["conv", "mlp"]
    model_settings: dict[str, Any] = Field(
        default_factory=dict
    )  # arguments of the model, see `Refit.settings`
    first: Fit
    refit: Fit
    warm: bool = False
    judge: Judged
    verifier: dict[str, Any] | None = None  # {call: module:name, ...} in place of the discriminator
    images: Annotated[int, Field(ge=100, multiple_of=10)]  # generated to measure a model
    feature_steps: Whole = 1400
    # Of the published feature network, which measures mnist_fid_v2; its own are 2,814.
    published_steps: Whole | None = None
    inception: str | None = None  # file of Inception's weights, or "download"
    threads: Annotated[int, Field(ge=1, le=1024)] = 1  # of one arm; the records depend on it
    device: str = "cpu"
    # Folder where figures find the arms that other figures have computed.
    shared: Annotated[str, Field(min_length=1)] | None = None

    def may_grow(self) -> list[str]:
        """More rounds change a schedule that runs from one size to another."""
        for size in self.sizes.values():
            by_step = isinstance(size, Mapping) and "step" in size
            if not isinstance(size, int) and not by_step:
                return ["replicates"]
        if self.depends_on_rounds:
            return ["replicates"]
        return ["replicates", "rounds"]

    @field_validator("data", mode="before")
    @classmethod
    def _what_is_there(cls, name: Any) -> Any:
        return _resolved(name)

    @classmethod
    def for_data(cls, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the preset's values for scikit-learn's 1,797 digits, where they are the data."""
        small = values.get("on_digits")
        if _resolved(values.get("data")) != "digits" or not isinstance(small, Mapping):
            return {}
        return small


def _resolved(data: Any) -> Any:
    """Return what "auto" stands for on this machine, and any other name as it is."""
    if data != "auto":
        return data
    if have_mnist():
        return "mnist"
    return "digits"


def once(k: int, train: Any, model: Any, judge: Any) -> Any:
    """Keep the verifier of round 1."""
    if k == 1:
        return train(1, model(0))
    return judge(1)


def continued(k: int, train: Any, model: Any, judge: Any) -> Any:
    """Go on training the verifier of the last round, against the newest model."""
    warm = None
    if k > 1:
        warm = judge(k - 1)
    return train(k, model(k - 1), warm=warm)


def cumulative(k: int, train: Any, model: Any, judge: Any) -> Any:
    """Train a new verifier, against equally many images of every model so far."""
    return train(k, *map(model, range(k)))


def every_round(k: int, train: Any, model: Any, judge: Any) -> Any:
    """Train a new verifier for round k, against the newest model: `Arm.judge` unless it is given.

    train: (k, *models, warm=None) -> a verifier, with the real images and the random numbers of
        round k.
    model: k -> the model after round k. judge: k -> the verifier of an earlier round.
    """
    return train(k, model(k - 1))


def replaced(real: Images) -> Replace:
    """Fit the next model to what the last round kept: what `Arm.pool` is unless it is given."""
    return Replace()


class Arm(NamedTuple):
    """One line of a figure: its settings, its images kept by round, and what its rows say."""

    name: str
    config: Any
    counts: list[int]
    about: dict[str, Any]
    verified: bool = True
    against: list[int] | None = (
        None  # train the verifier once, against models of so many real images each
    )
    as_refit: bool = False  # the first model is fitted as every later one would be
    pool: Callable[[Images], Any] = replaced  # the data policy, made of the first model's images
    judge: Callable[..., Any] = every_round  # how the verifier of a round comes about
    real: list[int] | None = (
        None  # images it knows by round, drawn as the first model's, in sets that nest
    )
    filter: Filter | None = None  # in place of the configuration's


def schedules(config: Any) -> dict[str, list[int]]:
    """Return the images kept by round under each named schedule, or refuse."""
    try:
        named = per_round(config.sizes, config.rounds)
    except ValueError as error:
        raise BadInput(f"sizes: {error}") from None
    for name, counts in named.items():
        named[name] = [
            count if isinstance(config.sizes[name], int | list) else 10 * round(count / 10)
            for count in counts
        ]
        if wrong := [count for count in named[name] if count % 10]:
            raise BadInput(
                f"sizes: {name} keeps {wrong[0]} images, must be a multiple of 10, "
                "equally many of each digit"
            )
    return named


def schedule(config: Any) -> tuple[str, list[int]]:
    """Return the one named schedule of a figure that shows one, or refuse."""
    named = schedules(config)
    if len(named) > 1:
        raise BadInput(
            f"sizes: got {', '.join(named)}, must be one schedule; give each a run of its own"
        )
    return next(iter(named.items()))


def both(name: str, config: Any, counts: list[int], **about: Any) -> list[Arm]:
    """Return the verified and the unverified arm of the same settings."""
    arms = [(f"{name}-{'' if verified else 'un'}verified", verified) for verified in (True, False)]
    return [
        Arm(arm, config, counts, about | {"verified": verified}, verified) for arm, verified in arms
    ]


def real_images(config: Any) -> int:
    """Return how many real images there are to learn from, or refuse."""
    try:
        return len(load(config.data).train)
    except ValueError as error:
        raise BadInput(str(error)) from None


def full(config: Any) -> Arm:
    """Return the reference: one model fitted to all real images."""
    everything = config.model_copy(update={"initial": real_images(config)})
    return Arm(
        "real", everything, [], {"verified": None, "size": None}, verified=False, as_refit=True
    )


def per_seed(config: Any, arms: Iterable[Arm]) -> list[Unit]:
    """Return one unit an arm and seed, after refusing what cannot be done."""
    arms = list(arms)
    try:
        check_device("device", config.device)
        data = load(config.data)
        for arm in arms:
            _check_arm(arm, data)
            sets: list[int] = [*(arm.against or []), *(arm.real or [])]
            for n in dict.fromkeys(sets):
                balanced(Key(0), data.train, n)
        if config.verifier is not None:
            if any(arm.real for arm in arms):
                raise BadInput(
                    "verifier: got one, and the arms are discriminators trained in several ways; "
                    "leave it out"
                )
            build(config.verifier)
        if config.inception is not None:
            _inception(config, data)
        _check_shared(config.shared)
    except ValueError as error:
        raise BadInput(str(error)) from None
    seeds = range(config.seed, config.seed + config.replicates)
    work = []
    for seed, arm in product(seeds, arms):
        name = f"{arm.name}-seed{seed}"
        work.append(Unit(name, len(arm.counts), follow_arm, (arm, seed), saves=True))
    return work


def _check_shared(folder: str | None) -> None:
    """Make the folder that figures share, or refuse it."""
    if folder is None:
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"shared: cannot make the folder {folder} ({error.strerror}); name another"
        ) from None


def _check_arm(arm: Arm, data: Data) -> None:
    """Refuse an arm that cannot be made, or a fit with rows on one side alone."""
    problem = _problem(arm, data, Key(0), None)
    check_holdout(len(problem.initial), problem.first.training.holdout)
    for kept in arm.counts:
        check_holdout(kept, problem.refit.training.holdout)


def prepare(config: Any) -> dict[str, Any]:
    """Train the network of the metrics, or find it trained; say what it is.

    It also says what will not be measured.
    """
    data = load(config.data)
    features = feature_net(data, config.feature_steps, device=config.device)
    measures: dict[str, Any] = {
        "data": f"{data.name}: {len(data.train)} real images, {len(data.test)} to test on"
    }
    scaled = f"pixels normalised by {MEAN}, {DEVIATION}"
    measures["mnist_fid"] = (
        f"feature network {features.digest}, accuracy {features.accuracy:.4f}, {scaled}"
    )
    published = _published(config, data)
    if published is not None:
        measures["mnist_fid_v2"] = (
            f"published network {published.digest}, accuracy {published.accuracy:.4f}, "
            f"{config.published_steps} of {RECIPES['published'].training.steps} steps, {scaled}"
        )
    if config.inception is None:
        measures["fid"] = (
            "not measured: no Inception weights; give inception=FILE, or inception=download"
        )
    else:
        measures["fid"] = f"Inception weights: {config.inception}"
    return measures


def follow_arm(config: Any, arm: Arm, seed: int, folder: Path) -> Rows:
    """Return one arm's rows of all rounds; run here, or found in `config.shared`."""
    torch.set_num_threads(config.threads)
    own = _quirks(arm.config)
    shared = _shared("arm", config, own, arm, seed)
    with shared.held() as rows:
        if rows is None:
            rows = _run_arm(config, own, arm, seed, folder)
            shared.write(rows)
        else:
            say(
                f"{arm.name}-seed{seed}: another figure has the same arm; "
                f"taken from {config.shared}"
            )
    about = {
        "arm": arm.name,
        "seed": seed,
        "data": load(config.data).name,
        "model": own.model,
        **arm.about,
    }
    return [{**about, **each} for each in rows]


def _run_arm(config: Any, own: Any, arm: Arm, seed: int, folder: Path) -> Rows:
    """Run one arm, committing every round; the first seed's first and last row hold images."""
    data = load(config.data)
    key = Key(seed)
    features = feature_net(data, own.feature_steps, device=own.device)
    inception = None if own.inception is None else _inception(own, data)
    published = _published(own, data)
    measure = Measure(data.test, features, own.images, inception=inception, published=published)
    problem = _problem(arm, data, key, measure)
    start = _start(config, own, arm, seed, problem)
    store = RunDir(folder)
    name = f"{arm.name}-seed{seed}-model"

    def model(k: int) -> CVAE:
        return problem.load(store.folder(k, name)).model if k else start.model

    loop = _loop(own, arm, problem, data, key, model)
    sizes = [_size(own, problem, arm, kept) for kept in arm.counts]
    rows: Rows = []
    state = start
    candidates = config.store is not None
    rounds = store.run(
        loop,
        key,
        start,
        sizes,
        save=problem.save,
        load=problem.load,
        name=name,
        candidates=candidates,
        records=False,
    )
    for state, record in rounds:  # noqa: B007
        rows.append(record.row())
        tell(f"{arm.name}-seed{seed}", rows[-1], len(arm.counts), MAIN)
    if seed == config.seed:
        rows[0]["samples"] = _samples(key, start)
        rows[-1]["samples"] = _samples(key, state)
    return rows


def _start(config: Any, own: Any, arm: Arm, seed: int, problem: Problem) -> State[CVAE]:
    """Return the state before round 1; fitted here, or found in `config.shared`."""
    before = Arm("", arm.config, [], {}, verified=False, as_refit=arm.as_refit)
    shared = _shared("start", config, own, before, seed)
    with shared.held() as rows:
        if rows is not None and shared.folder is not None:
            return problem.load(shared.folder)
        start = problem.start(Key(seed))
        shared.write([], partial(problem.save, start))
    return start


def _shared(what: str, config: Any, own: Any, arm: Arm, seed: int) -> Shared:
    """Return where an arm's rows, or its start, are or will be for all figures.

    An arm with a verifier of the user's own, with weights of Inception, or whose candidates are
    stored, is not shared.
    """
    alone = config.store is not None or config.verifier is not None or config.inception is not None
    if alone or config.shared is None:
        return Shared(None, {})
    names = set(Digits.model_fields) - BESIDE  # settings of one figure alone are in its arms
    if not arm.verified:
        names -= OF_THE_VERIFIER
    if arm.as_refit:
        names -= {"first"}
    elif not arm.counts:
        names -= {"refit", "warm"}
    data = load(config.data)
    digest = hashlib.sha256()
    for images in (data.train, data.test):
        digest.update(images.pixels.tobytes() + images.labels.tobytes())
    way = arm._asdict()
    for name in ("name", "config", "about"):
        del way[name]
    deciding = {
        "what": what,
        "settings": own.model_dump(mode="json", include=names),
        "data": digest.hexdigest(),
        "arm": way,
        "seed": seed,
        "samples": seed == config.seed,
    }
    return Shared(config.shared, deciding)


def _quirks(config: Any) -> Any:
    """Return the settings; under `protocol: authors` with what the published code does."""
    if config.protocol == "corrected":
        return config
    last = {"restore": False, "holdout": 0.0}
    judge = config.judge.model_copy(
        update={"view": "threshold", "fit": replace(config.judge.fit, shuffle=False, **last)}
    )
    update = {
        "first": replace(config.first, **last),
        "refit": replace(config.refit, **last),
        "judge": judge,
    }
    return config.model_copy(update=update)


def _problem(arm: Arm, data: Data, key: Key, measure: Any) -> Problem:
    config = _quirks(arm.config)
    initial = balanced(key.fold("initial"), data.train, config.initial)
    judge = _retrain(config, data, key, initial)
    first = config.refit if arm.as_refit else config.first
    refit = Refit(
        model=config.model,
        settings=config.model_settings,
        training=config.refit,
        warm=config.warm,
        device=config.device,
    )
    return Problem(
        initial=initial,
        first=replace(refit, training=first, warm=False),
        refit=refit,
        test=judge.show(key.fold("test"), data.test),
        keep=config.keep,
        pool=arm.pool(initial),
        **({} if measure is None else {"measure": measure}),
    )


def _retrain(config: Any, data: Data, key: Key, initial: Any) -> Discriminate:
    judge = config.judge
    real = (
        initial if judge.real == "initial" else balanced(key.fold("judge"), data.train, judge.real)
    )
    given = {
        name: getattr(judge, name)
        for name in ("view", "conditional", "smoothing", "dropout", "spectral")
    }
    return Discriminate(real=real, training=judge.fit, device=config.device, **given)


def _size(config: Any, problem: Problem, arm: Arm, kept: int) -> int | Quota:
    if not arm.verified:
        return kept
    if config.filter == "threshold":
        return Quota(kept // 10, groups=10)
    if config.protocol == "authors":  # whole draws of 6,000 a digit, as many as it takes
        draws = -(-kept // round(10 * TopPerDraw.draw * config.keep))
        return 10 * TopPerDraw.draw * draws
    return problem.size(kept)


def _loop(
    config: Any, arm: Arm, problem: Problem, data: Data, key: Key, model: Callable[[int], CVAE]
) -> Loop[CVAE, Images]:
    """Return the loop of an arm: no verifier, a new one every round, or one that evolves."""
    if not arm.verified:
        return replace(problem.loop(filter=KeepAll()), observe=None)
    retrain = _retrain(config, data, key, problem.initial)
    verify: Any = retrained(retrain)
    if arm.real is not None or arm.judge is not every_round:
        real = arm.real  # a resumed run compares what a function encloses

        def of_round(k: int) -> Discriminate:
            if real is None:
                return retrain
            images = balanced(key.fold("initial"), data.train, real[k - 1])
            return replace(retrain, real=images)

        verify = _evolving(arm.judge, of_round, model)
    if config.verifier is not None:
        verify = build(config.verifier)
    elif arm.against is not None:
        refit = replace(problem.refit, warm=False)
        sets = {n: balanced(key.fold("others"), data.train, n) for n in arm.against}
        models = [refit(key.fold("others", n), None, images) for n, images in sets.items()]
        verify = retrain(key.fold("once"), *models)
    return problem.loop(verify=verify, filter=_filter(config, arm))


def _filter(config: Any, arm: Arm) -> Any:
    """Return the arm's filter; None is the problem's own, the top fraction of each digit.

    That of the published code knows how many images its round keeps.
    """
    if arm.filter is not None:
        return arm.filter
    if config.filter == "threshold":
        return Threshold(0.0)
    if config.protocol == "authors":
        return EachRound(PerDraw(config.keep, arm.counts))
    return None


@dataclass(frozen=True)
class PerDraw:
    """Makes the filter of the published code, for the images that each round keeps.

    `counts` does not take part when a run that goes on is compared with what it was: with more
    rounds the list is longer.
    """

    keep: float
    counts: list[int] = field(compare=False)

    def __call__(self, key: Key, state: State[CVAE]) -> TopPerDraw:
        return TopPerDraw(self.keep, self.counts[state.round] // 10)


def _evolving(
    way: Callable[..., Any],
    discriminate: Callable[[int], Discriminate],
    model: Callable[[int], CVAE],
) -> EachRound[Any]:
    """Return a verifier that may know other real images each round, or go on from an earlier one.

    An earlier verifier is no state: it is made again, with the key of its own round, from the
    models that are committed.

    way: how a round's verifier comes about, see `every_round`.
    discriminate: round -> what trains its verifier. model: round -> the model after it.
    """

    @lru_cache(2)  # this round's and the one that it goes on from
    def made(key: Key) -> Any:
        def train(k: int, *models: CVAE, warm: Any = None) -> Any:
            return discriminate(k)(_of_round(key, k), *models, warm=warm)

        return way(key.path[0], train, model, lambda k: made(_of_round(key, k)))

    return EachRound(lambda key, state: made(key))


def _of_round(key: Key, k: int) -> Key:
    """Return the key that the loop gives to the same part in round k."""
    return replace(key, path=(k, *key.path[1:]))


def _published(config: Any, data: Data) -> FeatureNet | None:
    """Return the published feature network, or None where it is not asked for."""
    if config.published_steps is None:
        return None
    return feature_net(data, config.published_steps, network="published", device=config.device)


def _inception(config: Any, data: Data) -> Inception:
    return Inception(
        data.test, None if config.inception == "download" else Path(config.inception), config.device
    )


def _samples(key: Key, state: State[CVAE]) -> str:
    """Return eight decoder images of each digit, (8, 10, 28, 28) bytes, compressed, as text."""
    pixels = probabilities(key.fold("samples"), state.model, 80).pixels
    return base64.b64encode(zlib.compress(pixels.tobytes(), 9)).decode()
