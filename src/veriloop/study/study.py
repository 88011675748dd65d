"""A study: several loops, the arms, from the same start, over several seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from veriloop.core.candidates import Quota
from veriloop.core.checks import check_positive, is_count, is_integer
from veriloop.core.fingerprints import fingerprint
from veriloop.core.key import Key
from veriloop.core.loop import Loop, Record, State, run
from veriloop.records import Records, Row, line
from veriloop.store.files import wrong_name
from veriloop.store.folder import RunDir
from veriloop.study.description import description
from veriloop.study.engine import (
    Failure,
    Rows,
    Unfinished,
    Unit,
    UnitsFailed,
    check_engine,
    evaluate,
)
from veriloop.study.folder import RunFolder
from veriloop.study.heartbeat import at_round
from veriloop.study.progress import Progress, bar, say
from veriloop.study.stopping import Terminated, cause_of, terminable, without_traceback

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
                f"Study.start must be a function: key -> State, got {self.start!r:.60}; "
                "write lambda key: state"
            )
        if isinstance(self.sizes, Mapping) and set(self.sizes) != set(self.arms):
            named = ", ".join(map(str, self.sizes))
            raise ValueError(f"Study.sizes must name the arms {', '.join(self.arms)}, got {named}")
        if isinstance(self.sizes, Mapping):
            for each in self.sizes.values():
                _check_sizes(each)
        else:
            _check_sizes(self.sizes)
        if (self.save is None) != (self.load is None):
            raise ValueError(
                "Study: save and load come together, got one of them; give both or none"
            )

    def sizes_of(self, arm: str) -> list[Size]:
        """Return the sizes of an arm, one a round."""
        given = self.sizes
        if isinstance(given, Mapping):
            given = given[arm]
        sizes: list[Size] = []
        for size in given:
            if isinstance(size, Quota):
                sizes.append(size)
            else:
                sizes.append(int(size))
        return sizes

    def units(
        self, *, folder: bool = True, candidates: bool = False, debug: bool = False
    ) -> list[Unit]:
        """Return one unit an arm and seed, in the order of the records.

        folder: whether the run has a folder, for checkpoints within a unit.
        candidates: store every candidate of every round there.
        debug: check that no part of a loop changes what it is given.
        """
        saves = folder and self.save is not None
        work: list[Unit] = []
        for seed in self.seeds:
            for arm, loop in self.arms.items():
                sizes = self.sizes_of(arm)
                one = _Arm(
                    arm, int(seed), loop, self.start, sizes, self.save, self.load, candidates, debug
                )
                work.append(Unit(one.name, len(one.sizes), one, saves=saves))
        return work

    def description(self) -> dict[str, Any]:
        """Return what decides the records, as JSON: parts of the loops, sizes, seeds, start."""
        sizes = {arm: self.sizes_of(arm) for arm in self.arms}
        return description(self.arms, sizes, self.seeds, self.start)

    def run(
        self,
        folder: str | Path | None = None,
        engine: str = "serial",
        progress: Progress = True,
        *,
        unit_timeout: float | None = None,
        debug: bool = False,
    ) -> Records:
        """Run all arms of all seeds and return the records, round 0 among them.

        folder: where to commit each arm of each seed; the same call goes on where a stopped one
            was. So does a call with more arms, seeds or rounds: what is there is not run again.
            It then holds records.jsonl and run.json. None keeps everything in memory.
        engine: "serial", "processes" for all cores, "processes:N", or "dask://HOST:PORT". It
            changes no byte.
        progress: show a bar on stderr where there is a terminal; "always" shows it in a notebook
            too.
        unit_timeout: seconds that an arm of a seed may take, the start of its process among them;
            one that takes more is stopped, and fails. It needs processes. None: no limit.
        debug: check that no part of a loop changes what it is given, as `veriloop.run` does.

        Ctrl-C stays a KeyboardInterrupt; a line says how to go on. SIGTERM exits with 143.

        Raises:
            UnitsFailed: after everything else is done, if an arm of a seed raised an error. The
                rounds that it had finished are among the records, and `Records.failed` marks it.
            BadInput: if the folder holds another run, or the engine is not known or not reached.
            RunStopped: if the folder cannot be written any longer.
        """
        if unit_timeout is not None:
            check_positive("Study.run: unit_timeout", unit_timeout)
        check_engine(engine, unit_timeout)
        with _told_how_to_go_on(folder):
            if folder is None:
                units = self.units(folder=False, debug=debug)
                return _in_memory(units, engine, progress, unit_timeout)
            place = RunFolder(Path(folder), resume=True, given="Study.run")
            units = self.units(debug=debug)
            about: dict[str, object] = {"experiment": "study", "preset": None, "config": {}}
            place.open({**about, "units": len(units), "study": self.description()})
            with place.stage("work"):
                records = place.records(units, engine, progress, unit_timeout)
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
    debug: bool

    @property
    def name(self) -> str:
        return f"{self.arm}-seed{self.seed}"

    def __call__(self, folder: Path | None = None) -> Rows:
        """Return the rows.

        Raises:
            Unfinished: from the error of a round, with the rows of the rounds before it.
        """
        rows: Rows = []
        try:
            self._run(rows, folder)
        except (Exception, SystemExit) as error:
            reached = 0
            if rows:
                reached = rows[-1]["round"] + 1
            place = {"arm": self.arm, "seed": self.seed, "round": reached}
            raise Unfinished(rows, place) from error
        return rows

    def _run(self, rows: Rows, folder: Path | None) -> None:
        """Add the row of each round to `rows`."""
        key = Key(self.seed)
        state = self.start(key)
        given = cast("object", state)
        if not isinstance(given, State):
            raise TypeError(
                f"Study.start must return a State, got {given!r:.60}; write State(model)"
            )
        before = fingerprint(state)
        about = {"arm": self.arm, "seed": self.seed}
        for _, record in self._rounds(key, state, folder):
            numbers = record.row()
            taken = sorted(set(about) & set(numbers))
            if taken:
                raise ValueError(
                    f"a metric is called {taken[0]!r}, which is taken; rename the metric"
                )
            row = {**about, **numbers}
            line(row)  # a metric that cannot be written ends the arm in its own round
            rows.append(row)
            at_round(record.round)
        if fingerprint(state) != before:
            rows.clear()  # no round can be trusted
            raise ValueError(
                "a round changed the start, which other arms may share; see which part with "
                "veriloop.testing.check_backend, and let it return a new value"
            )

    def _rounds(
        self, key: Key, state: State[Any], folder: Path | None
    ) -> Iterator[tuple[State[Any], Record]]:
        if folder is None or self.save is None or self.load is None:
            return run(self.loop, key, state, self.sizes, debug=self.debug)
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
            debug=self.debug,
        )


def follow(
    loop: Loop[Any, Any], key: Key, start: State[Any], sizes: Sequence[Size]
) -> list[dict[str, Any]]:
    """Run the loop and return one flat row a round, the start as round 0."""
    return [record.row() for _, record in run(loop, key, start, sizes)]


@contextmanager
def _told_how_to_go_on(folder: str | Path | None) -> Generator[None]:
    """Say in one line how to go on after Ctrl-C or SIGTERM; the workers are ended by then."""
    try:
        with terminable():
            yield
    except (KeyboardInterrupt, Terminated) as stop:
        how, code = cause_of(stop)
        told = "nothing is kept; give Study.run a folder to go on where it stops"
        if folder is not None:
            told = f"what is done is kept in {folder}; run the same again to go on"
        say(f"Study.run: stopped by {how}; {told}")
        if isinstance(stop, Terminated):
            raise SystemExit(code) from None
        without_traceback()
        raise


def _in_memory(
    units: Sequence[Unit], engine: str, progress: Progress, limit: float | None
) -> Records:
    rows: list[Row] = []
    failures: dict[str, Failure] = {}
    with closing(evaluate(units, engine, limit=limit)) as results:
        for unit in bar(units, progress):
            new = next(results)
            if isinstance(new, Failure):
                failures[unit.name] = new
                new = new.rows
            rows.extend(new)
    records = Records(rows)
    if failures:
        raise UnitsFailed(failures, records)
    return records


def _check_arms(arms: object) -> None:
    if not isinstance(arms, Mapping) or not arms:
        raise ValueError(
            f"Study.arms must map the name of each arm to its Loop, got {arms!r:.60}; "
            "write {'verified': loop}"
        )
    for name, loop in cast("Mapping[object, object]", arms).items():
        wrong = wrong_name(name)
        if wrong:
            raise ValueError(f"Study.arms: a name must be one of a file, got {name!r:.60}; {wrong}")
        if not isinstance(loop, Loop):
            raise ValueError(
                f"Study.arms: {name!r} must be a Loop, got {type(loop).__name__}; write Loop(...)"
            )


def _check_seeds(seeds: object) -> None:
    if not isinstance(seeds, Sequence | np.ndarray) or isinstance(seeds, str):
        hint = "write a list, or range(5)"
        if is_integer(seeds):
            hint = f"write range({seeds})"
        raise ValueError(f"Study.seeds must be whole numbers, got {seeds!r:.60}; {hint}")
    found = list(cast("Sequence[object]", seeds))
    for seed in found:
        if not is_count(seed):
            raise ValueError(
                f"Study.seeds must be whole numbers of at least 0, got {seed!r:.60}; "
                "write range(5) for five"
            )
        Key(int(cast("int", seed)))
    twice = [seed for seed, count in Counter(found).items() if count > 1]
    if twice:
        raise ValueError(f"Study.seeds must be different whole numbers, got {twice[0]} twice")
    if not found:
        raise ValueError("Study.seeds must be different whole numbers, at least one, got none")


def _check_sizes(sizes: object) -> None:
    if not isinstance(sizes, Sequence | np.ndarray) or isinstance(sizes, str):
        hint = f"write [{sizes!r:.40}] * 10 for ten rounds"
        if not is_count(sizes) and not isinstance(sizes, Quota):
            hint = "write [1000] * 10 for ten rounds"
        raise ValueError(f"Study.sizes must have one size a round, got {sizes!r:.60}; {hint}")
    for size in cast("Sequence[object]", sizes):
        if not is_count(size, 1) and not isinstance(size, Quota):
            raise ValueError(
                f"Study.sizes must be counts of at least 1, or quotas, one a round, got {size!r}"
            )
    if not len(cast("Sequence[object]", sizes)):
        raise ValueError(
            "Study.sizes must have one size a round, got none; write [1000] * 10 for ten rounds"
        )
