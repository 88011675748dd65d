# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What theory says about verified retraining
#
# In linear regression the whole loop can be computed. The synthetic rows are copies of a few fixed
# directions, so the loop splits into independent scalars. In direction $j$ the estimate is off by
# $a$, in units of the noise $\sigma$. The model writes labels with distribution $N(a, 1)$. The
# verifier accepts those between $c_j - w$ and $c_j + w$, and the next $a$ is the mean of $n$
# accepted labels.
#
# - The half width $w = (r + \sigma_c)/\sigma$ says how lenient the verifier is. $r$ is the radius
#   of its knowledge ball and $\sigma_c = \sigma\sqrt{2/\pi}$ its slack.
# - The offset $c_j$ says how biased it is. The length of the vector $c$ is the bias $\Delta$: the
#   distance from the centre of the ball, $\theta_c$, to the truth, $\theta^*$.
# - The singular value $\mu_j$ of the real design says how good the first estimate is: its error has
#   variance $1/\mu_j^2$.
#
# Every error below is squared and in units of $\sigma^2$. Simulated points are means with 95 %
# intervals. Theorem numbers are those of Yi, Liu, Cheng and Xu (arXiv:2510.16657). Each section
# says whether its curves are exact, bounds, or leading-order expansions.

# %%
import matplotlib.pyplot as plt
import numpy as np

import veriloop as vl
from veriloop import linear
from veriloop.linear import theory

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
plt.rcParams["figure.figsize"] = (6, 3)
plt.rcParams["figure.constrained_layout.use"] = True
plt.rcParams["font.size"] = 8
plt.rcParams["legend.frameon"] = False
POINTS = {"fmt": "o", "color": "black", "markersize": 2.5, "capsize": 2}
SIZE = 100  # kept rows per direction and round

problem = linear.Problem.gaussian(bias=1.0, radius=0.5)
mu = problem.singular_values
direction = problem.center_offset  # the bias is 1, so this is a unit vector


def half_width(radius):
    return (radius + problem.slack) / problem.noise


def mean_and_interval(errors):
    """Return the mean squared length over replicates (axis 1), and half its 95 % interval."""
    squared = np.sum(errors**2, axis=2)
    standard_error = squared.std(axis=1, ddof=1) / np.sqrt(squared.shape[1])
    return squared.mean(axis=1), 1.96 * standard_error


# %% [markdown]
# ## One round contracts towards the centre
#
# `contraction_factor` is $\rho$: without sampling noise, one round brings the estimate at least
# this much closer to the verifier's centre. It depends on the radius alone, not on the bias. A
# strict verifier contracts fast. From a radius of about 3 on it hardly contracts at all, because
# nearly every label passes. The factor is exact as the worst case over all starting points; other
# points contract more.
#
# `mean_map` is one noise-free round, $a \to T(a)$, and is exact. It meets the diagonal once, at
# $a = c$ (0.5 here), whatever the radius: the fixed point is what the verifier believes, not the
# truth at 0. The radius sets how fast the loop gets there.

# %%
_, (left, right) = plt.subplots(1, 2)
radius = np.linspace(0.0, 4.0, 200)
left.plot(radius, theory.contraction_factor(half_width(radius)), color=BLUE)
left.set(xlabel="radius r ($\\sigma$)", ylabel="contraction factor $\\rho$", ylim=(0, 1.02))

offset = np.linspace(-2.0, 3.0, 200)
right.plot(offset, offset, color=GREY, linestyle="--", label="no verifier")
for r, color in ((2.0, GREEN), (1.0, ORANGE), (0.1, BLUE)):
    right.plot(offset, theory.mean_map(offset, 0.5, half_width(r)), color=color, label=f"r = {r:g}")
right.plot(0.5, 0.5, "o", color="black", markersize=4)
arrow = {"arrowstyle": "-", "linewidth": 0.6}
right.annotate("fixed point", (0.5, 0.5), xytext=(0.9, -0.7), arrowprops=arrow)
right.set_xlabel("offset before the round, a ($\\sigma$)")
right.set_ylabel("offset after it, T(a) ($\\sigma$)")
right.legend()
plt.show()

# %% [markdown]
# ## The error after one round
#
# `one_round_mse` gives the mean squared error after one round. The blue line is exact, by
# quadrature. The orange line is Theorem 3.1, a leading-order expansion for good first estimates
# (large $\mu_j$) and many kept rows. Points are 1,000 replicates of `simulate`. The dashed line is
# the error of the real data alone, also exact.
#
# With 100 real rows the expansion is as good as exact. With 12 real rows, for eight unknowns, it is
# not, because the first estimate is often far out and the higher orders count. The exact curve
# holds in both cases. One round helps where the curve is below the dashed line: a verifier need not
# be unbiased to help, and the poorer the real data, the more bias it may have.

# %%
biases = np.linspace(0.0, 1.5, 61)
fig, axes = plt.subplots(1, 2)
for ax, rows in zip(axes, (100, 12), strict=True):
    few = linear.Problem.gaussian(bias=1.0, radius=0.5, rows=rows)
    unit = few.center_offset
    w = few.half_width
    offsets = biases[:, None] * unit
    real_error = np.sum(few.singular_values**-2.0)
    ax.axhline(real_error, color=GREY, linestyle="--", label="real data alone")
    for method, color, style in (("exact", BLUE, "-"), ("expansion", ORANGE, ":")):
        mse = theory.one_round_mse(few.singular_values, offsets, w, SIZE, method)
        ax.plot(biases, mse, color=color, linestyle=style, label=method, linewidth=1.5)
    for i, bias in enumerate(biases[::10]):
        key = vl.Key(0).fold(rows, i)
        a = linear.simulate(few.singular_values, bias * unit, w, [SIZE], 1000, key)
        mean, half = mean_and_interval(a)
        ax.errorbar(bias, mean[1], half[1], **POINTS, linewidth=0.8)
    ax.set(xlabel="bias $\\Delta$ ($\\sigma$)", title=f"{rows} real rows", ylim=(0, None))
axes[0].set_ylabel("squared error after round 1 ($\\sigma^2$)")
axes[0].legend()
plt.show()

# %% [markdown]
# ## When does one round pay?
#
# `break_even_bias` is the bias at which one round neither helps nor harms; it is exact. It rises
# with the number of kept rows. Even with infinitely many it stays finite: a biased verifier cannot
# be outvoted by more synthetic data. At zero, even an unbiased verifier is too lenient for that
# number of rows.
#
# `smallest_size` is the number of kept rows per direction at which one round starts to pay. The
# solid line is exact; the dotted one comes from the expansion of Theorem 3.1. Both are for an
# unbiased verifier. A lenient verifier needs many more rows, because it takes away less of the
# sampling noise that a new fit adds.

# %%
_, (left, right) = plt.subplots(1, 2)
radius = np.linspace(0.01, 2.5, 60)
arms = {"30 rows": (30, ORANGE), "100 rows": (100, BLUE), "infinitely many": (np.inf, GREEN)}
for name, (size, color) in arms.items():
    break_even = theory.break_even_bias(mu, direction, half_width(radius), size)
    left.plot(radius, break_even, color=color, label=name)
left.set(xlabel="radius r ($\\sigma$)", ylim=(0, None))
left.set_ylabel("break-even bias $\\Delta$ ($\\sigma$)")
left.legend(title="kept rows per direction")
for method, color, style in (("exact", BLUE, "-"), ("expansion", ORANGE, ":")):
    needed = theory.smallest_size(mu, 0.0, half_width(radius), method)
    right.semilogy(radius, needed, color=color, linestyle=style, label=method)
right.set(xlabel="radius r ($\\sigma$)", ylabel="smallest size that pays (rows)")
right.legend()
plt.show()

# %% [markdown]
# ## Thirty rounds
#
# Now the verifier is strongly biased, by one $\sigma$, and each round keeps 100 rows per direction.
# The plots show the distance to the verifier's centre, not to the truth. Points are 1,000
# replicates.
#
# - `error_bound` is Theorem 4.1. It is an upper bound and holds in every round. It is close when
#   $\rho$ is small, and loose when $\rho$ is near 1, because most estimates contract faster than
#   the worst case.
# - `plateau` is the limit of that bound, so it is an upper bound on where the loop levels off. It
#   falls as one over the number of kept rows: with a constant size the sampling noise never goes
#   away.
# - `mean_path` iterates the mean map from the truth. It is exact for infinitely many real and kept
#   rows. At 100 it shows the drift alone and says nothing about the noise floor.

# %%
ROUNDS = 30
fig, axes = plt.subplots(1, 2, sharey=True)
for ax, r in zip(axes, (1.0, 1.5), strict=True):
    w = half_width(r)
    sizes = [SIZE] * ROUNDS
    a = linear.simulate(mu, direction, w, sizes, 1000, vl.Key(1))
    mean, half = mean_and_interval(a - direction)
    path = theory.mean_path(0.0, direction, w, ROUNDS)
    initial = np.sum(mu**-2.0) + np.sum(direction**2)
    bound = theory.error_bound(initial, w, sizes, dim=len(mu))
    level = theory.plateau(w, SIZE, dim=len(mu))
    without_noise = np.sum((path - direction) ** 2, axis=1)
    ax.errorbar(range(ROUNDS + 1), mean, half, **POINTS, label="simulation")
    ax.plot(bound, color=BLUE, label="error_bound (bound)")
    ax.axhline(level, color=BLUE, linestyle="--", label="plateau (bound)")
    ax.plot(without_noise, color=GREEN, label="mean_path (no noise)")
    ax.set(xlabel="round", title=f"r = {r:g}", yscale="log", ylim=(0.01, 2))
axes[0].set_ylabel("squared distance to centre ($\\sigma^2$)")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
plt.show()

# %% [markdown]
# ## Three regimes
#
# Let the kept rows grow from 400 to 3,000 per direction, so that the noise dies out, and look at
# the distance to the truth. Verified curves are simulations with 95 % bands, at $r = 0.5$. The grey
# curve, without a verifier, is exact (`unfiltered_mse`), and so is the dashed line for real data
# alone. Dotted lines mark $\Delta^2$, the exact limit for ever more rows.
#
# 1. Unbiased ($\Delta = 0$): every round helps, and the loop goes to the truth.
# 2. Mildly biased ($\Delta = 0.3$): the first round helps, because it takes away more noise than it
#    adds bias. Later rounds give the gain back, and the loop ends slightly above where it began.
#    Stop early.
# 3. Strongly biased ($\Delta = 0.8$): the error rises from the first round on, up to $\Delta^2$.
#    The loop learns the verifier's mistake faster than it loses noise. Thirty rounds without a
#    verifier do less harm.

# %%
sizes = vl.schedules.linear(400, 3000, ROUNDS)
rounds = range(ROUNDS + 1)
ends = {}
arms = {"strongly biased": (0.8, ORANGE), "mildly biased": (0.3, BLUE), "unbiased": (0.0, GREEN)}
for name, (bias, color) in arms.items():
    a = linear.simulate(mu, bias * direction, half_width(0.5), sizes, 60, vl.Key(2))
    mean, half = mean_and_interval(a)
    ends[name] = mean[-1]
    plt.plot(mean, color=color, label=f"{name}, $\\Delta$ = {bias:g}")
    plt.fill_between(rounds, mean - half, mean + half, color=color, alpha=0.25, linewidth=0)
    if bias:
        plt.axhline(bias**2, color=color, linestyle=":", linewidth=1)
unverified = theory.unfiltered_mse(mu, sizes)
plt.plot(unverified, color=GREY, label="unverified")
plt.axhline(unverified[0], color=GREY, linestyle="--", linewidth=1, label="real data alone")
plt.yscale("log")
plt.xlabel("round")
plt.ylabel("squared error to the truth ($\\sigma^2$)")
plt.legend(loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## Which function is what
#
# | function | status |
# |---|---|
# | `contraction_factor`, `mean_map`, `acceptance`, `truncated_moments` | exact |
# | `one_round_mse`, `log_improvement`, `smallest_size` | exact; `method="expansion"`: Theorem 3.1 |
# | `break_even_bias` | exact |
# | `unfiltered_mse` | exact, for any sizes |
# | `mean_path` | exact for infinitely many rows |
# | `error_bound`, `plateau` | upper bounds (Theorem 4.1) on the distance to the centre |
# | `simulate` | exact in distribution; its means have sampling error |
