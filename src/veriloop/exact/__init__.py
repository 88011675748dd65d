r"""Small models whose laws are known exactly: test benches for a verifier of your own.

Run the loop with your verifier on one of these models. Then compare what you measure with the law.
A gap of more than a few standard errors is a fault, not chance.

=================  ================================  ==============================================
module             model                             the law it states
=================  ================================  ==============================================
``gaussian``       a Gaussian, refitted to its       how far selection moves and narrows the model,
                   own draws                         and what no verifier at all does to it
``noisy_labels``   a linear classifier, fitted to    accuracy by the error rates of the verifier,
                   labels that may be wrong          and the threshold that decides its fate
``reward_levels``  a distribution over rewards,      which of K samples a choice by reward picks
                   fitted to the picked samples
=================  ================================  ==============================================

A verifier of your own: keep the 300 rows closest to a centre, which lies 1.5 away from the mean.
The mean should move towards the centre by the shift that the law states.

>>> import numpy as np
>>> import veriloop as vl
>>> from veriloop.exact import gaussian
>>> center = 1.5 * np.eye(10)[0]
>>> def mine(key, rows):
...     return -np.linalg.norm(rows - center, axis=1)
>>> loop = vl.Loop(
...     generate=gaussian.draw_rows,
...     verify=mine,
...     filter=vl.TopCount(300),
...     refit=gaussian.MaximumLikelihood(),
... )
>>> start = vl.State(gaussian.Gaussian.standard(10))
>>> models = [loop.step(vl.Key(seed), start, 3000)[0].model for seed in range(20)]
>>> shifts = np.array([model.mean[0] for model in models])
>>> law = gaussian.selected_round(dim=10, bias=1.5, kept=300, candidates=3000)
>>> error = shifts.std(ddof=1) / np.sqrt(20)
>>> bool(abs(shifts.mean() - law.shift) < 4 * error)
True

This package needs NumPy and SciPy only.
"""

from veriloop.exact import gaussian, noisy_labels, reward_levels

__all__ = ["gaussian", "noisy_labels", "reward_levels"]
