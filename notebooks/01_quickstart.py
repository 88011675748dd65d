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
# # Quickstart: train on data that a verifier has checked
#
# A model writes data. A verifier scores every row. A filter keeps the rows that score well. The
# model is refitted on what was kept, and the next round begins. Without a verifier the errors of
# each round add up, and the model drifts away from the truth. With one they need not. `veriloop`
# runs this loop for any model and any verifier.
#
# This notebook uses the smallest model on which all of this can be seen: linear regression in eight
# dimensions. Rows are `y = x . theta + sigma * noise`. The verifier knows that the true parameter
# lies in a ball. It accepts a row if some parameter in the ball explains the label, up to a slack
# of the mean absolute noise.

# %%
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np

import veriloop as vl
from veriloop import linear
from veriloop.testing import check_verifier

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6E6E6E"
plt.rcParams["figure.figsize"] = (6, 3)
plt.rcParams["figure.constrained_layout.use"] = True
plt.rcParams["font.size"] = 8

# The centre of the ball is 0.1 away from the truth (`bias`). Sigma is 1. There are 100 real rows.
problem = linear.Problem.gaussian(bias=0.1, radius=0.5)
problem.truth.round(2), problem.center.round(2)

# %% [markdown]
# ## Run the loop
#
# A `Loop` is a value made of plain functions: generate, verify, filter, refit, measure. `run`
# yields the state and the record of every round, and the body of the `for` loop is yours. The state
# holds the model. The record holds plain numbers. `size(100)` asks for 100 kept rows in each of
# eight fixed directions, however many candidates that takes.
#
# Round 0 is the start: the estimate from real data, before any row is generated. The key is the
# seed. Both loops get the same one, so they start from the same estimate and share their random
# draws.
#
# One run is noisy, so the second half of the cell repeats each loop with 20 keys and plots the mean
# error by round. Bands are 95 % intervals for the mean. The verified loop improves on the real data
# and stays there. The unverified loop is a random walk: every round adds the error of one more fit.

# %%
key = vl.Key(0)
start = problem.start(key.fold("real"))
with_ball = problem.loop(verify=problem.verifier)
without = problem.loop()
for name, loop in {"verified": with_ball, "unverified": without}.items():
    for state, record in vl.run(loop, key, start, [problem.size(100)] * 3):
        error = record.metrics["error_truth"]
        rows = f"kept {record.kept:3} of {record.candidates:4} rows"
        print(f"{name:10}  round {state.round}: {rows}, squared error {error:.3f} sigma^2")

ROUNDS = 15


def error_by_round(loop, seeds=20):
    """Return |theta - theta*|^2 / sigma^2, shape (seeds, ROUNDS + 1); column 0: of real data."""
    rows = []
    for key in map(vl.Key, range(seeds)):
        start = problem.start(key.fold("real"))
        rounds = vl.run(loop, key, start, [problem.size(100)] * ROUNDS)
        rows.append([record.metrics["error_truth"] for _, record in rounds])
    return np.array(rows)


def half_interval(errors):
    """Return half the 95 % interval for the mean of each column."""
    return 1.96 * errors.std(axis=0, ddof=1) / np.sqrt(len(errors))


def show(arms):
    """Plot the mean of each arm, name -> (errors, colour), with 95 % intervals for the mean."""
    for name, (errors, color) in arms.items():
        mean = errors.mean(axis=0)
        half = half_interval(errors)
        rounds = range(len(mean))
        plt.plot(mean, color=color, marker="o", markersize=2.5, label=name)
        plt.fill_between(rounds, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
    plt.yscale("log")
    plt.xlabel("round (0: fitted to real data)")
    plt.ylabel("squared error to the truth ($\\sigma^2$)")
    plt.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


verified = error_by_round(with_ball)
unverified = error_by_round(without)
show({"unverified": (unverified, GREY), "verified by the ball": (verified, BLUE)})
plt.show()

# %% [markdown]
# ## Write your own verifier
#
# A verifier is any callable `(key, batch) -> scores`. A score of 0 or more means "accept". There is
# no base class and nothing to register. The one below knows a single fact: no label exceeds a
# limit. `check_verifier` asserts what the loop relies on: one real number a row, the same on every
# call, and blind to the other rows.
#
# `replace` puts the verifier into the loop. This verifier makes things worse than no verifier at
# all. It cuts high labels and never low ones, so every round pulls the labels down and nothing
# pulls them back.


# %%
@dataclass(frozen=True)
class LabelLimit:
    limit: float

    def __call__(self, key, batch):
        return self.limit - batch.y


limit = LabelLimit(3.0)
check_verifier(limit, without.generate(vl.Key(0), problem.truth, 200))
limited = error_by_round(replace(without, verify=limit))
show({"label limit": (limited, ORANGE), "unverified": (unverified, GREY), "ball": (verified, BLUE)})
plt.show()

# %% [markdown]
# ## Compose verifiers
#
# `Noisy` makes a verifier that errs at known rates, and `all_of` accepts what every part accepts.
# The record then holds the acceptance of each part. It also holds error rates against an oracle,
# which here is the ball before `Noisy` flipped its verdicts. `false_accept` is the share kept of
# what the oracle rejects. `false_accept_ball` should be near 0.2, and `false_accept` lower, since
# some of those rows exceed the limit. `step` does one round.

# %%
both = vl.all_of(ball=vl.Noisy(problem.verifier, false_accept=0.2), limit=limit)
_, record = replace(without, verify=both).step(key, start, problem.size(2000))
{name: round(value, 3) for name, value in record.metrics.items()}

# %% [markdown]
# ## Change what the model is fitted to
#
# By default each model is fitted to the newest kept rows alone. A pool changes that. `Accumulate`
# keeps everything, the real rows among it, which `problem.start` leaves in `State.past`. With
# accumulation alone the drift dies out, but above the error of the real data. With the verifier
# alone it stops below. Together they have the lowest error here.

# %%
pile = error_by_round(replace(without, pool=vl.Accumulate()))
verified_pile = error_by_round(replace(with_ball, pool=vl.Accumulate()))
show(
    {
        "unverified": (unverified, GREY),
        "unverified, accumulated": (pile, ORANGE),
        "verified": (verified, BLUE),
        "verified, accumulated": (verified_pile, GREEN),
    }
)
plt.show()

# %% [markdown]
# ## The fast path
#
# For linear regression `problem.simulate` runs thousands of replicates at once. It draws accepted
# labels directly, so no candidate is thrown away, and it has exactly the distribution of the loop
# above. It returns what the loop measures, by name, for every round and replicate. Lines are 2,000
# replicates with 95 % intervals, too narrow to see for most rounds. Points are the 20 runs of the
# generic loop with theirs: they agree.

# %%
arms = {"unverified": (False, unverified, GREY), "verified": (True, verified, BLUE)}
for name, (by_ball, slow, color) in arms.items():
    paths = problem.simulate([100] * ROUNDS, 2000, vl.Key(1), verified=by_ball)
    show({f"{name}, simulate": (paths["error_truth"].T, color)})
    mean = slow.mean(axis=0)
    points = {"fmt": "x", "color": color, "capsize": 2, "label": f"{name}, loop"}
    plt.errorbar(range(ROUNDS + 1), mean, half_interval(slow), **points)
plt.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## Stop and resume
#
# A `Key` is an address in a tree of random streams. It is never used up. Round 7 draws the same
# numbers whether or not rounds 1 to 6 ran in this process, so a saved state is a complete
# checkpoint. The cell takes the state after round 5, continues from it with round 6, and gets the
# same records and the same model, bit for bit. `RunDir` does the saving for long runs.

# %%
sizes = [problem.size(100)] * ROUNDS
whole = list(vl.run(with_ball, key, start, sizes))
state_5, _ = whole[5]
rest = list(vl.run(with_ball, key, state_5, sizes))
assert [record for _, record in rest] == [record for _, record in whole[6:]]
assert np.array_equal(rest[-1][0].model, whole[-1][0].model)
print(f"rounds {rest[0][1].round} to {rest[-1][1].round} again: identical")
