"""Draw docs/first_figure.svg, the picture of the README, from committed records.

python docs/first_figure.py [FILE]

Ten seeds of real MNIST (docs/results/mnist_schedules): the distance to real digits by round, of
two arms that start alike. Bands are 95 % intervals over seeds.
"""

import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

import veriloop as vl

DOCS = Path(__file__).resolve().parent
ARMS = {
    "20k-unverified": ("no verifier", "#D55E00"),
    "20k-verified": ("verified", "#0072B2"),
}


def draw(file: Path) -> None:
    """Draw both arms, with a name at each line's end and an arrow to what is better."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams["svg.hashsalt"] = "veriloop"  # the same bytes every time
        drawn().savefig(file, metadata={"Date": None})


def drawn() -> Figure:
    """Return the figure."""
    records = vl.Records.read(DOCS / "results" / "mnist_schedules")
    figure = Figure(figsize=(5.6, 2.8), layout="constrained")
    axes = figure.subplots()
    for arm, (name, color) in ARMS.items():
        vl.plot(records, "mnist_fid", arms=[arm], axes=axes, color=color, linewidth=2)
        end = records.mean(arm, "mnist_fid").mean[-1]
        axes.annotate(name, (10.15, end), color=color, va="center", fontweight="bold")
    axes.get_legend().remove()
    axes.set(xlabel="round", xlim=(0, 12.2), xticks=range(0, 11, 2), ylim=(0, 850))
    axes.set_ylabel("distance to real digits")
    arrow = {"arrowstyle": "->", "color": "#555555"}
    axes.annotate("better", (1.2, 40), (1.2, 190), ha="center", color="#555555", arrowprops=arrow)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    files = sys.argv[1:] or [str(DOCS / "first_figure.svg")]
    draw(Path(files[0]))
