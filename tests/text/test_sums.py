"""Sums in words: right, all different, and read by the small model in its documents."""

import re

import pytest

from veriloop import Key
from veriloop.text import Pretraining, sums

NUMBER = {sums.in_words(number): number for number in range(100)}


def test_a_number_in_words_tells_it_from_all_others():
    assert len(NUMBER) == 100 and sums.in_words(19) == "nineteen"
    with pytest.raises(ValueError, match="must be below 100, got 100"):
        sums.in_words(100)


def check(text, total):
    first, second = text.strip().split(" plus ")
    assert NUMBER[first] + NUMBER[second] == NUMBER[total]


def test_targets_are_right_and_no_sum_comes_twice():
    rows = sums.texts(Key(3), 2500)
    assert len(set(rows.inputs)) == 2500
    for text, target in zip(rows.inputs, rows.targets, strict=True):
        check(text, target)
    with pytest.raises(ValueError, match="at most 2500, got 2501"):
        sums.texts(Key(3), 2501)


def test_documents_add_and_count_without_a_mistake():
    whole = sums.documents(Key(1), 300)
    added = [re.findall(r"([a-z ]+ plus [a-z ]+) is ([a-z ]+)\.", each) for each in whole]
    for found in added:
        for each in found:
            check(*each)
    counted = [each for each, found in zip(whole, added, strict=True) if not found]
    assert 60 < len(counted) < 140
    for each in counted:
        numbers = [NUMBER[word] for word in each.removesuffix(".").split(", ")]
        assert numbers == list(range(numbers[0], numbers[0] + 12))


def test_a_small_model_is_trained_once_and_found_again(tmp_path):
    tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    sums.pretrained(tiny, folder=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("sums-")
    made = folder.stat().st_mtime_ns
    sums.pretrained(tiny, folder=tmp_path)
    assert [folder] == list(tmp_path.iterdir()) and folder.stat().st_mtime_ns == made
