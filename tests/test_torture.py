"""Torture: its cases come in turn, its damages damage, its verdicts tell good from bad, it goes on."""
# ruff: noqa: E402

import json
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.is_dir():  # the tests of an installed package
    pytest.skip("there are no benchmarks", allow_module_level=True)
sys.path.insert(0, str(BENCHMARKS))
pytest.importorskip("psutil")

from torture import damages, kills, pairs, replies
from torture.judges import JUDGES, ROWS, Judges
from torture.judges import verdict as of_judge
from torture.processes import content, ended, finished, leftovers, records, started
from torture.programs import SHARES, programs, turns
from torture.tables import Columns, bad, known, tables
from torture.verifiers import VERIFIERS, Verifiers
from torture.verifiers import verdict as of_verifier

from veriloop import Key

SOUND = {"code": 0, "traceback": False, "differs": False, "named": False}


def test_each_program_comes_as_often_as_its_share_and_none_waits_for_the_end():
    order = turns(SHARES)
    assert {name: order.count(name) for name in SHARES} == SHARES
    assert set(order[: len(order) // 2]) == set(SHARES)


def test_the_programs_are_there_for_all_backends(tmp_path):
    for program in programs(tmp_path).values():
        assert Path(program.first[0]).is_file() and program.other != program.first
    assert set(programs(tmp_path)) == set(SHARES)


def test_a_program_is_run_killed_and_looked_at(tmp_path):
    """The light one, in a new process: its records are those of the same again."""
    program = programs(tmp_path)["loop"]
    out = tmp_path / "run"
    whole = ended(started(program.first, out))
    assert whole.code == 0 and not whole.traceback
    first = records(out)
    assert first.count(b"\n") == 13 and finished(out) and not leftovers(out)
    process = started(program.again, out)
    assert kills.killed(process, program, 0.0)
    assert ended(process).code == -9
    assert not kills.killed(process, program, 0.0)  # it has ended
    assert ended(started(program.again, out)).code == 0 and records(out) == first
    refused = ended(started(program.other, out))
    assert refused.code == 2 and not refused.traceback


@pytest.fixture
def run(tmp_path):
    for k in range(3):
        folder = tmp_path / f"round_{k:04d}" / "arm"
        folder.mkdir(parents=True)
        (folder / "rows.jsonl").write_text(f"row {k}\n" * 9)
    return tmp_path


@pytest.mark.parametrize("damage", damages.DAMAGES, ids=lambda damage: damage.__name__)
def test_every_damage_changes_what_is_there(run, damage):
    before = content(run)
    file = run / "round_0000" / "arm" / "rows.jsonl"
    damage(file, run / "round_0002" / "arm", np.random.default_rng(0))
    after = content(run)
    assert after != before
    changed = {name for name in before if after.get(name) != before[name]}
    assert all(name.startswith(("round_0000", "round_0002")) for name in changed)
    if damage is damages.swap:
        assert sorted(after.values()) == sorted(before.values()) and len(changed) == 2


def test_kept_networks_change_places_file_by_file(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.safetensors").write_text(name)
    a, b = (tmp_path / f"{name}.safetensors" for name in "ab")
    damages.swap(a, b, np.random.default_rng(0))
    assert a.read_text() == "b" and b.read_text() == "a"


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, "no effect"),
        ({"named": True}, "named, redone, same"),
        ({"code": 2}, "refused"),
        ({"code": 124}, "hangs"),
        ({"differs": True}, "silent"),
        ({"differs": True, "named": True}, "named, differs"),
        ({"code": 1, "traceback": True}, "traceback"),
    ],
)
def test_the_verdict_on_a_damage(found, told):
    assert damages.verdict({**SOUND, **found}) == told


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, "same bytes"),
        ({"code": 1}, "resume failed"),
        ({"unfinished": True}, "resume failed"),
        ({"differs": True}, "records differ"),
        ({"leftovers": [".running"]}, "leftovers"),
        ({"traceback": True}, "traceback"),
    ],
)
def test_the_verdict_on_a_kill(found, told):
    assert kills.verdict({**SOUND, "unfinished": False, "leftovers": [], **found}) == told


@pytest.mark.parametrize(
    ("codes", "garbled", "told"),
    [
        ([0, 2], False, "one refused"),
        ([0, 0], False, "one after the other"),
        ([0, 0], True, "garbled"),
        ([2, 2], False, "both failed"),
        ([0, 1], False, "both failed"),
    ],
)
def test_the_verdict_on_a_pair(codes, garbled, told):
    assert pairs.verdict({"codes": codes, "garbled": garbled, "traceback": False}) == told


@pytest.mark.parametrize("name", ["good", "half NaN", "all NaN", "raises", "a column"])
def test_a_verifier_comes_to_what_is_wanted(name, tmp_path):
    found = Verifiers(tmp_path)(list(VERIFIERS).index(name), Key(0))
    assert of_verifier(found) == VERIFIERS[name][1]
    assert of_verifier({**found, "outcome": "other"}) == "not as wanted"


@pytest.mark.parametrize("name", ["good", "401", "deep JSON", "closes the connection", "NaN"])
@pytest.mark.parametrize("every", [False, True])
def test_a_judge_costs_its_rows_their_verdict_or_is_refused(name, every, tmp_path, monkeypatch):
    pytest.importorskip("httpx2")
    monkeypatch.setenv("TORTURE_KEY", "")
    found = Judges(tmp_path)(list(JUDGES).index(name) + every * len(JUDGES), Key(0))
    wanted = "judged"
    if name != "good":
        wanted = "refused" if every else "rows without verdict"
    assert of_judge(found) == wanted
    assert of_judge({**found, "outcome": ROWS // 4}) == "not as wanted"
    assert of_judge({**found, "elsewhere": 1}) == "late or elsewhere"


def test_a_server_answers_other_rows_well():
    stated, _, body = replies.reply(200, b"x").partition(b"\r\n\r\n")
    assert b"Content-Length: 1" in stated and b"Connection: close" in stated and body == b"x"
    assert json.loads(replies.says("7"))["choices"][0]["message"]["content"] == "7"


COLUMNS = {"kills": Columns(("same",), ("differ",), sums={"kills": "hit"})}
CASES = [
    {"series": "kills", "number": 0, "where": "loop", "verdict": "same", "kills": 2},
    {"series": "kills", "number": 1, "where": "loop", "verdict": "differ", "kills": 1},
    {"series": "kills", "number": 2, "where": "digits", "verdict": "same", "kills": 1},
]


def test_a_table_has_a_row_for_each_place_and_a_column_for_each_verdict():
    assert tables(CASES, COLUMNS).splitlines() == [
        "| kills | cases | hit | same | differ |",
        "| --- | --: | --: | --: | --: |",
        "| digits | 1 | 1 | 1 | 0 |",
        "| loop | 2 | 3 | 1 | 1 |",
        "| sum | 3 | 4 | 2 | 1 |",
    ]
    assert bad(CASES, COLUMNS) == [CASES[1]]
    assert bad([{**CASES[0], "verdict": "unheard of"}], COLUMNS)


def test_cases_that_are_done_are_known_though_the_last_line_is_cut(tmp_path):
    file = tmp_path / "cases.jsonl"
    assert known(file) == {}
    lines = [json.dumps(case) for case in CASES]
    file.write_text("\n".join(lines)[:-9])
    assert set(known(file)) == {("kills", 0), ("kills", 1)}


def test_records_that_differ_are_told_by_how_much():
    from torture.same import compared

    row = b'{"round": 1, "fid": 2.0}\n'
    assert compared(row, row) == "same bytes"
    assert compared(row, b'{"round": 1, "fid": 2.5}\n') == "differ by 2e-01"
    assert compared(row, row + row) == "other rows"
