"""A reward model: a linear head on a frozen language model, fitted to scored summaries in closed form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from veriloop.core import Key
from veriloop.core.batch import check_count
from veriloop.xsum.finetune import tokens_and_targets
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.rows import Summaries

PENALTIES = tuple(10.0**power for power in range(-9, 2))
SETTINGS = ("before", "after", "tokens", "summary_tokens", "right_truncation", "string_replace")


@dataclass(frozen=True, kw_only=True)
class Reward:
    r"""Score a summary by what a linear head reads from a frozen model at the summary's last token, less `cut`.

    .. math:: w^\top h(\text{prompt}, \text{summary}) + b - c

    with h the last hidden state at the end token; made by `fit_reward`.

    model: frozen, whatever the loop's is. weights: shape (hidden size,). bias, cut: numbers.
    batch: rows in one pass; in float32 no score depends on it but for rounding.
    error: of the fit, the root mean square of its leave-one-article-out errors, beside the targets' deviation
        `spread`: a head that knows nothing has them equal.
    """

    model: Any
    prompt: Prompt
    weights: np.ndarray
    bias: float
    cut: float = 0.0
    batch: int = 16
    error: float = float("nan")
    spread: float = float("nan")

    def __post_init__(self) -> None:
        check_count("Reward.batch", self.batch)

    def __call__(self, key: Key, rows: Summaries) -> np.ndarray:
        return features(self.model, self.prompt, rows, self.batch) @ self.weights + self.bias - self.cut


def fit_reward(
    model: Any,
    prompt: Prompt,
    rows: Summaries,
    targets: Sequence[float] | np.ndarray,
    *,
    cut: float = 0.0,
    penalties: Sequence[float] = PENALTIES,
    batch: int = 16,
) -> Reward:
    r"""Return the `Reward` whose head predicts `targets`, shape (n,), from `rows` best: ridge regression.

    .. math:: \min_{w, b} \sum_i (y_i - w^\top h_i - b)^2 + \lambda s^2 |w|^2

    with s the largest singular value of the centred features, h the hidden state of `Reward`. Of the `penalties`
    that :math:`\lambda` is taken which has the least error on articles left out. With H the matrix that makes
    predictions of targets and r the residuals, the errors on the rows B of an article are
    :math:`(I - H_{BB})^{-1} r_B`, exactly as if the head were fitted again without them. Nothing is random.

    Raises:
        ValueError: if there is not one finite target a row, a penalty is not above 0, or there is but one article.
    """
    targets = np.asarray(targets, dtype=float)
    if targets.shape != (len(rows),) or not np.isfinite(targets).all():
        raise ValueError(
            f"fit_reward needs one finite target for each of the {len(rows)} rows, got {targets!r:.80}"
        )
    if not len(penalties) or min(penalties) <= 0:
        raise ValueError(f"fit_reward.penalties must be numbers above 0, at least one, got {tuple(penalties)}")
    articles = [np.flatnonzero(rows.prompts == article) for article in np.unique(rows.prompts)]
    if len(articles) < 2:
        raise ValueError(
            f"fit_reward needs rows of at least two articles, got {len(articles)}; give more summaries"
        )
    hidden = features(model, prompt, rows, batch)
    middle = hidden.mean(axis=0)
    left, values, right = np.linalg.svd(hidden - middle, full_matrices=False)
    parts = left.T @ targets

    def left_out(shrunk: np.ndarray) -> np.ndarray:
        residuals = targets - targets.mean() - left @ (shrunk * parts)
        errors = np.empty_like(targets)
        for own in articles:
            seen = 1 / len(targets) + (left[own] * shrunk) @ left[own].T
            errors[own] = np.linalg.solve(np.eye(len(own)) - seen, residuals[own])
        return errors

    best, error = np.zeros_like(values), np.inf
    for penalty in penalties:
        shrunk = values**2 / (values**2 + penalty * values[0] ** 2)
        found = float(np.sqrt(np.mean(left_out(shrunk) ** 2)))
        if found < error:
            best, error = shrunk, found
    weights = right.T @ np.divide(best * parts, values, out=np.zeros_like(values), where=best > 0)
    return Reward(
        model=model,
        prompt=prompt,
        weights=weights,
        bias=float(targets.mean() - middle @ weights),
        cut=cut,
        batch=batch,
        error=error,
        spread=float(targets.std()),
    )


@torch.inference_mode()
def features(model: Any, prompt: Prompt, rows: Summaries, batch: int = 16) -> np.ndarray:
    """Return the model's last hidden state at the last token of each summary, shape (n, hidden size), float64."""
    examples = prompt.examples(rows.articles, rows.summaries)
    order = np.argsort([len(ids) for ids, _ in examples], kind="stable")
    found = np.empty((len(rows), model.config.hidden_size))
    for start in range(0, len(rows), batch):
        these = order[start : start + batch]
        tokens, seen, _ = tokens_and_targets([examples[i] for i in these], prompt.tokenizer.eos_token_id)
        last = seen.sum(1) - 1  # padding stands on the right
        inputs = {"input_ids": tokens.to(model.device), "attention_mask": seen.to(model.device)}
        hidden = model.base_model(**inputs).last_hidden_state
        found[these] = hidden[torch.arange(len(these)), last.to(model.device)].cpu().double()
    return found


def save_reward(reward: Reward, folder: Path) -> None:
    """Write all that a reward is made of, the frozen model and its tokenizer too, as safetensors and JSON."""
    from safetensors.numpy import save_file

    reward.model.save_pretrained(folder)
    reward.prompt.tokenizer.save_pretrained(folder)
    save_file({"weights": reward.weights}, folder / "reward.safetensors")
    numbers = {name: getattr(reward, name) for name in ("bias", "cut", "batch", "error", "spread")}
    wording = {name: getattr(reward.prompt, name) for name in SETTINGS}
    (folder / "reward.json").write_text(json.dumps({**numbers, "prompt": wording}, indent=1) + "\n")


def load_reward(folder: str | Path, *, device: str = "cpu") -> Reward:
    """Read back what `save_reward` wrote: `--set 'verifier={call: "veriloop.xsum:load_reward", folder: DIR}'`.

    Raises:
        ValueError: in one sentence, if the folder holds no reward.
    """
    from safetensors.numpy import load_file

    from veriloop.xsum.base import load_base

    folder = Path(folder)
    if not (folder / "reward.json").is_file():
        raise ValueError(f"no reward.json in {folder}; name a folder that save_reward wrote")
    about = json.loads((folder / "reward.json").read_text())
    model, tokenizer = load_base(str(folder), device=device)
    prompt = Prompt(tokenizer, **about.pop("prompt"))
    return Reward(model=model, prompt=prompt, weights=load_file(folder / "reward.safetensors")["weights"], **about)
