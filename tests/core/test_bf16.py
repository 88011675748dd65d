"""What may run in bfloat16 does so where the machine has instructions for it."""

import numpy as np
import pytest
import torch

from veriloop import Key
from veriloop.core import bf16
from veriloop.core.bf16 import bf16_is_fast
from veriloop.mnist import Training
from veriloop.mnist.training import fit, new_network

CPU = torch.device("cpu")


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
@pytest.mark.parametrize("there", [False, True])
def test_avx_512_alone_is_not_enough(monkeypatch, machine, there):
    """PyTorch says of such a processor that it can multiply in bfloat16. It can, slowly."""
    bf16.cpu_has_bf16.cache_clear()
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: there)
    assert bf16_is_fast(CPU) is there
    bf16.cpu_has_bf16.cache_clear()


def test_a_pytorch_without_onednn_has_no_fast_products(monkeypatch):
    """The wheels for Macs are built without it. Every run ended with an AttributeError there."""
    bf16.cpu_has_bf16.cache_clear()
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert not bf16_is_fast(CPU)
    bf16.cpu_has_bf16.cache_clear()


def test_a_gpu_that_is_not_here_is_taken_for_one_that_has_it():
    """Fake tensors stand for a GPU in tests; a real one is asked."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert bf16_is_fast(torch.device("cuda"))


def losses(precision):
    """Return the losses of a small fit."""
    network = new_network(Key(0), lambda: torch.nn.Linear(3, 1))

    def loss(rows, generator):
        return network(torch.from_numpy(rows)).float().squeeze(1).square()

    rows = Key(1).numpy().normal(size=(64, 3)).astype(np.float32)
    return fit(Key(0), network, loss, rows, Training(steps=8, precision=precision)).losses


@pytest.mark.parametrize("there", [False, True])
def test_a_fit_is_in_float32_where_bfloat16_is_slow(monkeypatch, there):
    """It took ten times as long on a processor without such instructions, and said nothing."""
    monkeypatch.setattr(bf16, "cpu_has_bf16", lambda: there)
    assert (losses("bf16") == losses("float32")) is not there
