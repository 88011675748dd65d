"""Begin a study: python -m veriloop.new NAME writes a script, its settings and its test."""

from __future__ import annotations

import keyword
import sys
from importlib.util import find_spec
from pathlib import Path

SCRIPT = '''"""A verifier keeps a model near what it knows; without one, the model drifts.

The model is the mean of a normal distribution, refitted to its own samples round after round.

    python NAME.py                        the settings of NAME.yaml
    python NAME.py --preset smoke         the same in a second
    python NAME.py --set reach=1 --out runs/narrow
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

import veriloop as vl
from veriloop.study import Config, Measured, Positive, Whole, main


class Settings(Config):
    """What NAME.yaml says, beside seed and engine."""

    seeds: Whole
    rounds: Whole
    candidates: Whole
    reach: Positive


@dataclass(frozen=True)
class Near:
    """Score samples by how near they are to zero; those within `reach` score 0 or more."""

    reach: float

    def __call__(self, key: vl.Key, batch: np.ndarray) -> np.ndarray:
        return self.reach - np.abs(batch)


def start(key: vl.Key) -> vl.State[float]:
    """Return the first model: off by about one."""
    return vl.State(1 + 0.1 * float(key.fold("start").numpy().standard_normal()))


def generate(key: vl.Key, model: float, n: int) -> np.ndarray:
    """Draw n samples."""
    return model + key.numpy().standard_normal(n)


def refit(key: vl.Key, model: float, batch: np.ndarray) -> float:
    """Return the mean of the kept rows."""
    return float(batch.mean())


def measure(key: vl.Key, model: float) -> Mapping[str, float]:
    """Return the squared error of the mean."""
    return {"error": model**2}


def study(config: Settings) -> vl.Study:
    """Two arms, which share their start and their random numbers."""
    unverified = vl.Loop(generate=generate, refit=refit, measure=measure)
    verified = replace(unverified, verify=Near(config.reach), filter=vl.Threshold(0.0))
    return vl.Study(
        arms={"verified": verified, "unverified": unverified},
        start=start,
        sizes=[config.candidates] * config.rounds,
        seeds=range(config.seed, config.seed + config.seeds),
    )


def draw(records: vl.Records) -> Figure:
    """Draw the error by round."""
    figure = Figure(figsize=(5.0, 3.5), layout="constrained")
    vl.plot(records, "error", axes=figure.subplots(), worse="higher")
    return figure


def summarise(records: vl.Records) -> dict[str, Measured]:
    """Compare the arms after the last round, paired by seed."""
    gap = records.difference("verified", "unverified", "error")
    return {
        "error, verified - unverified": Measured(float(gap.mean[-1])),
        "error, verified - unverified, upper end of 95 %": Measured(float(gap.high[-1])),
    }


if __name__ == "__main__":
    main(Settings, study, draw, summarise)
'''

CONFIG = """# Settings of NAME.py. A preset is merged into the rest; --set KEY=VALUE beats both.
seed: 0
engine: serial  # or processes, for all cores
seeds: 5
rounds: 20
candidates: 1000
reach: 1.5
presets:
  smoke: {rounds: 5, candidates: 100}
  laptop: {}
"""

TEST = '''"""The verifier is legal, and it helps."""

from pathlib import Path

from NAME import Near, Settings, draw, study

from veriloop import Key
from veriloop.study import read_config
from veriloop.testing import check_verifier


def test_the_verifier_is_legal():
    check_verifier(Near(1.5), Key(0).numpy().standard_normal(100))


def test_verifying_lowers_the_error():
    config, _ = read_config(Settings, Path(__file__).with_name("NAME.yaml"), "smoke")
    records = study(config).run()
    gap = records.difference("verified", "unverified", "error")
    assert gap.n[-1] == 5 and gap.high[-1] < 0
    draw(records)
'''


def files(name: str) -> dict[str, str]:
    """Return the texts of a new study by the name of the file.

    >>> sorted(files("mine"))
    ['mine.py', 'mine.yaml', 'test_mine.py']
    """
    texts = {f"{name}.py": SCRIPT, f"{name}.yaml": CONFIG, f"test_{name}.py": TEST}
    return {file: text.replace("NAME", name) for file, text in texts.items()}


def main(arguments: list[str]) -> None:
    """Write the files of a new study into the current folder; overwrite none."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        sys.exit("usage: python -m veriloop.new NAME, NAME a name for a Python module")
    name = arguments[0]
    if not name.isidentifier() or keyword.iskeyword(name):
        sys.exit(
            f"new: got {name!r}, must be a name for a Python module; use letters, digits and _"
        )
    texts = files(name)
    for file in texts:
        if Path(file).exists():
            sys.exit(f"new: {file} is there already, and is not overwritten; give another name")
    if find_spec(name) is not None:
        sys.exit(
            f"new: {name} is an installed module, which {name}.py would hide; give another name"
        )
    for file, text in texts.items():
        Path(file).write_text(text)
    print(
        f"wrote {', '.join(texts)}; run: python {name}.py --preset smoke, and pytest test_{name}.py"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
