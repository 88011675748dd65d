"""Records: one reader; means and paired differences with Student's t interval."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from veriloop import Key, Record, Records
from veriloop.records import line

VALUES = Key(0).numpy().standard_normal((2, 5, 4))  # arm, seed, round
ARMS = ("verified", "unverified")


def rows(values=VALUES):
    """One row an arm, seed and round."""
    return [
        {
            "arm": ARMS[a],
            "seed": s,
            "round": k,
            "candidates": 10,
            "kept": 5,
            "error": values[a, s, k],
        }
        for a, s, k in np.ndindex(values.shape)
    ]


@pytest.fixture
def records():
    return Records(rows())


def test_what_there_is(records):
    """Arms, seeds and metrics in the order in which they come; one line for the whole."""
    assert (
        records.arms == ARMS and records.seeds == (0, 1, 2, 3, 4) and records.metrics == ("error",)
    )
    assert len(records) == 40 and records[0]["arm"] == "verified"
    wanted = "Records(40 rows; arms: verified, unverified; 5 seeds; rounds: 0 to 3; metrics: error)"
    assert repr(records) == wanted


def test_a_mean_is_the_textbooks(records):
    """Mean and ends by round are those of SciPy's t distribution over the seeds."""
    curve = records.mean("verified", "error")
    assert curve.round.tolist() == [0, 1, 2, 3] and curve.n.tolist() == [5] * 4
    for k in range(4):
        sample = VALUES[0, :, k]
        low, high = stats.t.interval(0.95, 4, sample.mean(), stats.sem(sample))
        assert (curve.mean[k], curve.low[k], curve.high[k]) == pytest.approx(
            (sample.mean(), low, high)
        )


def test_a_difference_is_paired_by_seed(records):
    """It is the interval of the differences; the order of rows does not matter."""
    shuffled = Records([records[int(i)] for i in Key(1).numpy().permutation(len(records))])
    for each in (records, shuffled):
        gap = each.difference("verified", "unverified", "error")
        for k in range(4):
            sample = VALUES[0, :, k] - VALUES[1, :, k]
            low, high = stats.t.interval(0.95, 4, sample.mean(), stats.sem(sample))
            assert (gap.mean[k], gap.low[k], gap.high[k]) == pytest.approx(
                (sample.mean(), low, high)
            )
        assert gap.n.tolist() == [5] * 4 and gap.left_out.tolist() == [0] * 4


def test_seeds_without_a_partner_are_left_out_and_counted():
    """A run that goes on has arms of different lengths."""
    part = [
        row for row in rows() if row["arm"] == "verified" or (row["seed"] < 3 and row["round"] < 2)
    ]
    gap = Records(part).difference("verified", "unverified", "error")
    assert (
        gap.round.tolist() == [0, 1]
        and gap.n.tolist() == [3, 3]
        and gap.left_out.tolist() == [2, 2]
    )
    assert gap.mean[1] == pytest.approx((VALUES[0, :3, 1] - VALUES[1, :3, 1]).mean())


def test_arms_without_a_common_seed_have_no_difference():
    part = [row for row in rows() if (row["arm"] == "verified") == (row["seed"] < 2)]
    with pytest.raises(ValueError, match="paired by seed: no round has a number"):
        Records(part).difference("verified", "unverified", "error")


def test_one_seed_has_no_interval_and_equal_seeds_have_an_empty_one():
    """NaN says that nothing is known of the spread; no width says that seeds show none."""
    one = Records([row for row in rows() if row["seed"] == 0]).mean("verified", "error")
    assert np.isnan(one.low).all() and np.isnan(one.high).all() and one.n.tolist() == [1] * 4
    third = 1 / 3
    same = Records(rows(np.full((2, 5, 4), third)))
    curve = same.mean("verified", "error")
    assert set(curve.mean) == set(curve.low) == set(curve.high) == {third}
    assert set(same.difference(*ARMS, "error").high) == {0.0}


def test_a_missing_number_is_left_out_and_counted(tmp_path):
    """Null, NaN and no column at all are the same: None in a row, NaN in a column, null in JSON."""
    given = rows()
    given[0]["error"] = None
    given[4]["error"] = math.nan
    del given[8]["error"]
    for row in given:
        row["way"] = "once" if row["arm"] == "verified" else None
    records = Records(given)
    assert records[0]["error"] is records[4]["error"] is records[-1]["way"] is None
    curve = records.mean("verified", "error")
    assert curve.n.tolist() == [2, 5, 5, 5] and curve.left_out.tolist() == [3, 0, 0, 0]
    assert np.isnan(records.column("error")).sum() == 3
    records.write(tmp_path / "records.jsonl")
    assert Records.read(tmp_path) == records
    assert "NaN" not in (tmp_path / "records.jsonl").read_text()
    assert len(records.select(error=None)) == 3 and len(records.select(way=None)) == 20


def test_rows_written_are_the_bytes_read(tmp_path):
    """Reading and writing changes no byte."""
    text = "".join(map(line, rows()))
    (tmp_path / "records.jsonl").write_text(text)
    Records.read(tmp_path / "records.jsonl").write(tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_text() == text


@pytest.mark.parametrize("cut", [1, 20, 40])
def test_a_cut_last_line_is_left_out_and_said(cut, tmp_path):
    """What a process leaves that is killed, or still writes."""
    text = "".join(map(line, rows()))
    (tmp_path / "records.jsonl").write_text(text[:-cut] if cut > 1 else text + "{")
    with pytest.warns(UserWarning, match="the last line is cut and left out"):
        records = Records.read(tmp_path)
    assert len(records) == (39 if cut > 1 else 40)


def test_a_last_line_without_its_newline_is_read(tmp_path):
    (tmp_path / "records.jsonl").write_text("".join(map(line, rows())).rstrip("\n"))
    assert len(Records.read(tmp_path)) == 40


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot read .*name a run's folder"),
        ("", "holds no rows yet"),
        ('{"a": 1}\n{"a": \n{"a": 2}\n', "line 2: must be a JSON object"),
        ('{"a": 1}\n3\n', "line 2: must be a JSON object, got '3'"),
        ('{"a": [1]}\n', "row 0: 'a' must be a number or a string"),
    ],
)
def test_what_holds_no_records_is_refused(text, message, tmp_path):
    if text is not None:
        (tmp_path / "records.jsonl").write_text(text)
    with pytest.raises(ValueError, match=message):
        Records.read(tmp_path)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (
            lambda r: r.mean("verifed", "error"),
            "no arm is called 'verifed'; did you mean 'verified'",
        ),
        (lambda r: r.mean("verified", "eror"), "no metric is called 'eror'; did you mean 'error'"),
        (
            lambda r: r.difference("verified", "none", "error"),
            "no arm .* there are: verified, unverified",
        ),
        (lambda r: r.column("x"), "no metric is called 'x'"),
        (lambda r: r.column("arm"), "must hold numbers, got 'verified' in the row of arm verified"),
        (
            lambda r: Records([*r, {**r[0], "seed": 9, "error": "0.4"}]).mean("verified", "error"),
            "'error' must hold numbers, got '0.4' in the row of arm verified, seed 9, round 0",
        ),
        (lambda r: Records([{"error": 10**400}]), "row 0: 'error' must .* float can hold, got one"),
        (lambda r: Records([{"seed": True}]), "row 0: 'seed' must be a whole number, got True"),
        (lambda r: Records([{"round": False}]), "row 0: 'round' must be a whole number, got False"),
        (lambda r: r.select(arms="verified"), "no column is called 'arms'; did you mean 'arm'"),
        (lambda r: r.select(arm="verifed"), "did you mean 'verified'"),
        (lambda r: r.select(seed=17), "no seed is 17; there are: 0, 1, 2, 3, 4"),
        (lambda r: r.select(seed="1"), "no seed is '1'; there are: 0, 1, 2, 3, 4"),
        (lambda r: r.select(round="1"), "column 'round' has numbers, got the text '1'"),
        (lambda r: (r + r).mean("verified", "error"), "two rows of seed 0, round 0; select"),
        (lambda r: Records([3]), "row 0 must be a mapping"),
    ],
)
def test_a_mistake_is_answered_with_what_there_is(ask, message, records):
    with pytest.raises(ValueError, match=message):
        ask(records)


def test_a_seed_and_a_round_of_text_are_the_numbers_that_they_say(records):
    """Of a table of text alone; else seed 0 and seed '0' would count as two, and never pair."""
    told = [{**row, "seed": str(row["seed"]), "round": str(row["round"])} for row in records]
    assert Records(told) == records
    names = Records([{"seed": name} for name in ("007", "first", "1.5")])
    assert names.seeds == ("007", "first", "1.5")


def test_records_do_not_change(records):
    """Rows handed out are copies."""
    records[0]["error"] = 7
    next(iter(records))["arm"] = "mine"
    assert records == Records(rows())
    with pytest.raises(TypeError):
        records[0] = {}


def test_records_of_a_loop():
    """A sequence of `Record`s a seed, of one seed, and rows."""
    runs = [[Record(k, 10, 5, {"error": float(s + k)}) for k in range(3)] for s in range(2)]
    assert Records.of(runs).seeds == (0, 1) and Records.of(runs).column("error").tolist() == [
        0,
        1,
        2,
        1,
        2,
        3,
    ]
    assert Records.of(runs[0])[2] == {"round": 2, "candidates": 10, "kept": 5, "error": 2.0}
    assert Records.of(rows()) == Records(rows())


def test_a_data_frame_has_the_rows(records):
    frame = records.to_pandas()
    assert list(frame.columns) == ["arm", "seed", "round", "candidates", "kept", "error"]
    assert frame["error"].to_numpy() == pytest.approx(records.column("error"))
    missing = Records([{**row, "error": None} for row in records]).to_pandas()
    assert missing["error"].dtype == float and missing["error"].isna().all()


def test_without_pandas_the_error_names_what_to_install(records, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'veriloop\[study\]'"):
        records.to_pandas()


def test_reading_loads_neither_scipy_nor_pandas():
    code = "import json, sys, veriloop.records; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"scipy", "pandas"} & set(json.loads(ran.stdout))


def failing():
    """Five seeds of one arm over three rounds; seed 3 failed in round 2, seed 4 before round 0."""
    given = []
    for s in range(4):
        for k in range(2 if s == 3 else 3):
            given.append({"arm": "a", "seed": s, "round": k, "error": float(10 * k + s)})
    given.append({"arm": "a", "seed": 3, "round": 2, "failed": "RoundError: none kept"})
    given.append({"arm": "a", "seed": 4, "round": 0, "failed": "ValueError: no start"})
    return Records([*given, *({**row, "arm": "b"} for row in given[:3])])


def test_a_failed_arm_has_its_finished_rounds_and_a_mark():
    """The mark is no row: whoever goes over the rows meets numbers alone."""
    records = failing()
    assert len(records) == 14 and all("failed" not in row for row in records)
    assert [mark["seed"] for mark in records.failed] == [3, 4]
    assert "failed: a-seed3, a-seed4" in repr(records) and records.metrics == ("error",)


def test_a_mean_over_survivors_is_never_silent():
    """The seeds that failed are named and counted; n says over how many the mean is."""
    with pytest.warns(UserWarning, match="some seeds failed.*a-seed3 in round 2: RoundError: none"):
        curve = failing().mean("a", "error")
    assert curve.n.tolist() == [4, 4, 3] and curve.left_out.tolist() == [1, 1, 2]
    with pytest.warns(UserWarning, match="a-seed4 in round 0: ValueError: no start"):
        gap = failing().difference("a", "b", "error")
    assert gap.n.tolist() == [1, 1, 1] and gap.left_out.tolist() == [4, 4, 4]
    assert failing().mean("b", "error").n.tolist() == [1, 1, 1]


FAILED_AT_ONCE = {"arm": "a", "seed": 3, "round": 0, "failed": "ValueError: no start"}


def test_marks_are_kept_by_what_is_done_with_records(tmp_path):
    records = failing()
    records.write(tmp_path / "records.jsonl")
    assert Records.read(tmp_path) == records
    assert records.select(arm="a", seed=3).failed == records.failed[:1]
    assert records.select(round=1).failed == (records + Records(())).failed == records.failed
    assert records.select(arm="b").failed == () and len(records[:2].failed) == 2
    nothing_done = Records([{"arm": "b", "seed": 0, "round": 0, "error": 1.0}, FAILED_AT_ONCE])
    assert len(nothing_done.select(arm="a", seed=3)) == 0
    assert nothing_done.select(arm="a", seed=3).failed == nothing_done.failed


def test_a_metric_called_failed_is_a_metric():
    records = Records([{"arm": "a", "seed": 0, "round": 1, "failed": 3}])
    assert records.metrics == ("failed",) and records.failed == ()


def test_a_seed_that_has_not_come_so_far_is_counted():
    """Of a run that goes on, in which nothing failed: no warning, and n and left_out say it."""
    part = [row for row in rows() if row["seed"] < 4 or row["round"] < 2]
    curve = Records(part).mean("verified", "error")
    assert curve.n.tolist() == [5, 5, 4, 4] and curve.left_out.tolist() == [0, 0, 1, 1]


def test_infinite_numbers_are_written_and_read(tmp_path):
    """As JSON that any reader takes; a mean with one is infinite, and has no interval."""
    given = [
        {"arm": "a", "seed": s, "round": 0, "error": [math.inf, 1.0, -math.inf][s]}
        for s in range(3)
    ]
    Records(given).write(tmp_path / "records.jsonl")
    read = Records.read(tmp_path)
    assert read == Records(given) and read.column("error").tolist() == [math.inf, 1.0, -math.inf]
    curve = read.select(arm="a")[:2].mean("a", "error")
    assert curve.mean[0] == math.inf and np.isnan(curve.low[0]) and np.isnan(curve.high[0])
    assert np.isnan(read.mean("a", "error").mean[0])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_that_another_program_wrote_is_read(encoding, tmp_path):
    """A byte-order mark, the line ends of Windows, a blank line between and at the end."""
    text = "".join(map(line, rows())).replace("\n", "\r\n")
    half = text.index("\n", len(text) // 2) + 1
    data = (text[:half] + "\r\n" + text[half:] + "\r\n\n").encode(encoding)
    (tmp_path / "records.jsonl").write_bytes(data)
    assert Records.read(tmp_path) == Records(rows())


def test_rows_of_a_table_with_gaps_have_whole_rounds():
    """pandas makes floats of a column with a gap; a round is a whole number all the same."""
    records = Records([{**row, "round": float(row["round"]), "seed": 1.0} for row in rows()[:4]])
    assert records == Records([{**row, "seed": 1} for row in rows()[:4]])
    assert records.mean("verified", "error").round.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_may_end_as_on_other_systems(end, tmp_path):
    rows = [{"arm": "a", "seed": 0, "round": k, "error": 1.0} for k in range(3)]
    file = tmp_path / "records.jsonl"
    file.write_bytes("".join(map(line, rows)).replace("\n", end).encode())
    assert list(Records.read(file)) == rows


@pytest.mark.parametrize("text", ['[{"arm": "a", "seed": 0}]', "3"])
def test_a_file_of_other_json_is_not_taken_for_one_without_rows_yet(text, tmp_path):
    (tmp_path / "records.jsonl").write_text(text)
    with pytest.raises(ValueError, match="line 1: must be a JSON object, got "):
        Records.read(tmp_path)


def test_a_data_frame_counts_as_its_rows(records):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(list(records))
    assert Records.of(frame) == records


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("runs/first", r"records must be rows, got 'runs/first'; write Records\.read"),
        ({"arm": "a"}, "records must be rows, got one dict; give a list of mappings"),
        (3, "records must be rows, got one int"),
    ],
)
def test_what_is_no_rows_is_answered_with_what_to_write(given, message):
    with pytest.raises(TypeError, match=message):
        Records.of(given)
