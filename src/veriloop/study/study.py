"""A study: several loops, the arms, from the same start, over several seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from veriloop.core.candidates import Quota
from veriloop.core.key import Key
from veriloop.core.loop import Loop, Record, State, run
from veriloop.records import Records, Row
from veriloop.store.fingerprints import fingerprint
from veriloop.store.folder import RunDir
from veriloop.study.engine import Failure, Rows, Unit, UnitsFailed, check_engine, evaluate
from veriloop.study.folder import RunFolder
from veriloop.study.progress import Progress, bar

Size = int | Quota


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms by seeds: for every seed, all loops start alike and share their random numbers.

    arms: the loops by name.
    start: key -> the state before round 1. All arms of a seed are given the same key, so they are
        paired.
    sizes: candidates, or a `Quota` of kept rows, of each round; or such a list by the name of the
        arm.
    seeds: whole numbers, one run of each arm for each.
    save, load: write a state into a folder, and read it back. With both, every round is committed,
        and a stopped run goes on in the middle of an arm. Without, the arm of that seed starts
        again.

    >>> import veriloop as vl
    >>> from veriloop.linear import Problem
    >>> problem = Problem.gaussian(bias=0.25, radius=0.5)
    >>> study = vl.Study(
    ...     arms={"verified": problem.loop(verify=problem.verifier), "unverified": problem.loop()},
    ...     start=problem.start, sizes=[problem.size(20)] * 3, seeds=range(4),
    ... )
    >>> records = study.run()
    >>> records
    Records(32 rows; arms: verified, unverified; 4 seeds; rounds: 0 to 3; metrics: error_center,
    error_truth, ...)

    Raises:
        ValueError: if there is no arm, size or seed, a name or a seed comes twice or cannot be one,
            `sizes` has other arms, or only one of `save` and `load` is given.
    """

    arms: Mapping[str, Loop[Any, Any]]
    start: Callable[[Key], State[Any]]
    sizes: Sequence[Size] | Mapping[str, Sequence[Size]]
    seeds: Sequence[int]
    save: Callable[[State[Any], Path], None] | None = None
    load: Callable[[Path], State[Any]] | None = None

    def __post_init__(self) -> None:
        _check_arms(self.arms)
        _check_seeds(self.seeds)
        if not callable(self.start):
            raise ValueError(
                f"Study.start must be a function: key -> State, got {self.start!r:.60}"
            )
        if isinstance(self.sizes, Mapping) and set(self.sizes) != set(self.arms):
            named = ", ".join(map(str, self.sizes))
            raise ValueError(f"Study.sizes must name the arms {', '.join(self.arms)}, got {named}")
        for arm in self.arms:
            _check_sizes(self.sizes_of(arm))
        if (self.save is None) != (self.load is None):
            raise ValueError(
                "Study: save and load come together, got one of them; give both or none"
            )

    def sizes_of(self, arm: str) -> list[Size]:
        """Return the sizes of an arm, one a round."""
        sizes = self.sizes[arm] if isinstance(self.sizes, Mapping) else self.sizes
        return list(sizes)

    def units(self, *, folder: bool = True, candidates: bool = False) -> list[Unit]:
        """Return one unit an arm and seed, in the order of the records.

        folder: whether the run has a folder, for checkpoints within a unit.
        candidates: store every candidate of every round there.
        """
        saves = folder and self.save is not None
        work: list[Unit] = []
        for seed in self.seeds:
            for arm, loop in self.arms.items():
                one = _Arm(
                    arm,
                    int(seed),
                    loop,
                    self.start,
                    self.sizes_of(arm),
                    self.save,
                    self.load,
                    candidates,
                )
                work.append(Unit(one.name, len(one.sizes), one, saves=saves))
        return work

    def description(self) -> dict[str, Any]:
        """Return what decides the records, as JSON: the loops and the start as digests."""
        return {
            "arms": {arm: _digest(loop) for arm, loop in self.arms.items()},
            "sizes": {arm: [_size(size) for size in self.sizes_of(arm)] for arm in self.arms},
            "seeds": [int(seed) for seed in self.seeds],
            "start": _digest(self.start),
        }

    def run(
        self, folder: str | Path | None = None, engine: str = "serial", progress: Progress = True
    ) -> Records:
        """Run all arms of all seeds and return the records, round 0 among them.

        folder: where to commit each arm of each seed; the same call goes on where a stopped one
            was. It then holds records.jsonl and run.json. None keeps everything in memory.
        engine: "serial", "processes" for all cores, "processes:N", or "dask://HOST:PORT". It
            changes no byte.
        progress: show a bar on stderr where there is a terminal; "always" shows it in a notebook
            too.

        Raises:
            UnitsFailed: after everything else is done, if an arm of a seed raised an error.
            BadInput: if the folder holds another run, or the engine is not known.
        """
        check_engine(engine)
        if folder is None:
            return _in_memory(self.units(folder=False), engine, progress)
        place = RunFolder(Path(folder), resume=True, given="Study.run")
        place.open(
            {"experiment": "study", "preset": None, "config": {}, "study": self.description()}
        )
        with place.stage("work"):
            records = place.records(self.units(), engine, progress)
        place.close()
        return records


@dataclass(frozen=True)
class _Arm:
    """One arm of one seed: called, it returns its rows."""

    arm: str
    seed: int
    loop: Loop[Any, Any]
    start: Callable[[Key], State[Any]]
    sizes: list[Size]
    save: Callable[[State[Any], Path], None] | None
    load: Callable[[Path], State[Any]] | None
    candidates: bool

    @property
    def name(self) -> str:
        return f"{self.arm}-seed{self.seed}"

    def __call__(self, folder: Path | None = None) -> Rows:
        key = Key(self.seed)
        state = self.start(key)
        if not isinstance(state, State):
            raise TypeError(
                f"Study.start must return a State, got {state!r:.60}; write State(model)"
            )
        before = fingerprint(state)
        about = {"arm": self.arm, "seed": self.seed}
        rows = []
        for _, record in self._rounds(key, state, folder):
            numbers = record.row()
            taken = sorted(set(about) & set(numbers))
            if taken:
                raise ValueError(
                    f"a metric is called {taken[0]!r}, which is taken; rename the metric"
                )
            rows.append({**about, **numbers})
        if fingerprint(state) != before:
            raise ValueError(
                "a round changed the start, which other arms may share; see which part with "
                "veriloop.testing.check_backend, and let it return a new value"
            )
        return rows

    def _rounds(
        self, key: Key, state: State[Any], folder: Path | None
    ) -> Iterator[tuple[State[Any], Record]]:
        if folder is None or self.save is None or self.load is None:
            return run(self.loop, key, state, self.sizes)
        store = RunDir(folder)
        return store.run(
            self.loop,
            key,
            state,
            self.sizes,
            save=self.save,
            load=self.load,
            name=f"{self.name}-model",
            candidates=self.candidates,
            records=False,
        )


def follow(
    loop: Loop[Any, Any], key: Key, start: State[Any], sizes: Sequence[Size]
) -> list[dict[str, Any]]:
    """Run the loop and return one flat row a round, the start as round 0."""
    return [record.row() for _, record in run(loop, key, start, sizes)]


def _digest(value: Any) -> str:
    return fingerprint(value)[:16]


def _size(size: Size) -> Any:
    return asdict(size) if isinstance(size, Quota) else int(size)


def _in_memory(units: Sequence[Unit], engine: str, progress: Progress) -> Records:
    rows: list[Row] = []
    failures: dict[str, Failure] = {}
    results = evaluate(units, engine)
    for unit in bar(units, progress):
        new = next(results)
        if isinstance(new, Failure):
            failures[unit.name] = new
        else:
            rows.extend(new)
    records = Records(rows)
    if failures:
        raise UnitsFailed(failures, records)
    return records


def _check_arms(arms: Mapping[str, Any]) -> None:
    if not isinstance(arms, Mapping) or not arms:
        raise ValueError(f"Study.arms must map the name of each arm to its Loop, got {arms!r:.60}")
    for name, loop in arms.items():
        if not isinstance(name, str) or not name or Path(name).name != name or name.startswith("."):
            raise ValueError(
                f"Study.arms: a name must be one of a file, got {name!r}; leave out '/' and '.'"
            )
        if not isinstance(loop, Loop):
            raise ValueError(
                f"Study.arms: {name!r} must be a Loop, got {type(loop).__name__}; write Loop(...)"
            )


def _check_seeds(seeds: Sequence[int]) -> None:
    found = list(seeds)
    for seed in found:
        Key(seed)
    if not found or len(set(found)) < len(found):
        raise ValueError(
            f"Study.seeds must be different whole numbers, at least one, got {found!r:.60}"
        )


def _check_sizes(sizes: Sequence[Size]) -> None:
    for size in sizes:
        count = isinstance(size, int) and not isinstance(size, bool) and size >= 1
        if not count and not isinstance(size, Quota):
            raise ValueError(
                f"Study.sizes must be counts of at least 1, or quotas, one a round, got {size!r}"
            )
    if not sizes:
        raise ValueError(
            "Study.sizes must have one size a round, got none; write [1000] * 10 for ten rounds"
        )
