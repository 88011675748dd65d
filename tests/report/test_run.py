"""How a run was made, in a sentence."""

from veriloop.report.run import made

ABOUT = {
    "experiment": "mine",
    "preset": "laptop",
    "config": {"seed": 3, "engine": "serial"},
    "seconds": {"work": 81.4, "figure": 2.0},
    "device": {"machine": "x86_64", "cpus": 2},
    "commit": "a" * 40,
    "dirty": False,
}
STOPPED = {"commit": "b" * 40, "dirty": True, "seconds": {}}


def test_a_run_of_one_call_says_its_time_and_commit():
    assert made(ABOUT) == (
        "`python mine.py --preset laptop --engine serial`, seed 3: 81 s on 2 cores (x86_64), "
        "commit aaaaaaaaaa."
    )


def test_a_run_that_went_on_does_not_pass_its_last_call_off_as_the_whole():
    """The seconds are of one call of three, and two commits made the records."""
    again = {**STOPPED, "commit": "a" * 40, "dirty": False}
    assert made({**ABOUT, "earlier": [STOPPED, again]}) == (
        "`python mine.py --preset laptop --engine serial`, seed 3: the last of 3 calls took 81 s "
        "on 2 cores (x86_64), commit aaaaaaaaaa, before that commit bbbbbbbbbb with changes."
    )
