"""A mixture refitted to its own samples, with and without a verifier that knows the centres."""

import sys

import numpy as np
from matplotlib.figure import Figure
from sklearn.mixture import GaussianMixture

import veriloop as vl

CENTERS = np.array([[-2.0, 0.0], [2.0, 0.0]])
UNIT = np.array([np.eye(2)] * 2)


def draw(key, centers, covariances, n):
    rng = key.numpy()
    return np.array(
        [rng.multivariate_normal(centers[k], covariances[k]) for k in rng.integers(2, size=n)]
    )


def generate(key, model, n):
    return draw(key, model.means_, model.covariances_, n)


def refit(key, model, batch):
    return GaussianMixture(2, random_state=key.integer() % 2**32).fit(batch)


def start(key):
    return vl.State(refit(key.fold("fit"), None, draw(key.fold("real"), CENTERS, UNIT, 50)))


def measure(key, model):
    return {"log_likelihood": model.score(draw(vl.Key(99), CENTERS, UNIT, 500))}


def near(key, batch):
    return 2 - np.linalg.norm(batch[:, None] - CENTERS, axis=2).min(axis=1)


plain = {"generate": generate, "refit": refit, "measure": measure}
arms = {
    "verified": vl.Loop(**plain, verify=near, filter=vl.Threshold(0.0)),
    "unverified": vl.Loop(**plain),
}
records = vl.Study(arms=arms, start=start, sizes=[150] * 4, seeds=range(5)).run(sys.argv[1])
figure = Figure()
vl.plot(records, "log_likelihood", axes=figure.subplots(), worse="lower")
figure.savefig(f"{sys.argv[1]}/figure.png")
print(records.difference("verified", "unverified", "log_likelihood"))
