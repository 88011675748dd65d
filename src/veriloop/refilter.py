"""Score once, filter often: what another filter or verifier would have kept of a stored round.

python -m veriloop.refilter RUN [--arm NAME] [--round K] [--filter SPEC] [--verifier SPEC] [--json]
    [--trust MODULE]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, cast

import numpy as np

from veriloop.components import build, check_spec_in_file
from veriloop.core.arrays import Mask, Scores
from veriloop.core.candidates import RoundError, until_full
from veriloop.core.checks import check_path, nearest, need
from veriloop.core.loop import select
from veriloop.core.parts import Filter
from veriloop.core.verdict import Verdict, Verifier, judged, rowwise
from veriloop.records import line
from veriloop.store.candidates import EXTRA, FILE, StoredRound, stateful


@dataclass(frozen=True)
class Refiltered:
    """What would have been kept of a stored round.

    stored: the round.
    verdict: on its rows.
    counted: which rows would have counted as candidates, shape (n,). All do, except under a quota.
    mask: which rows would have been kept, shape (n,).
    numbers: to report: candidates; kept now and kept_then; both, only_then, only_now; lowest and
        highest score, lowest_kept; no_verdict and what else a record says of the verdict;
        acceptance by group.
    """

    stored: StoredRound
    verdict: Verdict
    counted: Mask
    mask: Mask
    numbers: dict[str, Any]


def refilter(
    run: str | Path,
    *,
    round: int | None = None,
    arm: str | None = None,
    filter: Filter | Mapping[str, Any] | None = None,
    verifier: Verifier | Mapping[str, Any] | None = None,
    trust: Sequence[str] = (),
) -> Refiltered:
    """Filter a stored round again under its own key, so that the same filter keeps the same rows.

    run: the folder of a run.
    round: its number. Default: the last that is stored.
    arm: the name of the checkpoints, needed if there are several.
    filter: a filter or its spec, `{"call": "TopFraction", "fraction": 0.05}`. Default: that of the
        round.
    verifier: a verifier or its spec, see `build`. It judges all rows again, block by block, under
        the keys of the round. Default: the stored scores.
    trust: names of modules that the folder may call and import. A folder may come from a stranger:
        of other modules than these, only filters and batches of veriloop are made.

    If the round had a quota, a filter that judges rows one by one keeps the first n of each group
    that it accepts. A filter that ranks chooses among the candidates of the round.

    >>> import tempfile
    >>> from veriloop import Key, Loop, Random, RunDir, State, TopFraction
    >>> write = lambda key, model, n: key.numpy().random((n, 2))
    >>> loop = Loop(
    ...     generate=write,
    ...     verify=Random(),
    ...     filter=TopFraction(0.1),
    ...     refit=lambda key, model, rows: model,
    ... )
    >>> folder = tempfile.mkdtemp()
    >>> rounds = RunDir(folder).run(loop, Key(0), State(np.zeros(2)), [100], candidates=True)
    >>> _ = list(rounds)
    >>> again = refilter(folder, filter={"call": "TopFraction", "fraction": 0.25})
    >>> [again.numbers[name] for name in ("kept", "kept_then", "both")]
    [25, 10, 10]
    >>> again.stored[again.mask].shape
    (25, 2)

    Raises:
        ValueError: if there is no such round, it is damaged, or a component is unknown or
        `stateful`. RoundError: if the filter finds fewer rows with a verdict than it is to keep.
    """
    if isinstance(trust, str):
        raise ValueError(f"refilter: trust must be a list of modules, got {trust!r}; write [...]")
    stored = find(run, round, arm, trust)
    if filter is None:
        filter = _own_filter(stored)
    chosen = _filter(filter)
    verdict = stored.verdict
    if verifier is not None:
        verdict = _judged(stored, _verifier(verifier))
    mask, counted = _select(stored, chosen, verdict.scores)
    numbers = _numbers(stored, verdict, mask, counted)
    return Refiltered(stored, verdict, counted, mask, numbers)


def find(
    run: str | Path,
    round: int | None = None,
    arm: str | None = None,
    trust: Sequence[str] = (),
) -> StoredRound:
    """Return the round of the arm that is stored in a run's folder; see `refilter`."""
    found: list[Path] = []
    for path in sorted(check_path("refilter", run).glob(f"round_[0-9]*/[!.]*/{FILE}")):
        if path.parent.parent.name.removeprefix("round_").isdecimal():
            found.append(path.parent)
    arms = sorted({folder.name for folder in found})
    if not found:
        raise ValueError(f"{run} holds no stored candidates; run it with store=candidates")
    if arm is None and len(arms) > 1:
        raise ValueError(f"{run} holds several arms; name one as arm: {', '.join(arms)}")
    if arm is not None and arm not in arms:
        raise ValueError(f"{run} holds no candidates of an arm {arm!r}; {nearest(arm, arms)}")
    if arm is None:
        arm = arms[0]
    rounds = {int(path.parent.name[6:]): path for path in found if path.name == arm}
    if round is None:
        round = max(rounds)
    if round not in rounds:
        stored = ", ".join(map(str, rounds))
        raise ValueError(f"round {round} of {arm} is not stored; stored: {stored}")
    return StoredRound(rounds[round], tuple(trust))


def _own_filter(stored: StoredRound) -> Mapping[str, Any]:
    spec = stored.about["filter"]
    if isinstance(spec, str):
        raise ValueError(
            f"the settings of the round's own filter, {spec}, are not stored; give a filter"
        )
    check_spec_in_file(spec, _is_filter, stored.trust)
    return spec


def _is_filter(kind: type) -> bool:
    """Tell a class of filters from what its values are called with."""
    try:
        taken = list(signature(kind.__call__).parameters)
    except (TypeError, ValueError):
        return False
    return taken[1:3] == ["key", "scores"]


def _filter(spec: object) -> Filter:
    return cast("Filter", _callable("filter", build(_of_veriloop(spec))))


def _of_veriloop(spec: object) -> object:
    """Let a name without a module, here and in the arguments, be one of veriloop."""
    if not isinstance(spec, Mapping):
        return spec
    settings: dict[str, object] = {}
    for name, value in cast("Mapping[str, object]", spec).items():
        settings[name] = _of_veriloop(value)
        if name == "call" and isinstance(value, str) and ":" not in value:
            settings[name] = f"veriloop:{value}"
    return settings


def _verifier(spec: object) -> Verifier:
    verifier = cast("Verifier", _callable("verifier", build(spec)))
    if stateful(verifier):
        raise ValueError(
            f"the verifier {type(verifier).__name__} is stateful: what it scored "
            "depends on its training in that round, which is gone; leave verifier out to use the "
            "scores that are stored"
        )
    return verifier


def _callable(what: str, component: object) -> object:
    if not callable(component):
        raise ValueError(f"a {what} must be a function, got {component!r:.60}; name another")
    return component


def _judged(stored: StoredRound, verifier: Verifier) -> Verdict:
    blocks = len(stored.sizes)
    if not rowwise(verifier) and blocks > 1:
        raise ValueError(
            f"the verifier {type(verifier).__name__} judges rows together, and the round "
            f"has {blocks} blocks; store it with a larger Loop.block, or leave verifier out"
        )
    verdicts: list[Verdict] = []
    for i, batch in enumerate(stored.blocks()):
        verdicts.append(judged(verifier, stored.key.fold("verify", i), batch))
    return Verdict.concatenate(verdicts)


def _select(stored: StoredRound, filter: Filter, scores: Scores) -> tuple[Mask, Mask]:
    """Return masks over all rows drawn: those kept, and those that count as candidates."""
    key = stored.key
    groups = stored.columns["group"]
    quota = stored.quota
    if quota is not None and getattr(filter, "rowwise", False):
        masks: list[Mask] = []
        for i, rows in enumerate(np.split(np.arange(len(scores)), np.cumsum(stored.sizes)[:-1])):
            masks.append(select(filter, key.fold("filter", i), scores[rows], groups[rows]))
        accepted = np.concatenate(masks)
        counted = until_full(accepted, groups, np.full(quota.groups, quota.n))
        return accepted & counted, counted
    counted = _counted(stored)
    mask = np.zeros(len(scores), dtype=bool)
    mask[counted] = select(filter, key.fold("filter"), scores[counted], groups[counted])
    return mask, counted


def _counted(stored: StoredRound) -> Mask:
    """Return which rows drawn counted as candidates."""
    groups = stored.columns["group"]
    return stored.columns.get("counted", np.ones(len(groups), dtype=bool))


def _numbers(stored: StoredRound, verdict: Verdict, mask: Mask, counted: Mask) -> dict[str, Any]:
    scores = verdict.scores
    groups = stored.columns["group"]
    then = stored.columns["kept"] & _counted(stored)
    acceptance: dict[str, float] = {}
    for group in np.unique(groups[counted]):
        acceptance[str(group)] = float(mask[counted & (groups == group)].mean())
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
        "acceptance": acceptance,
    }


def _least(scores: Scores) -> float:
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
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module, of the current folder too, that RUN may call; repeatable; without it, RUN "
        "calls only filters and batches of veriloop",
    )
    given = parser.parse_args()
    if given.trust:
        sys.path.append(os.getcwd())  # last, so it hides nothing that is installed
    try:
        specs = {name: _spec(name, getattr(given, name)) for name in ("filter", "verifier")}
        done = refilter(given.run, round=given.round, arm=given.arm, trust=given.trust, **specs)
        numbers = done.numbers
        text = line(numbers) if given.json else _told(numbers)
    except (ValueError, RoundError, ImportError) as error:
        missing = isinstance(error.__context__, ModuleNotFoundError)
        hint = ""
        if missing and isinstance(error, ValueError) and not given.trust:
            hint = ", and add --trust MODULE for one in the current folder"
        print(f"veriloop.refilter: {error}{hint}", file=sys.stderr)
        sys.exit(2)
    print(text, end="")


def _spec(name: str, text: str | None) -> Mapping[str, Any] | None:
    yaml12 = need("veriloop.yaml12", EXTRA, f"--{name}")
    if text is None:
        return None
    try:
        return yaml12.parsed(text)
    except ValueError as error:
        raise ValueError(
            f"--{name}: {error}; write {{call: NAME, argument: value}}, got {text!r:.60}"
        ) from None


def _told(numbers: dict[str, Any]) -> str:
    parts = {name: value for name, value in numbers.items() if name != "acceptance"}
    for group, value in numbers["acceptance"].items():
        parts[f"acceptance of {group}"] = value
    lines: list[str] = []
    for name, value in parts.items():
        text = f"{value:.5g}" if isinstance(value, float) else str(value)
        lines.append(f"{name:<20} {text}\n")
    return "".join(lines)


if __name__ == "__main__":
    main()
