"""A tokenizer trained on a few reports and small random models: enough for all but what a model has to know."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Numbers depend on the thread count, and so do the times of small fits."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_progress_bars():
    from transformers.utils import logging

    logging.disable_progress_bar()


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    """Nothing is downloaded, and nothing that a test trains is left behind."""
    monkeypatch.setenv("VERILOOP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def tokenizer():
    from veriloop import Key
    from veriloop.xsum import documents, train_tokenizer

    return train_tokenizer(documents(Key(0).fold("tokenizer"), 200), 500)


@pytest.fixture(scope="session")
def prompt(tokenizer):
    from veriloop.xsum import Prompt

    return Prompt(tokenizer, tokens=120, summary_tokens=12)


@pytest.fixture(scope="session")
def pairs():
    from veriloop import Key
    from veriloop.xsum import reports

    return reports(Key(0).fold("pairs"), 24)


@pytest.fixture(scope="session")
def network(tokenizer):
    """Makes a small random Llama: `network(seed)`; larger initial weights than usual, so that it has opinions."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(seed=0, **changed):
        config = LlamaConfig(
            **{
                "vocab_size": len(tokenizer),
                "hidden_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "intermediate_size": 64,
                "initializer_range": 0.2,
                "tie_word_embeddings": True,
                "eos_token_id": tokenizer.eos_token_id,
            }
            | changed
        )
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            return LlamaForCausalLM(config).eval()

    return make


@pytest.fixture(scope="session")
def model(network):
    return network()
