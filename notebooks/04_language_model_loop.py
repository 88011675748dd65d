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
# # A language model that learns from its own summaries
#
# A small language model has seen 150 articles with summaries. It writes summaries of 400 articles, a verifier
# scores them, the best eighth is kept, and the model goes on learning from what was kept. Does it get better at
# articles that it has never seen? And with what verifier?
#
# Everything here is made on the spot: short news reports from a generator, and a model of SmolLM2's kind with
# 656,256 parameters that is first taught their language, which takes two minutes the first time and is then kept
# in a cache. `xsum.load_base("HuggingFaceTB/SmolLM2-135M-Instruct")` and `xsum.load("xsum")` take their place on a
# GPU.

# %%
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np

import veriloop as vl
from veriloop import xsum
from veriloop.testing import check_verifier

plt.rcParams.update({"figure.figsize": (7, 2.4), "figure.constrained_layout.use": True, "font.size": 8})
COLORS = {"rouge": "#0072B2", "nothing": "#6E6E6E", "names": "#D55E00"}

key = vl.Key(0)
base, tokenizer = xsum.pretrained(xsum.Pretraining(steps=1200))
data = xsum.corpus(key.fold("reports"), train=400, test=100)
print(data.train.articles[0], data.train.references[0], sep="\n-> ")

# %% [markdown]
# ## The setting
#
# `Prompt` puts an article into words and cuts it where it is too long, `Generate` writes, `FineTune` fits,
# `Measure` compares with references, and `Problem` holds them together. Loss falls on the summary alone, its end
# token included.

# %%
prompt = xsum.Prompt(tokenizer, tokens=160, summary_tokens=36)
problem = xsum.Problem(
    base=base,
    initial=data.train[np.arange(150)],
    generate=xsum.Generate(articles=data.train, prompt=prompt, batch=100),
    first=xsum.FineTune(prompt=prompt, rate=2e-3, batch=4, epochs=3, warmup=0.1, clip=1.0),
    refit=xsum.FineTune(prompt=prompt, rate=5e-4, batch=4, warmup=0.1, clip=1.0),
    measure=xsum.Measure(generate=xsum.Generate(articles=data.validation, prompt=prompt, batch=100), facts=True),
)
start = problem.start(key)
for name, value in problem.measure(key.fold(0), start.model).items():
    print(f"{name:16} {value:.3g}")

# %% [markdown]
# ## With a verifier, and without
#
# ROUGE against the reference is the paper's verifier: an oracle, as it knows what the summary should be.
# `problem.loop(1 / 8, verifier=...)` keeps the best eighth; without a verifier it keeps an eighth at random. Both
# arms have the same key, so what differs is the choice alone.

# %%
ROUNDS = 4


def follow(verifier=None):
    """Return the metrics of all rounds, and their models."""
    rounds = vl.run(problem.loop(1 / 8, verifier=verifier), key, start, [len(problem.generate)] * ROUNDS)
    states, records = zip(*rounds, strict=True)
    rows = [problem.measure(key.fold(0), start.model), *(record.metrics for record in records)]
    return rows, [start.model, *(state.model for state in states)]


arms = {"rouge": follow(xsum.RougeVerifier()), "nothing": follow()}


def curves():
    """Plot four metrics by round, one line an arm."""
    _, panels = plt.subplots(1, 4)
    for panel, name in zip(panels, ("rouge1", "event", "place", "types"), strict=True):
        for label, (rows, _) in arms.items():
            panel.plot([row[name] for row in rows], color=COLORS[label], marker="o", markersize=3, label=label)
        panel.set(title=name, xlabel="round")
    panels[-1].legend(frameon=False, loc="upper right")
    plt.show()


curves()

# %% [markdown]
# `event` and `place` are the shares of summaries that tell of the right kind of event, in the right place; `types`
# counts the different words of all summaries, and falls in both arms: a model that learns from itself says less and
# less of what could be said. One start proves little: `experiments/xsum_rouge.py` repeats this with many.
#
# The numbers hide what happens to a text, so here are some.

# %%
some = replace(problem.measure.generate, articles=data.validation[np.arange(3)])
for label, (_, models) in arms.items():
    written = [some(key, model, 3).summaries for model in models]
    for i, reference in enumerate(some.articles.references):
        print(f"{label}: reference: {reference}")
        for k in (0, 1, ROUNDS):
            print(f"    round {k}: {written[k][i]}")

# %% [markdown]
# ## Your own verifier
#
# A reference is what one does not have in life. This verifier has none: names come with a capital, so a summary is
# as good as the share of its capitalised words that stand in the article. It costs nothing and knows nothing of the
# language. `check_verifier` asserts what the loop relies on.


# %%
@dataclass(frozen=True)
class NamesInArticle:
    least: float = 0.9

    def __call__(self, key, batch):
        scores = []
        for article, summary in zip(batch.articles, batch.summaries, strict=True):
            names = [word.strip(".,") for word in summary.split()[1:] if word[0].isupper()]
            scores.append(np.mean([name in article for name in names]) if names else 0.0)
        return np.array(scores) - self.least


names = NamesInArticle()
check_verifier(names, problem.generate(key, start.model, 40))
arms["names"] = follow(names)
curves()

# %% [markdown]
# It knows names and nothing else. Places hold, which without a verifier are lost; the kind of event, which it does
# not look at, fares little better than by chance: a verifier teaches what it knows. Verifiers compose, so let a
# reward model (`xsum.fit_reward`), a judge at a URL (`xsum.Endpoint`), or a rule against repetition have its say
# beside it, and read in the record how much each of them accepts.

# %%
both = vl.all_of(names=names, fresh=xsum.LittleRepetition(), brief=xsum.Brevity(20))
state, record = next(vl.run(problem.loop(1 / 8, verifier=both), key, start, [len(problem.generate)]))
for name, value in record.metrics.items():
    if name.startswith("acceptance") or name.endswith("_rouge1"):
        print(f"{name:18} {value:.2f}")
