"""What a batch reads once and keeps in place gives the logits of reading every row whole."""

import weakref

import pytest
import torch
from transformers import (
    DynamicCache,
    FalconH1Config,
    FalconH1ForCausalLM,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from veriloop.text import padding
from veriloop.text import running as module
from veriloop.text.cache import Room, can_have_room, can_take_rows
from veriloop.text.running import Running

CPU = torch.device("cpu")
SHAPE = {
    "vocab_size": 60,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
PROMPTS = [[5, 6, 7], [8, 9], [5, 6, 7], [4], [8, 9]]
END = 0
ENDS = {0: 0, 3: 2, 4: 3}  # the step at which some rows end


def llama():
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE)).eval()


def sliding():
    """Layers that forget all but the last three tokens."""
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=3)).eval()


def convolving():
    """A layer of short convolutions, which keeps a state in place of keys and values."""
    torch.manual_seed(0)
    layers = ["conv", "full_attention"]
    return Lfm2ForCausalLM(Lfm2Config(**SHAPE, layer_types=layers)).eval()


def hybrid():
    """Layers that keep a state beside keys and values."""
    torch.manual_seed(0)
    mamba = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_ssm": 32, "mamba_d_state": 4}
    config = FalconH1Config(**SHAPE, **mamba, mamba_n_groups=1, head_dim=4)
    return FalconH1ForCausalLM(config).eval()


@torch.inference_mode()
def read_whole(model, tokens):
    """The logits of the next token, with no cache and no padding."""
    return model(torch.tensor([tokens]), use_cache=False).logits[0, -1]


@pytest.mark.parametrize("at_once", [1, 3, 2048], ids=["one by one", "in blocks", "together"])
@pytest.mark.parametrize("make", [llama, sliding, convolving, hybrid])
def test_logits_are_those_of_each_row_read_whole(make, at_once, monkeypatch):
    """Blocks, copies of one prompt, rows that end and rows that leave: nothing changes a row."""
    monkeypatch.setattr(padding, "CPU_TOKENS", 3 * at_once)
    monkeypatch.setattr(module, "ENDED", 2)
    model = make()
    running = Running(PROMPTS, END, 6, CPU)
    texts = [list(prompt) for prompt in PROMPTS]
    left = []
    with torch.inference_mode():
        for step in range(5):
            logits = running.logits(model)
            for row, found in zip(running.rows, logits, strict=True):
                torch.testing.assert_close(found, read_whole(model, texts[row]))
            tokens = torch.tensor([10 + step * 5 + row for row in running.rows])
            for row, token in zip(running.rows, tokens.tolist(), strict=True):
                texts[row].append(token)
            ends_here = torch.tensor([ENDS.get(row) == step for row in running.rows.tolist()])
            running.go_on(tokens, ~ends_here)
            left.append(len(running.rows))
    if make in (llama, sliding):
        assert left == [5, 5, 5, 2, 2]  # two that ended stay, three leave
    else:
        assert left == [5] * 5  # no rows can be taken from these caches
    running.go_on(tokens, torch.zeros(left[-1], dtype=torch.bool))
    assert len(running.rows) == 0


def test_equal_prompts_are_read_once_and_a_token_is_not_copied_again(monkeypatch):
    monkeypatch.setattr(padding, "CPU_TOKENS", 6)
    model = llama()
    read = []
    given = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **inputs: read.append(inputs["input_ids"].shape) or given(**inputs)
    )
    running = Running(PROMPTS, END, 6, CPU)
    with torch.inference_mode():
        running.logits(model)
        cache = running._cache
        where = cache.layers[0].keys.data_ptr()
        for _ in range(3):
            running.go_on(torch.full((5,), 9), torch.full((5,), True))
            running.logits(model)
    assert read == [(2, 3), (1, 3), (5, 1), (5, 1), (5, 1)]
    assert running._cache is cache and cache.layers[0].keys.data_ptr() == where
    assert cache.get_seq_length() == 6


def test_what_was_read_is_let_go_layer_by_layer():
    """A large model's cache does not fit twice."""
    with torch.inference_mode():
        read = llama()(torch.tensor(PROMPTS[:1])).past_key_values
    first = weakref.ref(read.layers[0])
    room = Room(read, torch.tensor([0, 0]), 4)
    assert first() is None and room.cache is read
    assert read.layers[0].keys.shape == (2, 2, 3, 4)


def test_layers_that_forget_keep_their_own_cache():
    with torch.inference_mode():
        assert can_have_room(llama()(torch.tensor([[1]])).past_key_values)
        assert not can_have_room(sliding()(torch.tensor([[1]])).past_key_values)
    assert not can_have_room(object())


class Richer(DynamicCache):
    """A cache that keeps more than its layers."""


def test_rows_are_taken_from_keys_and_values_alone():
    tokens = torch.tensor([[1]])
    with torch.inference_mode():
        for make in (llama, sliding, convolving, hybrid):
            cache = make()(tokens, use_cache=True).past_key_values
            assert can_take_rows(cache) == (make in (llama, sliding)), make
        richer = llama()(tokens, past_key_values=Richer()).past_key_values
    assert not can_take_rows(richer) and not can_take_rows(None)
