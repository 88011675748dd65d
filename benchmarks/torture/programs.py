"""The programs that are attacked: a loop, a study, and scripts of all three backends."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"

# A refusal of the library is a ValueError of one sentence; the program ends with 2, as scripts do.
LOOP = """
import sys

import numpy as np

from veriloop import Accumulate, Key, Loop, RunDir, State, Threshold


def generate(key, model, n):
    return model + key.numpy().standard_normal((n, 2))


loop = Loop(
    generate=generate,
    verify=lambda key, batch: 2.0 - abs(batch[:, 0]),
    filter=Threshold(),
    refit=lambda key, model, batch: batch.mean(axis=0),
    pool=Accumulate(),
    measure=lambda key, model: {"size": float(abs(model).sum())},
)
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
try:
    rounds = RunDir(sys.argv[1]).run(loop, Key(seed), State(np.zeros(2)), [500] * 12)
    print(sum(record.kept for _, record in rounds))
except ValueError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""

STUDY = """
import sys

import veriloop as vl
from veriloop.linear import Problem

problem = Problem.gaussian(bias=0.25, radius=0.5)
first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
study = vl.Study(
    arms={"verified": problem.loop(verify=problem.verifier), "unverified": problem.loop()},
    start=problem.start,
    sizes=[problem.size(50)] * 6,
    seeds=range(first, first + 4),
    save=problem.save,
    load=problem.load,
)
if __name__ == "__main__":
    try:
        study.run(sys.argv[1], engine="processes:2", progress=False)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:  # a unit failed; the others are kept
        print(error, file=sys.stderr)
        sys.exit(1)
"""

# Of twenty cases in a row, how many are of which program; a run of the last two takes seconds.
SHARES = {
    "loop": 5,
    "study": 3,
    "study, a worker": 2,
    "linear_rounds": 4,
    "linear_landscape": 2,
    "digits": 2,
    "summaries": 2,
}


class Program(NamedTuple):
    """A program: how it is called for a folder, first, again, and with another seed.

    worker: whether a worker process is killed, and not the main one.
    """

    name: str
    first: tuple[str, ...]
    again: tuple[str, ...]
    other: tuple[str, ...]
    worker: bool = False


def programs(folder: Path) -> dict[str, Program]:
    """Write the programs of this file, and return all; `{out}` stands for the run's folder."""
    found: dict[str, Program] = {}
    for name, text in {"loop": LOOP, "study": STUDY}.items():
        file = folder / f"{name}.py"
        file.write_text(text)
        line = (str(file), "{out}")
        found[name] = Program(name, line, line, (*line, "1"))
    found["study, a worker"] = found["study"]._replace(name="study, a worker", worker=True)
    found["linear_rounds"] = _of_script("linear_rounds")
    found["linear_landscape"] = _of_script("linear_landscape")
    found["digits"] = _of_script("mnist_schedules", "replicates=1", name="digits")
    found["summaries"] = _of_script("xsum_rouge", "replicates=1", name="summaries")
    return found


def _of_script(script: str, *settings: str, name: str | None = None) -> Program:
    line = [str(EXPERIMENTS / f"{script}.py"), "--preset", "smoke", "--out", "{out}"]
    for setting in settings:
        line += ["--set", setting]
    other = (*line, "--set", "seed=5")
    return Program(name or script, tuple(line), (*line, "--resume"), other)


def turns(shares: dict[str, int]) -> list[str]:
    """Return the names in an order in which each comes again and again, as often as its share.

    >>> turns({"a": 2, "b": 1})
    ['a', 'b', 'a']
    """
    places = [((i + 0.5) / n, name) for name, n in shares.items() for i in range(n)]
    return [name for _, name in sorted(places)]
