"""A card for each verifier: what it accepts, how often it errs, and what it selects for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from veriloop.records import Records
from veriloop.report.numbers import at
from veriloop.report.parts import Part, Section, Table
from veriloop.report.pictures import by_round
from veriloop.report.study import Arms, curve_of

ACCEPTANCE = "acceptance"
MOST_ROUNDS = 12  # rows of a table by round
ERRORS = ("false_accept", "false_reject")
PARTS = ("acceptance_", "disagreement_", *(f"{name}_" for name in ERRORS))


def cards(arms: Arms) -> Iterator[Section]:
    """Yield a card for each arm whose rows were chosen by a verifier."""
    for arm, rows in arms.own.items():
        own = _with_acceptance(rows)
        if arm in arms.verifiers or (not arms.verifiers and _chooses(own)):
            name = arms.verifiers.get(arm)
            title = f"Verifier of the arm {arm}"
            yield Section(title, list(_card(own, arm, name)))


def _with_acceptance(records: Records) -> Records:
    """Return the rows of rounds with a column for the fraction of candidates that was kept."""
    rows: list[dict[str, object]] = []
    for row in records:
        candidates = row.get("candidates")
        kept = row.get("kept")
        if candidates and kept is not None:
            row = {**row, ACCEPTANCE: kept / candidates}
        rows.append(row)
    return Records(rows)


def _chooses(records: Records) -> bool:
    """Tell whether some candidates were not kept, or an oracle judged them."""
    if any(_has(records, name) for name in ERRORS):
        return True
    fractions = [row[ACCEPTANCE] for row in records if ACCEPTANCE in row]
    return any(fraction < 1 for fraction in fractions)


def _card(records: Records, arm: str, name: str | None) -> Iterator[Part]:
    if name is not None:
        yield f"Its function or class is `{name}`."
    curve = curve_of(records, arm, ACCEPTANCE)
    if curve is None:
        yield "No round tells how many candidates there were."
        return
    yield by_round(ACCEPTANCE, [records])
    columns = [ACCEPTANCE, *(each for each in ERRORS if _has(records, each)), "no_verdict"]
    yield _by_round_table(records, arm, [each for each in columns if _has(records, each)])
    if not any(_has(records, each) for each in ERRORS):
        yield (
            "How often it errs is not known: no oracle judged the rows. With a rule that knows the "
            "truth of some rows, `vl.Audited(verifier, oracle)` reports both error rates."
        )
    parts = [each for each in records.metrics if each.startswith(PARTS) and _has(records, each)]
    if parts:
        yield _parts_table(records, arm, parts)
    yield from _selects_for(records, arm)


def _by_round_table(records: Records, arm: str, columns: Sequence[str]) -> Table:
    """Return the columns by round; of many rounds some, the first and the last among them."""
    curves = {name: curve_of(records, arm, name) for name in columns}
    cells: dict[int, dict[str, str]] = {}
    for name, curve in curves.items():
        if curve is None:
            continue
        for place, k in enumerate(curve.round):
            n = str(curve.n[place])
            row = cells.setdefault(int(k), {"n": n})
            row[name] = at(curve, place)
            if n != row["n"]:
                row[name] += f" (n = {n})"
    rounds = _some(sorted(cells))
    rows: list[list[str]] = []
    for k in rounds:
        named = [cells[k].get(name, "") for name in columns]
        rows.append([str(k), cells[k]["n"], *named])
    caption = "Acceptance is kept / candidates."
    if set(ERRORS) & set(columns):
        caption += (
            " A false accept is a kept row that the oracle rejects, as a fraction of those it "
            "rejects. A false reject is a row left out that it accepts."
        )
    return Table(
        f"{caption} ± is half of a 95 % interval over seeds", ["round", "n", *columns], rows
    )


def _some(rounds: Sequence[int]) -> list[int]:
    """Return all rounds, or of many some that are evenly apart, with the first and the last."""
    if len(rounds) <= MOST_ROUNDS:
        return list(rounds)
    last = len(rounds) - 1
    places = [round(last * i / (MOST_ROUNDS - 1)) for i in range(MOST_ROUNDS)]
    return [rounds[place] for place in dict.fromkeys(places)]


def _parts_table(records: Records, arm: str, names: Sequence[str]) -> Table:
    rows = _first_and_last(records, arm, {name: name for name in names})
    return Table("Its parts and groups", ["column", "n", "first round", "last round"], rows)


def _selects_for(records: Records, arm: str) -> Iterator[Part]:
    """Yield what is known of kept rows beside all candidates."""
    shifts: dict[str, str] = {}
    for name in records.metrics:
        feature = name.removeprefix("shift_")
        if name != feature and _has(records, name):
            shifts[name] = f"{feature}: mean of kept - all, in standard deviations"
            shifts[f"spread_{feature}"] = f"{feature}: standard deviation of kept / all"
    if _has(records, "spread_kept"):
        shifts["spread_kept"] = "spread of the kept rows; that of all is among the metrics"
    both = _pairs(records)
    if not shifts and not both:
        yield (
            "What it selects for is not known: no column compares kept rows with all candidates. "
            "`vl.SelectionBias(features)` in `observe` does."
        )
        return
    rows = _first_and_last(records, arm, {key: shifts[key] for key in shifts if _has(records, key)})
    for name, (kept, candidates) in both.items():
        gaps: list[dict[str, object]] = []
        for row in records:
            if row.get(kept) is not None and row.get(candidates) is not None:
                gap = row[kept] - row[candidates]
                place = {"arm": arm, "seed": row.get("seed"), "round": row["round"]}
                gaps.append({**place, name: gap})
        rows += _first_and_last(Records(gaps), arm, {name: f"{name}: mean of kept - all"})
    caption = "What it selects for: 0 apart, and a ratio of 1, is a choice at random"
    yield Table(caption, ["feature", "n", "first round", "last round"], rows)


def _pairs(records: Records) -> dict[str, tuple[str, str]]:
    """Return the features that are told of kept rows and of candidates, with both columns."""
    found: dict[str, tuple[str, str]] = {}
    for kept in records.metrics:
        name = kept.removeprefix("kept_")
        beside = f"candidates_{name}"
        if name != kept and beside in records.metrics and _has(records, kept):
            found[name] = (kept, beside)
    return found


def _first_and_last(records: Records, arm: str, names: Mapping[str, str]) -> list[list[str]]:
    rows: list[list[str]] = []
    for name, words in names.items():
        curve = curve_of(records, arm, name)
        if curve is not None:
            rows.append([words, str(curve.n[-1]), at(curve, 0), at(curve, -1)])
    return rows


def _has(records: Records, name: str) -> bool:
    return any(row.get(name) is not None for row in records)
