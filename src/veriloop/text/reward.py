"""A reward model: a linear head on a frozen language model, fitted to scored outputs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from veriloop.core import Key
from veriloop.core.checks import check_count, check_finite, check_path
from veriloop.core.parts import Scores
from veriloop.text.models import (
    check_finite_rows,
    check_fit,
    evaluating,
    hidden_states,
    write_weights,
)
from veriloop.text.padding import padded_blocks
from veriloop.text.prompt import Prompt
from veriloop.text.rows import Rows, check_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PENALTIES = tuple(10.0**power for power in range(-9, 2))
NUMBERS = ("bias", "cut", "batch", "error", "spread")


@dataclass(frozen=True, kw_only=True)
class Reward:
    r"""Score an output by a linear head on a frozen model, less `cut`; `fit_reward` makes one.

    .. math:: w^\top h(\text{prompt}, \text{output}) + b - c

    with h the last hidden state at the end token; of an output that was cut, at its last token.

    model: a language model that stays as it is, whatever the loop's does.
    prompt: makes tokens of inputs and outputs.
    weights: shape (hidden size,).
    bias: a number, in the unit of the targets.
    cut: an output is accepted if its predicted target is at least this.
    batch: rows in one pass. In float32 it changes a score by rounding only.
    error: the root mean square of the errors on inputs left out of the fit.
    spread: the standard deviation of the targets. A head that knows nothing has an `error` of this
        size.

    Raises:
        ValueError: if `batch` is not at least 1, or a number is not finite.

    >>> from veriloop.text import Pretraining, Texts, pretrain
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrain(tiny, lambda key, n: ["2 + 2 = 4"] * n)
    >>> constant = Reward(model=model, prompt=Prompt(tokenizer), weights=np.zeros(8), bias=0.75)
    >>> constant(Key(0), Texts.of(["2 + 2 =", "3 + 5 ="], ["4", "8"]))
    array([0.75, 0.75])
    """

    model: PreTrainedModel
    prompt: Prompt
    weights: np.ndarray
    bias: float
    cut: float = 0.0
    batch: int = 16
    error: float = float("nan")
    spread: float = float("nan")

    def __post_init__(self) -> None:
        check_count("Reward.batch", self.batch)
        check_finite("Reward.bias", self.bias)
        check_finite("Reward.cut", self.cut)
        size = self.model.config.hidden_size
        weights = np.asarray(self.weights)
        object.__setattr__(self, "weights", weights)
        if weights.shape != (size,) or not np.isfinite(weights).all():
            raise ValueError(
                f"Reward.weights must be {size} finite numbers, one for each feature of the model, "
                f"got {weights!r:.60}; give those that fit_reward found for this model"
            )

    def __call__(self, key: Key, rows: Rows) -> Scores:
        check_rows("Reward: rows", rows)
        hidden = features(self.model, self.prompt, rows, self.batch)
        return hidden @ self.weights + self.bias - self.cut


def fit_reward(
    model: PreTrainedModel,
    prompt: Prompt,
    rows: Rows,
    targets: Sequence[float] | np.ndarray,
    *,
    cut: float = 0.0,
    batch: int = 16,
) -> Reward:
    r"""Return the `Reward` whose head predicts `targets` best, by ridge regression.

    Nothing is random; see `fit_head` for the equations.

    model: gives the features, and stays as it is.
    prompt: makes tokens of inputs and outputs.
    rows: n outputs for at least two inputs.
    targets: what is to be predicted, finite, shape (n,); for instance their ROUGE.
    cut: see `Reward`, in the unit of the targets.
    batch: rows in one pass.

    Raises:
        ValueError: if there is not one finite target for each row, or only one input.
        FloatingPointError: if the model has diverged.

    >>> from veriloop.text import Pretraining, Texts, pretrain
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrain(tiny, lambda key, n: ["2 + 2 = 4"] * n)
    >>> sums = Texts.of(["2 + 2 =", "3 + 5 =", "1 + 5 ="], ["4", "8", "6"])
    >>> reward = fit_reward(model, Prompt(tokenizer), sums, targets=[0.0, 1.0, 0.5])
    >>> reward(Key(0), sums).shape, reward.weights.shape
    ((3,), (8,))
    """
    check_rows("fit_reward: rows", rows)
    targets = np.asarray(targets, dtype=float)
    if targets.shape != (len(rows),) or not np.isfinite(targets).all():
        raise ValueError(
            f"fit_reward needs one finite target for each of the {len(rows)} rows, "
            f"got {targets!r:.80}"
        )
    inputs = [np.flatnonzero(rows.numbers == number) for number in np.unique(rows.numbers)]
    if len(inputs) < 2:
        raise ValueError(
            f"fit_reward needs rows of at least two inputs, got {len(inputs)}; give more rows"
        )
    head = fit_head(features(model, prompt, rows, batch), targets, inputs)
    return Reward(
        model=model,
        prompt=prompt,
        weights=head.weights,
        bias=head.bias,
        cut=cut,
        batch=batch,
        error=head.error,
        spread=float(targets.std()),
    )


class Head(NamedTuple):
    """A linear head; see `Reward`."""

    weights: np.ndarray
    bias: float
    error: float


def fit_head(
    hidden: np.ndarray,
    targets: np.ndarray,
    inputs: Sequence[np.ndarray],
    penalties: Sequence[float] = PENALTIES,
) -> Head:
    r"""Return the linear head that predicts targets from features, by ridge regression.

    .. math:: \min_{w, b} \sum_i (y_i - w^\top h_i - b)^2 + \lambda s^2 |w|^2

    with s the largest singular value of the centred features. :math:`\lambda` is the penalty with
    the least error on inputs left out. With H the matrix that makes predictions of targets and r
    the residuals, the errors on the rows B of an input are :math:`(I - H_{BB})^{-1} r_B`. That is
    exact: the head need not be fitted again without them.

    hidden: the features, shape (n, d).
    targets: shape (n,).
    inputs: the numbers of the rows of each input.
    penalties: the values tried for :math:`\lambda`, above 0.

    >>> x = np.arange(6.0)[:, None]
    >>> head = fit_head(x, 3 * x[:, 0] + 1, inputs=[np.arange(3), np.arange(3, 6)])
    >>> head.weights.round(3), round(head.bias, 3)
    (array([3.]), 1.0)
    """
    middle = hidden.mean(axis=0)
    left, values, right = np.linalg.svd(hidden - middle, full_matrices=False)
    if not values[0]:
        raise ValueError(
            "fit_reward: the model reads all rows alike, so nothing can be predicted; "
            "give other rows, or raise Prompt.tokens"
        )
    parts = left.T @ targets
    best = np.zeros_like(values)
    least = np.inf
    for penalty in penalties:
        shrunk = values**2 / (values**2 + penalty * values[0] ** 2)
        residuals = targets - targets.mean() - left @ (shrunk * parts)
        errors = _left_out(left, shrunk, residuals, inputs)
        error = float(np.sqrt(np.mean(errors**2)))
        if error < least:
            best = shrunk
            least = error
    scaled = np.divide(best * parts, values, out=np.zeros_like(values), where=best > 0)
    weights = right.T @ scaled
    return Head(weights, float(targets.mean() - middle @ weights), least)


def _left_out(
    left: np.ndarray, shrunk: np.ndarray, residuals: np.ndarray, inputs: Sequence[np.ndarray]
) -> np.ndarray:
    """Return the error on each row of a head fitted without its input, shape (n,)."""
    errors = np.empty_like(residuals)
    for own in inputs:
        block = 1 / len(residuals) + (left[own] * shrunk) @ left[own].T
        errors[own] = np.linalg.solve(np.eye(len(own)) - block, residuals[own])
    return errors


@torch.inference_mode()
def features(model: PreTrainedModel, prompt: Prompt, rows: Rows, batch: int = 16) -> np.ndarray:
    """Return the model's last hidden state at each output's last token, in float64.

    Its shape is (n, hidden size).

    Raises:
        FloatingPointError: with the row, if one is not finite.
    """
    check_fit(model, prompt)
    found = np.empty((len(rows), model.config.hidden_size))
    for block, (tokens, seen, _) in padded_blocks(model, prompt, rows, batch):
        last = seen.sum(1) - 1  # padding stands on the right
        with evaluating(model):
            hidden = hidden_states(model, tokens, seen)
        found[block] = hidden[torch.arange(len(block)), last].cpu().double()
        check_finite_rows(found[block], block, "Reward: the hidden state")
    return found


def save_reward(reward: Reward, folder: str | Path) -> None:
    """Write a reward as safetensors and JSON, with its frozen model and its tokenizer.

    reward: what is written.
    folder: where; `load_reward` reads it.

    >>> from veriloop.text import Pretraining, pretrain
    >>> import tempfile
    >>> tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    >>> model, tokenizer = pretrain(tiny, lambda key, n: ["2 + 2 = 4"] * n)
    >>> reward = Reward(model=model, prompt=Prompt(tokenizer), weights=np.zeros(8), bias=0.75)
    >>> folder = Path(tempfile.mkdtemp())
    >>> save_reward(reward, folder)
    >>> load_reward(folder).bias
    0.75
    """
    from safetensors.numpy import save_file

    folder = Path(folder)
    write_weights(reward.model, folder)
    reward.prompt.tokenizer.save_pretrained(folder)
    save_file({"weights": reward.weights}, folder / "reward.safetensors")
    about: dict[str, object] = {name: getattr(reward, name) for name in NUMBERS}
    settings = [each.name for each in fields(reward.prompt) if each.init]
    about["prompt"] = {
        name: getattr(reward.prompt, name) for name in settings if name != "tokenizer"
    }
    (folder / "reward.json").write_text(json.dumps(about, indent=1) + "\n")


def load_reward(folder: str | Path, *, device: str = "cpu", kind: type[Prompt] = Prompt) -> Reward:
    """Read back what `save_reward` wrote.

    In a script: `--set 'verifier={call: "veriloop.text:load_reward", folder: DIR}'`.

    folder: where it was written.
    device: where its model is put.
    kind: the class of its prompt.

    Raises:
        ValueError: in one sentence, if the folder holds no reward, or one with another kind of
            prompt.

    >>> load_reward("nowhere")
    Traceback (most recent call last):
    ValueError: no reward.json in nowhere; name a folder that save_reward wrote
    """
    from safetensors.numpy import load_file

    from veriloop.text.weights import load_base

    folder = check_path("load_reward", folder)
    if not (folder / "reward.json").is_file():
        raise ValueError(f"no reward.json in {folder}; name a folder that save_reward wrote")
    about = json.loads((folder / "reward.json").read_text())
    model, tokenizer = load_base(str(folder), device=device)
    settings = about.pop("prompt")
    unknown = set(settings) - {each.name for each in fields(kind) if each.init}
    if unknown:
        raise ValueError(
            f"{folder} holds a reward whose prompt has {min(unknown)}, which {kind.__module__} "
            "does not know; if it is one of summaries, call veriloop.xsum.load_reward"
        )
    prompt = kind(tokenizer, **settings)
    weights = load_file(folder / "reward.safetensors")["weights"]
    return Reward(model=model, prompt=prompt, weights=weights, **about)
