"""What cannot make a small model is refused before anything is trained."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

if find_spec("transformers") is None:
    pytest.skip("the extra [text] is not installed", allow_module_level=True)

import torch

from veriloop.text import Pretraining, pretrain, train_tokenizer
from veriloop.text.small import pretrained_once

TINY = Pretraining(steps=1, batch=2, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"batch": 0}, "batch must be an integer of at least 1"),
        ({"layers": 0}, "layers must be an integer of at least 1"),
        ({"inner": 0}, "inner must be an integer of at least 1"),
        ({"vocabulary": 10}, "vocabulary must be an integer of at least 257, got 10"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"rate": "1e-3"}, "rate must be positive"),
        ({"hidden": 6}, "hidden must be a multiple of 4, twice the heads, got 6"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(given, message):
    with pytest.raises(ValueError, match=f"Pretraining.{message}"):
        replace(TINY, **given)


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        (lambda key, n: "Rain fell.", "documents must be a list of texts, got one text"),
        (lambda key, n: ["Rain fell."], "documents must return 2000 texts, got 1"),
        (lambda key, n: [None] * n, "documents, row 0: must be a text"),
    ],
)
def test_documents_are_as_many_texts_as_are_asked_for(documents, message):
    with pytest.raises(ValueError, match=f"pretrain: {message}"):
        pretrain(TINY, documents)


@pytest.mark.parametrize(
    ("texts", "vocabulary", "message"),
    [
        ("Rain fell.", 300, "texts must be a list of texts, got one text"),
        ([None], 300, "texts, row 0: must be a text"),
        (["Rain fell."], 256, "vocabulary must be an integer of at least 257, got 256"),
    ],
)
def test_a_tokenizer_learns_from_a_list_of_texts(texts, vocabulary, message):
    with pytest.raises(ValueError, match=f"train_tokenizer: {message}"):
        train_tokenizer(texts, vocabulary)


def test_a_model_that_is_kept_is_trained_on_one_thread(tmp_path):
    """Sums are added in another order by two, and its bytes would depend on the machine."""
    seen = []

    def documents(key, n):
        seen.append(torch.get_num_threads())
        return ["Rain fell."] * n

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        pretrained_once(TINY, documents, "rain", [], folder=tmp_path)
        assert set(seen) == {1} and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
