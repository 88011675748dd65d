"""`plot`: a line and a band for each arm, and labels that say which way is better."""

import json
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

import veriloop as vl
from veriloop import Key, Records
from veriloop.plotting import plot

VALUES = Key(0).numpy().standard_normal((2, 4, 3))
ROWS = [
    {
        "arm": ("verified", "unverified")[a],
        "seed": s,
        "round": k,
        "recall": VALUES[a, s, k],
        "mine": k,
    }
    for a, s, k in np.ndindex(VALUES.shape)
]


@pytest.fixture
def axes():
    return Figure().subplots()


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_one_line_an_arm_and_the_interval_as_a_band(axes):
    """The lines are the means; each band reaches from low to high."""
    assert plot(ROWS, "recall", axes=axes) is axes
    assert legend(axes) == ["verified (n = 4)", "unverified (n = 4)"]
    for line, band, arm in zip(
        axes.lines, axes.collections, ("verified", "unverified"), strict=True
    ):
        curve = Records(ROWS).mean(arm, "recall")
        assert line.get_xdata().tolist() == [0, 1, 2]
        assert line.get_ydata() == pytest.approx(curve.mean)
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == pytest.approx(curve.low.min()) and heights.max() == pytest.approx(
            curve.high.max()
        )


@pytest.mark.parametrize(
    ("metric", "given", "wanted"),
    [
        ("recall", {}, "recall, higher is better"),
        ("mine", {}, "mine"),
        ("mine", {"worse": "higher", "label": "my cost (EUR)"}, "my cost (EUR), lower is better"),
        ("recall", {"worse": None}, "recall"),
    ],
)
def test_the_axis_says_what_and_which_way_is_better(metric, given, wanted, axes):
    """Known metrics from the table; a user's own by arguments."""
    plot(ROWS, metric, axes=axes, **given)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("round", wanted)


def test_some_arms_in_a_chosen_order(axes):
    plot(ROWS, "recall", arms=["unverified"], axes=axes)
    assert legend(axes) == ["unverified (n = 4)"]


def test_a_run_that_goes_on_says_how_many_seeds_it_has(axes):
    """The last round of two seeds is missing."""
    plot([row for row in ROWS if row["seed"] < 2 or row["round"] < 2], "recall", axes=axes)
    assert legend(axes)[0] == "verified (n = 2 to 4)"


def test_one_seed_has_no_band(axes):
    plot([row for row in ROWS if row["seed"] == 0], "recall", axes=axes)
    assert len(axes.lines) == 2 and not axes.collections


def test_rounds_are_whole_numbers(axes):
    plot(ROWS, "recall", axes=axes)
    axes.figure.draw_without_rendering()
    assert all(float(tick).is_integer() for tick in axes.get_xticks())


def test_no_global_state_is_touched(axes):
    """The user's own style and backend stay."""
    before = dict(matplotlib.rcParams)
    plot(ROWS, "recall", axes=axes)
    assert dict(matplotlib.rcParams) == before


def test_importing_it_sets_no_backend_and_loads_no_matplotlib():
    code = "import json, sys, veriloop; veriloop.plot; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "matplotlib" not in json.loads(ran.stdout)
    assert vl.plot is plot and "plot" in dir(vl)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot(ROWS, "recal"), "no metric is called 'recal'; did you mean 'recall'"),
        (lambda: plot(ROWS, "recall", arms=["no"]), "no arm is called 'no'"),
        (lambda: plot(ROWS, "recall", worse="more"), "worse must be 'higher', 'lower' or None"),
        (lambda: plot([{"round": 1, "recall": 1.0}], "recall"), "needs rows with an arm"),
    ],
)
def test_a_mistake_is_refused_before_a_figure_is_made(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_without_axes_a_figure_is_made():
    from matplotlib import pyplot

    with matplotlib.rc_context({"backend": "Agg"}):
        axes = plot(ROWS, "recall")
        assert axes.figure.number in pyplot.get_fignums()
        pyplot.close(axes.figure)


def test_an_arm_without_the_metric_has_no_line_and_the_legend_says_so(axes):
    """It is missing, or NaN in every row; the other arms are drawn."""
    plain = [{"arm": "plain", "seed": 0, "round": k, "recall": float("nan")} for k in range(3)]
    bare = [{"arm": "bare", "seed": 0, "round": k} for k in range(3)]
    plot([*plain, *ROWS, *bare], "recall", axes=axes)
    assert legend(axes) == [
        "plain (no recall)",
        "verified (n = 4)",
        "unverified (n = 4)",
        "bare (no recall)",
    ]
    assert [len(line.get_xdata()) for line in axes.lines] == [0, 3, 3, 0]


def test_a_metric_that_no_arm_has_is_refused(axes):
    rows = [{"arm": "a", "seed": 0, "round": k, "recall": float("nan")} for k in range(3)]
    with pytest.raises(ValueError, match="'recall': no round has a number"):
        plot(rows, "recall", axes=axes)
