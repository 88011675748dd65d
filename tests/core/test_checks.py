"""Arguments are refused in one wording, hints name what is near, a missing package says what to install."""

import sys
from pathlib import Path

import numpy as np
import pytest

from veriloop.core.checks import (
    check_count,
    check_device,
    check_fraction,
    check_path,
    check_positive,
    nearest,
    need,
)


@pytest.mark.parametrize("value", [1, 7, np.int64(3)])
def test_integers_are_counts(value):
    check_count("n", value)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, "3", None, np.nan])
def test_nothing_else_is_a_count(value):
    with pytest.raises(ValueError, match=f"^n must be an integer of at least 1, got {value!r}$"):
        check_count("n", value)


def test_the_least_count_may_be_zero():
    check_count("n", 0, least=0)
    with pytest.raises(ValueError, match="at least 0, got -1"):
        check_count("n", -1, least=0)


@pytest.mark.parametrize(
    ("zero", "one", "allowed", "interval"),
    [
        (False, False, [0.5], r"\(0, 1\)"),
        (True, False, [0.0, 0.5], r"\[0, 1\)"),
        (False, True, [0.5, 1.0], r"\(0, 1\]"),
        (True, True, [0.0, 0.5, 1.0], r"\[0, 1\]"),
    ],
)
def test_fractions_lie_between_0_and_1_with_the_ends_that_are_allowed(zero, one, allowed, interval):
    for value in (-0.1, 0.0, 0.5, 1.0, 1.1, np.nan):
        if value in allowed:
            check_fraction("f", value, zero=zero, one=one)
            continue
        with pytest.raises(ValueError, match=f"^f must be in {interval}, got {value}$"):
            check_fraction("f", value, zero=zero, one=one)


@pytest.mark.parametrize("value", [-1.0, np.inf, np.nan])
@pytest.mark.parametrize("zero", [True, False])
def test_positive_numbers_are_finite_and_zero_is_one_where_it_is_allowed(value, zero):
    check_positive("t", 1e-9, zero=zero)
    with pytest.raises(ValueError, match=f"finite, got {value}$"):
        check_positive("t", value, zero=zero)
    check_positive("t", 0.0, zero=True)
    with pytest.raises(ValueError, match="^t must be positive and finite, got 0.0$"):
        check_positive("t", 0.0)


@pytest.mark.parametrize("device", ["gpu", "meta", "cuda:99", "", 3, None])
def test_a_device_is_one_that_torch_has_here(device):
    """A device that holds no numbers is none."""
    pytest.importorskip("torch")
    check_device("d", "cpu")
    with pytest.raises(ValueError, match=f"^d must be one that torch has .*, cpu.*got '{device}'$"):
        check_device("d", device)


def test_every_number_of_a_device_that_is_there_is_one(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    for device in ("cpu", "cuda", "cuda:0", "cuda:1", torch.device("cuda", 1)):
        check_device("d", device)
    with pytest.raises(ValueError, match="cpu, cuda, cuda:0, cuda:1, got 'cuda:2'$"):
        check_device("d", "cuda:2")


@pytest.mark.parametrize("name", ["a" * 300, "a" * 300 + ".gguf", "/" + "b/" * 3000, "a\0b"])
def test_a_name_that_no_file_can_have_is_refused_and_shown_in_part(name):
    with pytest.raises(ValueError, match="^load: no file can be called .*; give another") as told:
        check_path("load", name)
    assert len(str(told.value)) < 200


@pytest.mark.parametrize("name", ["nowhere", "a/b", "/dev/null/x", "a" * 255])
def test_other_paths_are_returned_though_nothing_is_there(name):
    assert check_path("load", name) == Path(name)


def test_a_hint_is_the_nearest_name_or_the_first_ones():
    assert nearest("kepp", {"keep", "drop"}) == "did you mean 'keep'?"
    assert nearest("zzz", {"keep", "drop"}) == "known: drop, keep"
    assert nearest("zzz", ()) == "known: none"
    many = nearest("zzz", [f"a{i:03}" for i in range(200)])
    assert many.endswith("a028, a029 and 170 more")


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    wanted = r"^this needs 'yaml'; install it with: pip install 'veriloop\[study\]'$"
    with pytest.raises(ImportError, match=wanted):
        need("yaml", "veriloop[study]", "this")


def test_a_missing_module_of_our_own_is_no_missing_package():
    with pytest.raises(ModuleNotFoundError, match="veriloop.nowhere"):
        need("veriloop.nowhere", "veriloop[study]", "this")
