"""Bases: pre-trained on the spot once and then found again."""

import stat
from dataclasses import replace

import numpy as np
import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

from veriloop.store.caches import write_sums
from veriloop.xsum import Pretraining, pretrained

TINY = Pretraining(steps=3, batch=2, vocabulary=400, hidden=16, layers=1, heads=2, inner=16)


def test_a_base_is_trained_once_and_found_again(tmp_path):
    """By its settings: what lies in the folder comes back, other weights put there too."""
    model, tokenizer = pretrained(TINY, folder=tmp_path)
    (file,) = tmp_path.iterdir()
    assert tokenizer.eos_token == "<|end|>"
    readable = stat.S_IMODE(file.stat().st_mode) & 0o444
    assert all(path.stat().st_mode & 0o444 == readable for path in file.iterdir())
    steps = []
    hook = register_optimizer_step_post_hook(lambda *_: steps.append("trained again"))
    again, _ = pretrained(TINY, folder=tmp_path)
    hook.remove()
    assert list(tmp_path.iterdir()) == [file] and steps == []
    same_weights(again, model)

    planted, _ = pretrained(TINY, folder=tmp_path)
    for parameter in planted.parameters():
        parameter.data += 1
    planted.save_pretrained(file)
    write_sums(file, file.name)
    same_weights(pretrained(TINY, folder=tmp_path)[0], planted)
    weights = bytearray((file / "model.safetensors").read_bytes())
    weights[-2] ^= 64
    (file / "model.safetensors").write_bytes(weights)
    with pytest.warns(UserWarning, match="is damaged .the sha256 of model.safetensors differs."):
        same_weights(pretrained(TINY, folder=tmp_path)[0], model)

    other, _ = pretrained(replace(TINY, seed=1), folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    assert any(
        (other.state_dict()[name] != value).any() for name, value in model.state_dict().items()
    )


def same_weights(one, other):
    """Assert that two models have the same weights, to the last bit."""
    np.testing.assert_equal(
        {name: value.numpy() for name, value in one.state_dict().items()},
        {name: value.numpy() for name, value in other.state_dict().items()},
    )


def test_pretraining_lowers_the_loss(tmp_path):
    """On texts it has not seen, below what a uniform guess costs."""
    import torch

    from veriloop import Key
    from veriloop.text.likelihood import token_losses
    from veriloop.text.padding import padded
    from veriloop.xsum import documents

    model, tokenizer = pretrained(replace(TINY, steps=60, batch=4), folder=tmp_path)
    examples = [(ids, 1) for ids in tokenizer(documents(Key(9), 8))["input_ids"]]
    with torch.no_grad():
        losses = token_losses(model, *padded(examples, tokenizer.eos_token_id))
    assert losses.mean() < 0.9 * np.log(len(tokenizer))
