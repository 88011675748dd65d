"""Score once, filter many times: what another filter, or another verifier, would have kept of a stored round.

python -m veriloop.refilter RUN [--arm NAME] [--round K] [--filter SPEC] [--verifier SPEC] [--json]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from veriloop.components import build
from veriloop.core.candidates import RoundError, until_full
from veriloop.core.checks import nearest, need
from veriloop.core.loop import select
from veriloop.core.verdict import Verdict, judged, rowwise
from veriloop.store.candidates import EXTRA, FILE, StoredRound, stateful
from veriloop.store.folder import line


@dataclass(frozen=True)
class Refiltered:
    """What would have been kept of `stored`: `mask` over its rows, the verdict on them, and the numbers to report.

    counted: which rows would have counted as candidates: all, but in a round with a quota.
    numbers: candidates; kept now and kept_then; both, only_then, only_now; lowest and highest
        score, lowest_kept;
        no_verdict and what else a record says of the verdict; acceptance, by group.
    """

    stored: StoredRound
    verdict: Verdict
    counted: np.ndarray
    mask: np.ndarray
    numbers: dict[str, Any]


def refilter(
    run: str | Path,
    *,
    round: int | None = None,
    arm: str | None = None,
    filter: Any = None,
    verifier: Any = None,
) -> Refiltered:
    """Filter a stored round again under its own key, so that the same filter keeps the same rows.

    run: the folder of a run. arm: the name of its checkpoints, where there are several. round:
        default: the last.
    filter: a filter or its spec, `{"call": "TopFraction", "fraction": 0.05}`. Default: the round's
        own.
    verifier: likewise, see `build`; it judges the rows anew, block by block under the round's keys.
        Default: the
        stored scores.

    Of a round with a quota, a filter that judges rows one by one keeps the first n of each group,
    as many as were drawn; one that ranks, ranks the round's candidates.

    >>> import tempfile
    >>> from veriloop import Key, Loop, Random, RunDir, State, TopFraction
    >>> write = lambda key, model, n: key.numpy().random((n, 2))
    >>> loop = Loop(generate=write, verify=Random(), filter=TopFraction(0.1), refit=lambda key, model, rows: model)
    >>> folder, options = tempfile.mkdtemp(), {"candidates": True}
    >>> _ = list(RunDir(folder).run(loop, Key(0), State(np.zeros(2)), [100], **options))
    >>> again = refilter(folder, filter={"call": "TopFraction", "fraction": 0.25})
    >>> [again.numbers[name] for name in ("kept", "kept_then", "both")], again.stored[again.mask].shape
    ([25, 10, 10], (25, 2))

    Raises:
        ValueError: if there is no such round, it is damaged, or a component is unknown or
        `stateful`. RoundError: if the filter finds fewer rows with a verdict than it is to keep.
    """
    stored = find(run, round, arm)
    chosen = _filter(_own_filter(stored) if filter is None else filter)
    judge = None if verifier is None else _verifier(verifier)
    verdict = stored.verdict if judge is None else _judged(stored, judge)
    mask, counted = _select(stored, chosen, verdict.scores)
    return Refiltered(stored, verdict, counted, mask, _numbers(stored, verdict, mask, counted))


def find(run: str | Path, round: int | None = None, arm: str | None = None) -> StoredRound:
    """Return the round of the arm that is stored in a run's folder; see `refilter`."""
    found = sorted(path.parent for path in Path(run).glob(f"round_[0-9]*/[!.]*/{FILE}"))
    arms = sorted({folder.name for folder in found})
    if not found:
        raise ValueError(f"{run} holds no stored candidates; run it with store=candidates")
    if arm is None and len(arms) > 1:
        raise ValueError(f"{run} holds several arms; name one as arm: {', '.join(arms)}")
    if arm is not None and arm not in arms:
        raise ValueError(f"{run} holds no candidates of an arm {arm!r}; {nearest(arm, arms)}")
    rounds = {int(path.parent.name[6:]): path for path in found if path.name == (arm or arms[0])}
    if round is not None and round not in rounds:
        raise ValueError(
            f"round {round} of {arm or arms[0]} is not stored; stored: {', '.join(map(str, rounds))}"
        )
    return StoredRound(rounds[max(rounds) if round is None else round])


def _own_filter(stored: StoredRound) -> dict[str, Any]:
    spec = stored.about["filter"]
    if isinstance(spec, str):
        raise ValueError(
            f"the settings of the round's own filter, {spec}, are not stored; give a filter"
        )
    return spec


def _filter(spec: Any) -> Any:
    if isinstance(spec, dict) and isinstance(name := spec.get("call"), str) and ":" not in name:
        spec = {**spec, "call": f"veriloop:{name}"}
    return _callable("filter", build(spec))


def _verifier(spec: Any) -> Any:
    verifier = _callable("verifier", build(spec))
    if stateful(verifier):
        raise ValueError(
            f"the verifier {type(verifier).__name__} is stateful: what it scored depends on its training in that "
            "round, which cannot be had again; leave verifier out to use the scores it gave"
        )
    return verifier


def _callable(what: str, component: Any) -> Any:
    if not callable(component):
        raise ValueError(
            f"a {what} is called with scores or rows, and {component!r:.60} cannot be; name another"
        )
    return component


def _judged(stored: StoredRound, verifier: Any) -> Verdict:
    if not rowwise(verifier) and len(stored.sizes) > 1:
        raise ValueError(
            f"the verifier {type(verifier).__name__} judges rows together, and the round has {len(stored.sizes)} "
            "blocks; store it with a larger Loop.block, or leave verifier out"
        )
    blocks = enumerate(stored.blocks())
    return Verdict.concatenate(
        [judged(verifier, stored.key.fold("verify", i), batch) for i, batch in blocks]
    )


def _select(stored: StoredRound, filter: Any, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return masks over all rows drawn: those kept, and those that count as candidates."""
    key, groups, quota = stored.key, stored.columns["group"], stored.quota
    if quota is not None and getattr(filter, "rowwise", False):
        blocks = np.split(np.arange(len(scores)), np.cumsum(stored.sizes)[:-1])
        mask = [
            select(filter, key.fold("filter", i), scores[b], groups[b])
            for i, b in enumerate(blocks)
        ]
        counted = until_full(np.concatenate(mask), groups, np.full(quota.groups, quota.n))
        return np.concatenate(mask) & counted, counted
    counted = stored.columns.get("counted", np.ones(len(scores), dtype=bool))
    mask = np.zeros(len(scores), dtype=bool)
    mask[counted] = select(filter, key.fold("filter"), scores[counted], groups[counted])
    return mask, counted


def _numbers(
    stored: StoredRound, verdict: Verdict, mask: np.ndarray, counted: np.ndarray
) -> dict[str, Any]:
    scores, groups, then = verdict.scores, stored.columns["group"], stored.columns["kept"]
    then = then & stored.columns.get("counted", True)
    return {
        "arm": stored.folder.name,
        "round": stored.about["round"],
        "sha256": stored.sha256,
        "candidates": int(counted.sum()),
        "kept": int(mask.sum()),
        "kept_then": int(then.sum()),
        "both": int((mask & then).sum()),
        "only_then": int((then & ~mask).sum()),
        "only_now": int((mask & ~then).sum()),
        "lowest": _least(scores[counted]),
        "highest": -_least(-scores[counted]),
        "lowest_kept": _least(scores[mask]),
        "no_verdict": int(np.isnan(scores[counted]).sum()),
        **verdict[counted].metrics(mask[counted]),
        "acceptance": {
            str(g): float(mask[counted & (groups == g)].mean()) for g in np.unique(groups[counted])
        },
    }


def _least(scores: np.ndarray) -> float:
    return float(np.fmin.reduce(scores, initial=np.nan))


def main() -> None:
    """Do what the command line says; exit with 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="veriloop.refilter", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("run", help="folder of a run whose candidates are stored")
    parser.add_argument("--arm", help="name of the checkpoints, where there are several")
    parser.add_argument("--round", type=int, help="default: the last that is stored")
    parser.add_argument(
        "--filter", metavar="SPEC", help="{call: TopFraction, fraction: 0.05}; default: the round's"
    )
    parser.add_argument(
        "--verifier", metavar="SPEC", help="{call: 'my_module:Brevity', limit: 30}; default: stored"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    try:
        specs = {name: _spec(name, getattr(given, name)) for name in ("filter", "verifier")}
        numbers = refilter(given.run, round=given.round, arm=given.arm, **specs).numbers
        text = line(numbers) if given.json else _told(numbers)
    except (ValueError, RoundError, ImportError) as error:
        print(f"veriloop.refilter: {error}", file=sys.stderr)
        sys.exit(2)
    print(text, end="")


def _spec(name: str, text: str | None) -> Any:
    yaml: Any = need("yaml", EXTRA, f"--{name}")
    try:
        return None if text is None else yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise ValueError(
            f"--{name}: {text!r} is not valid YAML; write {{call: NAME, argument: value}}"
        ) from None


def _told(numbers: dict[str, Any]) -> str:
    parts = {name: value for name, value in numbers.items() if name != "acceptance"}
    parts |= {f"acceptance of {group}": value for group, value in numbers["acceptance"].items()}
    return "".join(
        f"{name:<20} {value:.5g}\n" if isinstance(value, float) else f"{name:<20} {value}\n"
        for name, value in parts.items()
    )


if __name__ == "__main__":
    main()
