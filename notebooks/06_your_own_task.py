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
# # Your own task: questions in a file, and a verifier of your own
#
# You have questions in a file and can tell a right answer from a wrong one. The model answers every
# question several times. What passes is kept, and the model goes on learning from that. This is
# self-training, also called rejection sampling or ReST. The task here is to add numbers in words.
#
# A very small model is made on the spot: it has read sums, and knows them in part. With
# `SMOLLM2 = True` the model is SmolLM2-135M-Instruct, which takes minutes in place of seconds.

# %%
import json

import matplotlib.pyplot as plt

import veriloop as vl
from veriloop import text
from veriloop.testing import check_verifier
from veriloop.text import sums

plt.rcParams["figure.figsize"] = (6, 2.4)
plt.rcParams["figure.constrained_layout.use"] = True
plt.rcParams["font.size"] = 8
COLORS = {"verified": "#0072B2", "majority": "#009E73", "unverified": "#6E6E6E"}

SMOLLM2 = False
ROUNDS = 3
key = vl.Key(0)

# %% [markdown]
# ## The questions
#
# The file has one JSON object a line. Each has a question, and an answer where somebody knows it.
# Here the file is written first: 300 sums. `Texts.read` refuses a line that is cut, or lacks a
# field, by its number. Sixty sums teach the model how an answer looks. It answers 140 others every
# round, and the last 100 are kept apart to measure it.

# %%
drawn = sums.texts(key.fold("sums"), 300)
with open("sums.jsonl", "w") as file:
    for question, answer in zip(drawn.inputs, drawn.targets, strict=True):
        file.write(json.dumps({"question": question, "answer": answer}) + "\n")

rows = text.Texts.read("sums.jsonl", input="question", target="answer")
shown, asked, apart = rows[:60], rows[60:200], rows[200:]
print(rows.inputs[0], "->", rows.targets[0])

# %% [markdown]
# ## The verifier
#
# A verifier in five lines: a function of a question, its target, and what the model wrote. It
# returns True or False, a number as a score, or None where it cannot tell. `Each` makes a verifier
# of it. This one does not look at the target, because it can add. An error in it would name the
# row.

# %%
NUMBERS = {sums.in_words(number): number for number in range(100)}


def adds_up(question, target, output):
    if output not in NUMBERS:
        return False
    first, second = question.split(" plus ")
    return NUMBERS[first] + NUMBERS[second] == NUMBERS[output]


verifier = text.Each(adds_up)
check_verifier(verifier, asked)

# %% [markdown]
# ## The loop
#
# `Prompt` puts a question into words, and `Prompt.chat` does it with a chat template. `Generate`
# draws 16 answers to each question. `Measure` draws as many to the questions kept apart, and says
# how many are right (`right`), and how likely one of 16 is (`pass@16`), both with intervals over
# questions. `AtMost(2)` keeps what passes, two answers of a question at most, so that easy
# questions do not crowd out the others.

# %%
if SMOLLM2:
    base, tokenizer = text.load_base("smollm2")
    prompt = text.Prompt.chat(tokenizer, system="Add. Answer in words.", output_tokens=12)
    rate = 5e-5
else:
    small = text.Pretraining(steps=600, vocabulary=400, hidden=64, layers=2, inner=128)
    base, tokenizer = sums.pretrained(small)
    prompt = text.Prompt.template(tokenizer, "{input} is", tokens=24, output_tokens=8)
    rate = 1e-3

exact = text.ExactMatch()
metrics = {"right": exact.right, "pass@16": text.PassAtK(exact.right, 16)}
tune = text.FineTune(prompt=prompt, rate=rate, batch=16, epochs=2, warmup=0.1, clip=1.0)


def answers(rows):
    """Return what draws 16 answers to each question."""
    return text.Generate(rows=rows, prompt=prompt, temperature=1.0, candidates=16, batch=512)


problem = text.Problem(
    base=base,
    initial=shown,
    generate=answers(asked),
    first=tune,
    refit=tune,
    measure=text.Measure(generate=answers(apart), metrics=metrics),
)
start = problem.start(key)
print(f"a model with {base.num_parameters():,} parameters, and some answers of it:")
some = problem.generate(key, start.model, 64)
for row in range(0, 64, 16):
    print(f"    {some.inputs[row]} is {some.outputs[row]}")

# %% [markdown]
# ## Three rounds, three verifiers
#
# Beside your verifier runs one that needs no knowledge at all: `Majority` accepts an answer that a
# quarter of the answers to its question agree with. The third arm keeps two answers of every
# question whatever they are. All arms share their start and the random numbers of the first round.

# %%
arms = {"verified": verifier, "majority": text.Majority(cut=0.25), "unverified": None}
sizes = [len(problem.generate)] * ROUNDS
found = {}
for name, verify in arms.items():
    loop = problem.loop(verify=verify, filter=text.AtMost(2), group=text.by_input)
    found[name] = []
    for _, record in vl.run(loop, key, start, sizes):
        found[name].append(record.metrics)
        right = record.metrics["right"]
        print(f"{name:10} round {record.round}: kept {record.kept:3}, right {right:.1%}")

_, panels = plt.subplots(1, 2)
for panel, metric in zip(panels, metrics, strict=True):
    for name, rounds in found.items():
        low = [each[f"{metric}_low"] for each in rounds]
        high = [each[f"{metric}_high"] for each in rounds]
        panel.plot([each[metric] for each in rounds], color=COLORS[name], marker="o", label=name)
        panel.fill_between(range(ROUNDS + 1), low, high, color=COLORS[name], alpha=0.15, lw=0)
    panel.set(title=metric, xlabel="round", xticks=range(ROUNDS + 1))
panels[-1].legend(frameon=False)
plt.show()

# %% [markdown]
# Look at both panels. `right` says how often the model is right, and `pass@16` how many questions
# it can solve at all in 16 attempts. A loop that raises the first alone has made the model surer of
# what it could do before. `experiments/self_training.py` asks this for up to 64 attempts, with
# several seeds, with a verifier that errs, and with every round fitted from the base.
#
# For a task of numbers in digits take `text.NumericMatch()`, and for one of words
# `text.ExactMatch()`. A verifier that asks a model at a URL is `vl.Endpoint`. To keep every round
# on disk, and go on after a stop, use `vl.RunDir(folder).run(loop, key, start, sizes,
# save=problem.save, load=problem.load)`.
