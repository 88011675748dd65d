"""The card of a verifier: acceptance, error rates beside an oracle, what it selects for."""

from __future__ import annotations

import pytest

from veriloop import Records
from veriloop.report import Section, Table, as_markdown, section


def cards(told):
    return {
        part.title: part
        for part in told.parts
        if isinstance(part, Section) and part.title.startswith("Verifier of the arm ")
    }


def table_of(card, begin):
    (found,) = (p for p in card.parts if isinstance(p, Table) and p.caption.startswith(begin))
    return [dict(zip(found.header, row, strict=True)) for row in found.rows]


def number(cell):
    return float(cell.split(" ")[0])


def test_there_is_one_for_each_arm_with_a_verifier(told):
    assert set(cards(told)) == {"Verifier of the arm verified", "Verifier of the arm two parts"}


def test_acceptance_and_error_rates_are_means_over_seeds_by_round(study, told):
    records = Records.read(study)
    rows = table_of(cards(told)["Verifier of the arm verified"], "Acceptance")
    assert [row["round"] for row in rows] == ["1", "2", "3", "4", "5"]
    for row in rows:
        of_round = [each for each in records.select(arm="verified", round=int(row["round"]))]
        accepted = sum(each["kept"] / each["candidates"] for each in of_round) / 5
        assert number(row["acceptance"]) == pytest.approx(accepted, abs=0.01)
        for rate in ("false_accept", "false_reject"):
            known = [each[rate] for each in of_round if each[rate] is not None]
            assert number(row[rate]) == pytest.approx(sum(known) / len(known), abs=0.02)
            assert ("(n = " in row[rate]) == (len(known) < 5)


def test_it_says_what_is_selected_for(study, told):
    """Kept rows are the smaller ones."""
    rows = table_of(cards(told)["Verifier of the arm verified"], "What it selects for")
    shift, ratio = rows
    assert shift["feature"].startswith("size: mean of kept - all")
    values = [each["shift_size"] for each in Records.read(study).select(arm="verified", round=1)]
    assert number(shift["first round"]) == pytest.approx(sum(values) / 5, abs=0.01)
    assert number(shift["first round"]) < 0
    assert ratio["feature"].startswith("size: standard deviation")


def test_what_is_not_known_is_told_with_what_would_tell_it(told):
    said = as_markdown([cards(told)["Verifier of the arm two parts"]])
    assert "no oracle judged the rows" in said and "vl.Audited" in said
    assert "What it selects for is not known" in said and "vl.SelectionBias" in said
    assert "| acceptance_near |" in said and "| disagreement_near_low |" in said


def test_pairs_of_columns_tell_what_is_selected_for(tmp_path):
    """As those that the summaries' records have; without run.json a verifier is seen by its choice."""
    rows = []
    for seed in range(3):
        both = {"candidates_rouge1": 0.3, "kept_rouge1": 0.4 + 0.01 * seed}
        rows.append({"arm": "a", "seed": seed, "round": 1, "candidates": 8, "kept": 2, **both})
        rows.append({"arm": "b", "seed": seed, "round": 1, "candidates": 8, "kept": 8})
    Records(rows).write(tmp_path / "records.jsonl")
    found = cards(section(tmp_path))
    assert set(found) == {"Verifier of the arm a"}
    (row,) = table_of(found["Verifier of the arm a"], "What it selects for")
    assert row["feature"] == "rouge1: mean of kept - all"
    assert number(row["first round"]) == pytest.approx(0.11)
