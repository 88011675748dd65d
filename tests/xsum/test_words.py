"""ROUGE is the package's to the bit; other scripts are read by a tokenizer, or counted in a warning."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from veriloop.xsum import copying, repetition, rouge
from veriloop.xsum import scores as module

VARIANTS = ("rouge1", "rouge2", "rougeL")
words = st.lists(
    st.sampled_from(
        ["fire", "Fires", "running", "ran", "the", "Leeds,", "a-b", "10", "", "é", "\n"]
    ),
    max_size=9,
)
ORACLE = RougeScorer(list(VARIANTS), use_stemmer=True)


@pytest.fixture
def written(pairs):
    """Summaries of other articles in place of half of the right ones."""
    mixed = pairs.summaries.copy()
    mixed[::2] = pairs.summaries[::2][::-1]
    return replace(pairs, summaries=mixed)


@settings(max_examples=200, deadline=None)
@given(reference=words.map(" ".join), summary=words.map(" ".join))
def test_rouge_is_the_packages_to_the_bit(reference, summary):
    wanted = ORACLE.score(reference, summary)
    warnings.simplefilter("ignore")  # of references that it cannot read
    for variant in VARIANTS:
        assert rouge(variant, [reference], [summary])[0] == wanted[variant].fmeasure


def test_both_engines_agree_on_reports(written, monkeypatch):
    """The fast one where it is installed, the plain one where it is not: the same bits."""
    pytest.importorskip("rouge_score_rs")
    import sys

    for variant in VARIANTS:
        fast = rouge(variant, written.references, written.summaries)
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "rouge_score_rs", None)
            patch.setitem(sys.modules, "rouge_score_rs.rouge_scorer", None)
            module._scorer.cache_clear()
            np.testing.assert_array_equal(
                rouge(variant, written.references, written.summaries), fast
            )
        module._scorer.cache_clear()


SCRIPTS = {
    "Chinese": "两只狗在叫。",
    "Thai": "สวัสดี",
    "Russian": "Две собаки лаяли в 2024 году.",
    "Hindi": "दो कुत्ते भौंके",
}


class Letters:
    """Every letter is a word."""

    def tokenize(self, text):
        return [letter for letter in text if letter.isalnum()]


@pytest.mark.parametrize("text", [*SCRIPTS.values(), "🌧️🌧️"], ids=[*SCRIPTS, "emoji"])
def test_references_that_rouge_cannot_read_are_counted_in_one_warning(text):
    references = [text, "Rain fell.", text, "", "--"]
    with pytest.warns(UserWarning, match="reads next to nothing of 2 of 5 references") as seen:
        rouge("rouge1", references, references)
    assert len(seen) == 1


def test_what_rouge_can_read_is_not_warned_of():
    for text in ("Two dogs barked.", "café élève", "Zoë’s £3m – “naïve”", "", "—", "…"):
        rouge("rouge1", [text], [text])


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
def test_a_tokenizer_of_ones_own_reads_them(text, variant):
    """A text with itself is 1, and one turned round is less where the order counts."""
    same, turned = rouge(variant, [text] * 2, [text, text[::-1]], Letters())
    assert same == 1 and (turned == 1) == (variant == "rouge1")


def test_a_tokenizer_that_makes_nothing_is_warned_of():
    class Nothing:
        def tokenize(self, text):
            return []

    with pytest.warns(UserWarning, match="reads next to nothing of 1 of 1 references"):
        rouge("rouge1", ["Rain."], ["Rain."], Nothing())


def test_texts_that_are_none_are_refused_by_row():
    with pytest.raises(ValueError, match=r"references, row 1: must be a text \(str\), got nan"):
        rouge("rouge1", ["Rain.", float("nan")], ["Rain."] * 2)
    with pytest.raises(ValueError, match=r"summaries, row 0: must be a text \(str\), got None"):
        rouge("rouge1", ["Rain."], [None])


def test_repetition_and_copying_by_hand():
    assert repetition("one", 2) == copying("a b", "one", 2) == 0.0
    assert repetition("a a a a", 2) == pytest.approx(2 / 3)
    assert repetition("狗叫" * 40) == 0.0 and repetition("狗叫" * 40, 2, Letters()) > 0.9
    assert copying("两只狗在叫", "只狗叫", 2, Letters()) == 0.5


def test_texts_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="one reference for each summary, got 1 and 2"):
        rouge("rouge1", ["Rain."], ["Rain.", "Snow."])
    with pytest.raises(ValueError, match=r"references must be a list of texts, got one text"):
        rouge("rouge1", "Rain.", "Rain.")  # would be five rows of letters


@pytest.mark.parametrize("n", [0, -1, 1.5])
def test_grams_have_at_least_one_word(n):
    for share in (lambda: repetition("a b a b", n), lambda: copying("a b", "a b", n)):
        with pytest.raises(ValueError, match="n-gram, must be an integer of at least 1, got"):
            share()


def test_what_is_no_text_is_refused_by_each_share():
    for share in (lambda: repetition(None), lambda: copying("a", None)):
        with pytest.raises(ValueError, match=r"the text must be a text \(str\), got None"):
            share()
