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
# # Write your own verifier
#
# A verifier is any callable `(key, batch) -> scores`: one number a row, higher is better, 0 or more accepts, NaN is
# "no verdict". It is a function when it has no parameters, and a frozen dataclass when it has. There is no base
# class and no registration.
#
# Four are written here, of the kinds that people bring: a rule by keyword, a small classifier in torch, a language
# model behind a URL, and a human who errs at stated rates. Then all of them verify two loops, linear regression and
# digits, and one figure compares them.
#
# The first is a rule for texts, here an array of strings. `check_verifier` asserts what the loop relies on, and
# says what is wrong with one that is no verifier.

# %%
import json
import threading
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import matplotlib.pyplot as plt
import numpy as np
import torch

import veriloop as vl
from veriloop import linear, mnist, xsum
from veriloop.testing import check_verifier

key = vl.Key(0)
texts = np.array(
    [
        "Fire closes the old market hall.",
        "The mayor spoke for two hours about the fire, the flood, the bridge and her garden.",
        "A quiet day in town.",
        "Flood warning for the valley.",
    ]
)


@dataclass(frozen=True)
class Mentions:
    words: tuple[str, ...]

    def __call__(self, key, batch):
        return np.array([sum(word in text.lower() for word in self.words) - 1 for text in batch])


topic = Mentions(("fire", "flood"))
check_verifier(topic, texts)
print("topic:", topic(key, texts))
try:
    check_verifier(lambda key, batch: np.array(["fire" in text.lower() for text in batch]), texts)
except AssertionError as error:
    print("wrong:", error)

# %% [markdown]
# ## Compose
#
# Verifiers are made of verifiers. `all_of` accepts what every part accepts, and hands the parts' scores on to the
# record. `Cached` asks about a row once, `Retry` asks again when the network fails, and gives no verdict when it
# fails for good. `Noisy` flips verdicts at stated rates. The second verifier below is slow, and its first request
# fails; it is asked twice about four texts, not once about eight.

# %%
asked = []


def brief(key, batch):
    asked.append(len(batch))
    if len(asked) == 1:
        raise ConnectionError("busy")
    return np.array([9 - len(text.split()) for text in batch])


both = vl.all_of(topic=topic, brief=vl.Cached(vl.Retry(brief, wait=0.1), content=list))
verdict = both(key, np.concatenate([texts, texts]))
print("all of:", verdict.scores[:4], {name: scores[:4] for name, scores in verdict.parts.items()}, "asked:", asked)
hasty = vl.Noisy(both, false_accept=0.1, false_reject=0.2)(key, np.repeat(texts, 2000))
rates = hasty.metrics(hasty.scores >= 0)
print(
    {
        name: round(rates[name], 3)
        for name in ("acceptance_topic", "acceptance_brief", "false_accept", "false_reject")
    }
)

# %% [markdown]
# ## Two loops to verify
#
# A row of linear regression has an `x` and a label `y = x . theta + noise`. The model is `theta`, and a round is
# good if it comes closer to the truth. A row of the digits is an image and the digit that was asked for. The model
# is a conditional VAE, and a round is good if more of its images can be read as that digit. The digits are the
# 1,797 of scikit-learn, and the first model has seen 200 of them: enough to show how a verifier is used, too few
# for more. `known` and `data.train` are the real rows that a verifier may learn from.

# %%
plt.rcParams.update({"figure.figsize": (7, 2.8), "figure.constrained_layout.use": True, "font.size": 8})

regression = linear.Problem.gaussian(bias=0.25, radius=0.5)
known = linear.Generate(linear.RandomDirections(8))(key.fold("known"), regression.truth, 2000)

data = mnist.load("digits")
reader = mnist.feature_net(data, steps=200)


def readable(key, model):
    images = mnist.Generate()(key, model, 1000)
    return {"agreement": float((reader.read(images)[1] == images.labels).mean())}


small = {"model": "mlp", "settings": {"latent": 8, "hidden": (128,)}}
digits = mnist.Problem(
    initial=mnist.balanced(key.fold("initial"), data.train, 200),
    first=mnist.Refit(**small, training=mnist.Training(steps=600, rate=2e-3)),
    refit=mnist.Refit(**small, training=mnist.Training(steps=100, rate=2e-3, decay=True), warm=True),
    test=data.test[:200],
    keep=0.2,
    measure=readable,
)
print(f"{reader.accuracy:.1%} of {len(data.test)} real digits are read right")

# %% [markdown]
# ## A rule, and a classifier
#
# A rule is what an expert can write down. Of the rows, that no label is large; of the images, that strokes are
# whole, so that few pixels differ from the one beside or below. Neither looks at what was asked for.
#
# A classifier learns from real rows what they look like. The wrong ones are made from them: labels with too much
# noise, images that are called another digit. One class and one fit serve both loops.


# %%
@dataclass(frozen=True)
class Modest:
    limit: float

    def __call__(self, key, batch):
        return self.limit - np.abs(batch.y)


@dataclass(frozen=True)
class Whole:
    limit: int

    def __call__(self, key, batch):
        image = batch.threshold().grey().pixels.reshape(-1, 28, 28) > 0
        edges = [(image[:, 1:] != image[:, :-1]).sum((1, 2)), (image[:, :, 1:] != image[:, :, :-1]).sum((1, 2))]
        return self.limit - sum(edges)


@dataclass(frozen=True)
class Classifier:
    network: torch.nn.Module
    inputs: object  # batch -> tensor, shape (n, inputs)

    @torch.inference_mode()
    def __call__(self, key, batch):
        return self.network(self.inputs(batch)).squeeze(1).numpy()


def network(inputs):
    return torch.nn.Sequential(torch.nn.Linear(inputs, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))


def learn(key, inputs, right, wrong):
    rows = torch.cat([inputs(right), inputs(wrong)])
    target, draw = (torch.arange(len(rows)) < len(right)).float(), key.torch()
    net = mnist.made(key, lambda: network(rows.shape[1]))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(400):
        some = torch.randint(len(rows), (256,), generator=draw)
        odds = net(rows[some]).squeeze(1)
        optimizer.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(odds, target[some]).backward()
        optimizer.step()
    return Classifier(net, inputs)


def row_inputs(batch):
    return torch.from_numpy(np.column_stack([batch.x, batch.y, batch.x * batch.y[:, None], batch.y**2])).float()


def image_inputs(batch):
    pixels, asked = batch.tensors()
    return torch.cat([pixels, 5.0 * torch.nn.functional.one_hot(asked, 10)], dim=1)


draw = key.fold("wrong").numpy()
noisier = replace(known, y=known.y + 2 * draw.standard_normal(len(known)))
renamed = replace(
    data.train, labels=((data.train.labels + draw.integers(1, 10, len(data.train))) % 10).astype(np.uint8)
)
on_rows = {"rule": Modest(3.0), "classifier": learn(key.fold("rows"), row_inputs, known, noisier)}
on_images = {"rule": Whole(150), "classifier": learn(key.fold("images"), image_inputs, data.train, renamed)}
for verifier in on_rows.values():
    check_verifier(verifier, known[:200])
for verifier in on_images.values():
    check_verifier(verifier, data.test[:200])

# %% [markdown]
# ## A judge at a URL
#
# `xsum.Endpoint` asks whatever speaks the protocol of OpenAI: a hosted model, vLLM, llama.cpp, Ollama. It sends one
# question a row, as the function `question` words it, and reads a number from 0 to 10; 5 or more accepts. What
# fails is asked again. What is answered without a number has no verdict, is not kept, and is counted. Judges are
# slow and charge by the question, so labels are rounded and pictures are coarse: many questions recur, and `Cached`
# asks none of them twice.
#
# No language model is at hand here, so a server on this machine stands in for one. It believes that every
# coefficient is 0.85 (it is 1), and knows digits by the mean picture of each. To one question in fifty it says
# nothing of use, and every five hundredth request fails.

# %%
LEVELS = " .+#"


def pictures(batch):
    """Return 7 x 7 levels of ink, 0 to 3, of every image."""
    return batch.grey().pixels.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).astype(int) // 64


def ask_row(batch):
    rows = (
        " ".join(f"{value:.2f}" for value in x) + f" give {y:.1f}?" for x, y in zip(batch.x, batch.y, strict=True)
    )
    return [f"From 0 to 10, how well do {row}" for row in rows]


def ask_image(batch):
    sheets = ("\n".join("".join(LEVELS[level] for level in line) for line in image) for image in pictures(batch))
    return [f"From 0 to 10, is this a {digit}?\n{sheet}" for digit, sheet in zip(batch.labels, sheets, strict=True)]


typical = np.stack([pictures(data.train[data.train.labels == digit]).mean(axis=0) for digit in range(10)])


def opinion(question):
    if sum(map(ord, question)) % 50 == 0:
        return "As a stand-in I would rather not say."
    head, _, sheet = question.partition("?")
    if sheet:
        picture = np.array([[LEVELS.index(dot) for dot in line] for line in sheet[1:].split("\n")])
        apart = ((typical - picture) ** 2).sum(axis=(1, 2))
        asked, best_other = apart[int(head[-1])], np.delete(apart, int(head[-1])).min()
        return f"{10 * best_other / (asked + best_other):.2f}"
    *x, y = (float(word) for word in head.split("well do ")[1].replace("give", "").split())
    return f"{max(10 - 3 * abs(y - 0.85 * sum(x)), 0):.2f}"


class StandIn(BaseHTTPRequestHandler):
    requests = 0

    def do_POST(self):
        StandIn.requests += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"message": {"content": opinion(body["messages"][0]["content"])}}
        self.send_response(503 if StandIn.requests % 500 == 0 else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"choices": [answer]}).encode())

    def log_message(self, *_):
        """Say nothing: a line a request is too much here."""


server = HTTPServer(("127.0.0.1", 0), StandIn)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v1"
for mine, question, rows in ((on_rows, ask_row, known[:20]), (on_images, ask_image, data.test[:20])):
    judge = xsum.Endpoint(url, "stand-in", question=question, wait=0.01)
    check_verifier(judge, rows)
    mine["judge"] = vl.Cached(judge, content=question)
print(*ask_row(known[:1]), *ask_image(data.test[:1]), on_images["judge"](key, data.test[:8]).scores, sep="\n")

# %% [markdown]
# ## A human who errs, and all of them together
#
# The human accepts a label within 1.5 sigma of the truth, and an image that can be read as its digit. Then one in
# ten of the bad is waved through, and one in five of the good refused. Images are read by the network that also
# measures the loop, so of digits this human marks their own homework.
#
# Built in are the knowledge ball, and the discriminator, which is retrained every round. Of rows, a score of 0 or
# more is kept, until there are 100 in each direction; of images the best fifth, whatever the scores. All arms share
# their random numbers. Left: means of 20 seeds with 95 % intervals. Right: differences from the unverified arm of
# the same seed, of two seeds (thin) and their mean. That is a demonstration and no measurement: its settings were
# chosen on these seeds. `experiments/mnist_schedules.py` measures.

# %%
on_rows["human"] = vl.Noisy(
    vl.Oracle(lambda batch: np.abs(batch.y - batch.x @ regression.truth) <= 1.5), false_accept=0.1, false_reject=0.2
)
on_images["human"] = vl.Noisy(mnist.DigitOracle(reader), false_accept=0.1, false_reject=0.2)
discriminate = mnist.Discriminate(real=data.train)
loops = {
    "unverified": (regression.loop(verified=False), digits.loop()),
    "built in": (regression.loop(), digits.loop(retrain=discriminate)),
}
for name in on_rows:
    loops[name] = replace(regression.loop(), verify=on_rows[name]), digits.loop(verifier=on_images[name])
colors = ("#6E6E6E", "black", "#D55E00", "#0072B2", "#CC79A7", "#009E73")


def follow(loop, start, sizes, measure, name, key):
    """Return what is measured of each model, by round from 0 on, and the last record."""
    records = [record for _, record in vl.run(loop, key, start, sizes)]
    return [measure(key, start.model)[name], *(record.metrics[name] for record in records)], records[-1]


_, (left, right) = plt.subplots(1, 2)
errors, starts, shares = regression.loop().measure, [digits.start(vl.Key(seed)) for seed in range(2)], {}
print("             rows kept  without verdict  images read at the end")
for (name, (rows, images)), color in zip(loops.items(), colors, strict=True):
    runs = []
    for k in map(vl.Key, range(20)):
        start = regression.real_estimate(k.fold("real"))
        run, last = follow(rows, start, [regression.quota(100)] * 10, errors, "error_truth", k)
        runs.append(run)
    mean, half = np.mean(runs, axis=0), 1.96 * np.std(runs, axis=0, ddof=1) / np.sqrt(len(runs))
    left.plot(mean, color=color)
    left.fill_between(range(len(mean)), mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
    sizes = [300 if name == "unverified" else digits.candidates(300)] * 3
    shares[name] = np.array(
        [follow(images, starts[i], sizes, readable, "agreement", vl.Key(i))[0] for i in range(2)]
    )
    gain = shares[name] - shares["unverified"]
    right.plot(gain.T, color=color, linewidth=0.5)
    right.plot(gain.mean(axis=0), color=color, label=name)
    no_verdict, read = last.metrics["no_verdict"], shares[name][:, -1].mean()
    print(f"{name:11}  {last.acceptance:9.0%}  {no_verdict:15}  {read:22.0%}")
server.shutdown()
server.server_close()
left.set(title="linear regression", xlabel="round", ylabel="squared error ($\\sigma^2$)", yscale="log")
right.set(title="digits", xlabel="round", ylabel="share read as asked for, less unverified", xticks=range(4))
right.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# A verifier teaches what it knows. The rule for labels knows that they are not large, and nothing of `x`: it pulls
# every label towards zero, and does worse than no verifier. The classifier and the judge are a little wrong about
# the truth, and the loop goes where they are wrong. The human errs often, but above the truth as often as below it,
# which costs rows and not accuracy. Of digits, the three that look at what was asked for are ahead of the
# unverified arm, in both seeds; the other two are not. Too few candidates, rounds and seeds say no more than that.
#
# The same objects go into an experiment from the command line, as in
# `--set 'verifier={call: "my_module:Modest", limit: 3}'`, and are applied to stored candidates by
# `python -m veriloop.refilter`.
