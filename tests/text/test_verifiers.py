"""Each verifier scores what it says, and gives no verdict where nothing is said."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from veriloop import Key, TopFraction, Verdict, all_of
from veriloop.testing import check_verifier
from veriloop.xsum import (
    Brevity,
    Ended,
    LittleCopying,
    LittleRepetition,
    LogLikelihood,
    PartialReference,
    RougeVerifier,
    ScoreNoise,
    Summaries,
    rouge,
)

VARIANTS = ("rouge1", "rouge2", "rougeL")


@pytest.fixture
def written(pairs):
    """Summaries of other articles in place of half of the right ones."""
    mixed = pairs.summaries.copy()
    mixed[::2] = pairs.summaries[::2][::-1]
    return replace(pairs, summaries=mixed)


def test_the_rouge_verifier_scores_row_by_row(written):
    for variant in VARIANTS:
        scores = RougeVerifier(variant)(Key(0), written)
        assert (scores[1::2] == 1).all() and (scores[::2] < 1).any()
        check_verifier(RougeVerifier(variant), written)
    with pytest.raises(ValueError, match="rouge1, rouge2, rougeL, got 'rouge3'"):
        RougeVerifier("rouge3")
    with pytest.raises(ValueError, match="rouge knows rouge1"):
        rouge("bleu", [], [])


def test_rules_by_hand():
    rows = Summaries.of(
        ["the old bridge is shut for repairs"] * 3, ["-"] * 3, ["old bridge is shut", "a a a a", ""]
    )
    none = np.nan
    for verifier, wanted in (
        (Brevity(3), [-1, -1, none]),
        (LittleRepetition(0.5, 2), [0.5, 0.5 - 2 / 3, none]),
        (LittleCopying(0.5, 2), [-0.5, 0.5, none]),
    ):
        assert verifier(Key(0), rows) == pytest.approx(wanted, nan_ok=True)
    for verifier in (Brevity(3), LittleRepetition(), LittleCopying()):
        check_verifier(verifier, rows)


@pytest.mark.parametrize("empty", ["", " ", "\n", "...", "-- !"])
def test_a_summary_without_a_word_is_never_the_best_of_the_rules(empty):
    """The least that can be said keeps every rule; it has no verdict, so no filter keeps it."""
    article = "The old bridge at Leeds is shut after a fire last night."
    rows = Summaries.of([article] * 3, ["-"] * 3, [empty, "A fire shut the bridge.", article])
    rules = (Brevity(12), LittleRepetition(), LittleCopying())
    for verifier in (*rules, all_of(*rules)):
        verdict = Verdict.of(verifier(Key(0), rows))
        assert np.isnan(verdict.scores).tolist() == [True, False, False]
        kept = TopFraction(0.34)(Key(0), verdict.scores, np.zeros(3, dtype=int))
        assert kept.sum() == 1 and not kept[0]


class Letters:
    """A tokenizer for scripts without spaces: every letter is a word."""

    def tokenize(self, text):
        return [letter for letter in text if letter.isalnum()]


def test_rules_read_other_scripts_by_a_tokenizer_of_ones_own():
    rows = Summaries.of(["两只狗在叫"] * 2, ["两只狗在叫"] * 2, ["狗叫狗叫狗叫", "两只狗在叫"])
    own = Letters()
    assert Brevity(5, own)(Key(0), rows).tolist() == [-1, 0]
    assert LittleRepetition(0.5, 2, own)(Key(0), rows) == pytest.approx([0.5 - 3 / 5, 0.5])
    assert LittleCopying(0.5, 2, own)(Key(0), rows) == pytest.approx([0.5, -0.5])
    assert RougeVerifier(tokenizer=own)(Key(0), rows) == pytest.approx([4 / 11, 1.0])
    for verifier in (Brevity(5, own), LittleCopying(tokenizer=own), RougeVerifier(tokenizer=own)):
        check_verifier(verifier, rows)


def test_a_summary_that_was_cut_is_rejected():
    rows = Summaries.of(["-"] * 2, ["-"] * 2, ["Rain.", "Rain in"], ended=[True, False])
    assert Ended()(Key(0), rows).tolist() == [1, -1]
    check_verifier(Ended(), rows)


def test_partial_references_leave_the_same_articles_without_a_verdict(written):
    verifier = PartialReference(RougeVerifier(), 0.5)
    scores = verifier(Key(0), written).scores
    known = ~np.isnan(scores)
    assert 0 < known.sum() < len(written)
    np.testing.assert_array_equal(scores[known], RougeVerifier()(Key(0), written)[known])
    np.testing.assert_array_equal(np.isnan(verifier(Key(1), written[::-1]).scores), ~known[::-1])
    with pytest.raises(ValueError, match=r"PartialReference\.share must be in \(0, 1\], got 0"):
        PartialReference(RougeVerifier(), 0)


def test_noise_has_its_scale_and_follows_the_key(pairs):
    rows = pairs[np.zeros(4000, dtype=int)]
    noise = ScoreNoise(Brevity(0), 0.3)(Key(0), rows).scores - Brevity(0)(Key(0), rows)
    assert abs(noise.mean()) / (0.3 / np.sqrt(4000)) < 4
    assert abs(noise.std() / 0.3 - 1) / np.sqrt(1 / 8000) < 4
    assert (ScoreNoise(Brevity(0), 0.0)(Key(0), pairs).scores == Brevity(0)(Key(0), pairs)).all()
    with pytest.raises(
        ValueError, match=r"ScoreNoise\.scale must be at least 0 and finite, got -1"
    ):
        ScoreNoise(Brevity(0), -1)


def test_noise_and_partial_knowledge_take_composed_verifiers(written):
    """What `all_of` returns has parts; its scores are what counts."""
    both = all_of(RougeVerifier(), Brevity(9))
    wanted = both(Key(0), written).scores
    noiseless = ScoreNoise(both, 0.0)(Key(0), written)
    np.testing.assert_array_equal(noiseless.scores, wanted)
    assert list(noiseless.parts) == list(both(Key(0), written).parts)
    np.testing.assert_array_equal(PartialReference(both, 1.0)(Key(0), written).scores, wanted)


def test_a_likelihood_is_the_mean_of_its_tokens(written, prompt, model):
    """Whatever the batch; against logits of one row at a time."""
    scores = LogLikelihood(model, prompt, cut=-3.0, batch=7)(Key(0), written)
    np.testing.assert_allclose(
        scores, LogLikelihood(model, prompt, cut=-3.0, batch=1)(Key(0), written), rtol=1e-4
    )
    (ids, start), *_ = prompt.examples(written.articles, written.summaries)
    with torch.no_grad():
        logs = model(torch.tensor([ids])).logits[0].log_softmax(1)
    wanted = np.mean([float(logs[i - 1, ids[i]]) for i in range(start, len(ids))])
    assert scores[0] == pytest.approx(wanted + 3.0, rel=1e-4)
    check_verifier(LogLikelihood(model, prompt), written)


@pytest.mark.parametrize(
    "make",
    [
        lambda wrong: Brevity(wrong),
        lambda wrong: LittleRepetition(wrong),
        lambda wrong: LittleRepetition(n=wrong),
        lambda wrong: LittleCopying(wrong),
        lambda wrong: LittleCopying(n=wrong),
        lambda wrong: PartialReference(RougeVerifier(), share=wrong),
        lambda wrong: ScoreNoise(RougeVerifier(), scale=wrong),
    ],
)
@pytest.mark.parametrize("wrong", [float("nan"), "10", None])
def test_settings_that_are_no_numbers_are_refused_when_it_is_made(make, wrong):
    """NaN would leave all rows without a verdict, and text would fail in the round."""
    with pytest.raises(ValueError, match=r"^\w+\.\w+ must be .*, got "):
        make(wrong)


def test_a_cut_of_likelihood_is_a_number(prompt, model):
    with pytest.raises(ValueError, match=r"LogLikelihood\.cut must be a finite number, got nan"):
        LogLikelihood(model, prompt, cut=float("nan"))


@pytest.mark.parametrize(
    "verify",
    [RougeVerifier(), Brevity(3), LittleRepetition(), LittleCopying(), Ended()],
    ids=lambda verify: type(verify).__name__,
)
def test_rows_of_another_kind_are_refused_by_name(verify, written):
    with pytest.raises(
        TypeError, match=rf"{type(verify).__name__}: batch must be Texts or Summaries, got"
    ):
        verify(Key(0), np.zeros((2, 784)))
    if isinstance(verify, Ended):
        return
    texts = written.summaries.copy()
    texts[3] = None
    with pytest.raises(
        ValueError, match=r"(outputs|summaries), row 3: must be a text \(str\), got None"
    ):
        verify(Key(0), replace(written, summaries=texts))


def test_articles_may_be_numbered_by_names_from_elsewhere(written):
    """One lot an article, however large its number; lots of small numbers stay as they were."""
    verify = PartialReference(RougeVerifier(), share=0.5)
    known = ~np.isnan(verify(Key(0), written).scores)
    far = written.prompts.copy()
    far[5:] += 2**40
    scores = verify(Key(0), replace(written, prompts=far)).scores
    assert (~np.isnan(scores))[:5].tolist() == known[:5].tolist()
    twice = Summaries.concatenate([replace(written, prompts=far)] * 2)
    again = verify(Key(1), twice).scores
    np.testing.assert_equal(again, np.concatenate([scores, scores]))
    assert 0 < np.isnan(scores[5:]).sum() < len(scores) - 5
