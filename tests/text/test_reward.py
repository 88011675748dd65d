"""A head fitted in closed form knows more than the mean, of articles it has not seen, whatever the batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from veriloop import Key
from veriloop.testing import check_verifier
from veriloop.text.reward import features, fit_head
from veriloop.xsum import (
    Pretraining,
    Prompt,
    Reward,
    fit_reward,
    load_reward,
    pretrained,
    reports,
    rouge,
    save_reward,
)


@pytest.fixture(scope="module")
def scored():
    """Summaries of 900 reports, each cut at a random word, with their ROUGE."""
    rows, rng = reports(Key(7), 900), Key(8).numpy()
    words = [summary.split() for summary in rows.summaries]
    cut = [" ".join(each[: rng.integers(1, len(each) + 1)]) for each in words]
    rows = replace(rows, summaries=np.array(cut, dtype=object))
    return rows, rouge("rouge1", rows.references, rows.summaries)


@pytest.fixture(scope="module")
def candidates(scored):
    """60 rows, two of each of 30 articles."""
    rows, targets = scored
    return replace(rows[:60], prompts=np.arange(60) // 2), targets[:60]


@pytest.fixture(scope="module")
def reward(model, prompt, candidates):
    return fit_reward(model, prompt, *candidates, cut=0.1)


@pytest.mark.slow
def test_a_head_predicts_the_rouge_of_unseen_articles_better_than_the_mean(
    scored, tmp_path_factory
):
    """By the difference of squared errors on 300 articles, against its own standard error.

    The error is about what the fit said it would be.
    """
    rows, targets = scored
    how = Pretraining(steps=80, batch=4, vocabulary=500, hidden=64, layers=2, inner=128)
    model, tokenizer = pretrained(how, folder=tmp_path_factory.mktemp("base"))
    reward = fit_reward(
        model, Prompt(tokenizer, tokens=120, summary_tokens=60), rows[:600], targets[:600]
    )
    assert reward.error < reward.spread
    found = reward(Key(0), rows[600:])
    squares = (targets[600:] - found) ** 2
    gain = (targets[600:] - targets[:600].mean()) ** 2 - squares
    assert gain.mean() / (gain.std(ddof=1) / np.sqrt(300)) > 3
    assert abs(squares.mean() - reward.error**2) / (squares.std(ddof=1) / np.sqrt(300)) < 3


def test_the_head_is_read_at_the_end_token(model, prompt, scored):
    """Of one text at a time, without padding."""
    rows = scored[0][:9]
    examples = prompt.examples(rows.articles, rows.summaries)
    with torch.no_grad():
        wanted = [
            model.base_model(torch.tensor([ids])).last_hidden_state[0, -1].numpy()
            for ids, _ in examples
        ]
    for batch in (1, 4, 9):
        np.testing.assert_allclose(
            features(model, prompt, rows, batch), wanted, rtol=1e-4, atol=1e-5
        )


def test_scores_do_not_depend_on_the_batch_and_are_a_verifiers(reward, candidates):
    rows, _ = candidates
    scores = reward(Key(0), rows)
    for batch in (1, 7):
        np.testing.assert_allclose(
            replace(reward, batch=batch)(Key(0), rows), scores, rtol=1e-4, atol=1e-6
        )
    check_verifier(reward, rows)
    np.testing.assert_allclose(replace(reward, cut=0.3)(Key(0), rows), scores - 0.2, atol=1e-12)


def test_the_error_is_that_of_fits_without_the_article(model, prompt, candidates):
    """Against as many ridge regressions as there are articles, and the head against one more."""
    rows, targets = candidates
    hidden = features(model, prompt, rows)
    penalty = 1e-3 * np.linalg.svd(hidden - hidden.mean(0), compute_uv=False)[0] ** 2

    def ridge(kept):
        x, y = hidden[kept] - hidden[kept].mean(0), targets[kept]
        weights = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ (y - y.mean()))
        return weights, y.mean() - hidden[kept].mean(0) @ weights

    errors = []
    for article in range(30):
        weights, bias = ridge(rows.prompts != article)
        errors.extend((targets - hidden @ weights - bias)[rows.prompts == article])
    articles = [np.flatnonzero(rows.prompts == article) for article in range(30)]
    head = fit_head(hidden, targets, articles, penalties=(1e-3,))
    assert head.error == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=1e-6)
    np.testing.assert_allclose(head.weights, ridge(rows.prompts >= 0)[0], rtol=1e-5, atol=1e-8)
    several = fit_head(hidden, targets, articles, penalties=(1e-6, 1e-3, 1e3))
    assert several.error <= head.error
    reward = fit_reward(model, prompt, rows, targets)
    assert reward.error == fit_head(hidden, targets, articles).error


def test_the_fit_is_repeatable(model, prompt, candidates, reward):
    again = fit_reward(model, prompt, *candidates, cut=0.1)
    np.testing.assert_array_equal(again.weights, reward.weights)
    assert (again.bias, again.error) == (reward.bias, reward.error)


def test_a_reward_comes_back_from_its_folder(reward, candidates, tmp_path):
    """With model and prompt: the same scores to the bit, and no file but safetensors and JSON."""
    save_reward(reward, tmp_path)
    back = load_reward(tmp_path)
    np.testing.assert_array_equal(back(Key(0), candidates[0]), reward(Key(0), candidates[0]))
    assert (back.cut, back.error, back.prompt.tokens) == (0.1, reward.error, 120)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    with pytest.raises(
        ValueError, match=r"^no reward\.json in .*none; name a folder that save_reward wrote$"
    ):
        load_reward(tmp_path / "none")


def test_what_cannot_be_fitted_is_refused(model, prompt, candidates):
    rows, targets = candidates
    for wrong in (targets[:-1], np.where(targets > 0.5, np.nan, targets)):
        with pytest.raises(ValueError, match="needs one finite target for each of the 60 rows"):
            fit_reward(model, prompt, rows, wrong)
    with pytest.raises(ValueError, match="needs rows of at least two inputs, got 1"):
        fit_reward(model, prompt, rows[:2], targets[:2])


def test_features_that_do_not_differ_predict_nothing():
    with pytest.raises(ValueError, match="fit_reward: the model reads all rows alike"):
        fit_head(np.ones((4, 2)), np.arange(4.0), [np.arange(2), np.arange(2, 4)])


@pytest.mark.parametrize("weights", [np.zeros(3), np.full(32, np.nan)], ids=["short", "NaN"])
def test_weights_of_another_model_are_refused(prompt, model, weights):
    with pytest.raises(ValueError, match=r"Reward\.weights must be 32 finite numbers"):
        Reward(model=model, prompt=prompt, weights=weights, bias=0.0)


def test_a_reward_of_plain_lists_goes_into_a_folder_named_by_a_text(model, prompt, pairs, tmp_path):
    size = model.config.hidden_size
    reward = Reward(model=model, prompt=prompt, weights=[0.5] * size, bias=0.0)
    save_reward(reward, str(tmp_path / "reward"))
    back = load_reward(str(tmp_path / "reward"))
    assert np.array_equal(back(Key(0), pairs[:2]), reward(Key(0), pairs[:2]))
    with pytest.raises(TypeError, match="Reward: rows must be Texts or Summaries, got list"):
        reward(Key(0), ["Rain."])
