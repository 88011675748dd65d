"""What vLLM is asked and given every round; a stand-in that keeps its rules, since the package needs a GPU."""

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from veriloop import Key, State, run
from veriloop.text import vllm as ours
from veriloop.xsum import FineTune, Generate, GenerateVLLM, Measure, Problem, RougeVerifier


@dataclass(frozen=True)
class SamplingParams:
    """The settings of vLLM 0.33 that are used, refused as there."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 16
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    detokenize: bool = True

    def __post_init__(self):
        assert 0 <= self.temperature <= 2 and 0 < self.top_p <= 1


class LLM:
    """Decodes by transformers from the weights in its folder, and keeps what it has read until told not to."""

    engines: list["LLM"]

    def __init__(self, model, *, dtype="auto", seed=0, gpu_memory_utilization=0.92):
        self.settings = {"dtype": dtype, "gpu_memory_utilization": gpu_memory_utilization}
        self.asked, self._read = [], {}
        self._load(model)
        LLM.engines.append(self)

    def _load(self, folder):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._model = AutoModelForCausalLM.from_pretrained(folder)
        AutoTokenizer.from_pretrained(folder)

    def collective_rpc(self, method, timeout=None, args=(), kwargs=None):
        assert method == "reload_weights" and not args and set(kwargs) == {"weights_path"}
        self._load(kwargs["weights_path"])
        return [None]

    def reset_prefix_cache(self):
        self._read = {}
        return True

    def generate(self, prompts, sampling_params=None, *, use_tqdm=True):
        assert len(prompts) == len(sampling_params)
        self.asked.extend(sampling_params)
        pairs = zip(prompts, sampling_params, strict=True)
        return [
            SimpleNamespace(outputs=[SimpleNamespace(token_ids=tuple(self._write(*pair)))])
            for pair in pairs
        ]

    def _write(self, prompt, how):
        assert set(prompt) == {"prompt_token_ids"} and how.ignore_eos and not how.detokenize
        ids, (end,) = prompt["prompt_token_ids"], how.stop_token_ids
        if how.seed is not None:
            return np.random.default_rng(how.seed).integers(
                1, len(self._model.get_input_embeddings().weight), 4
            )
        if tuple(ids) not in self._read:
            new = self._model.generate(
                torch.tensor([ids]),
                do_sample=False,
                max_new_tokens=how.max_tokens,
                pad_token_id=end,
                eos_token_id=end,
            )
            self._read[tuple(ids)] = new[0, len(ids) :].tolist()
        return self._read[tuple(ids)]


@pytest.fixture(autouse=True)
def engines(monkeypatch):
    """A module named vllm, and the engines started in a test."""
    LLM.engines = []
    module = ModuleType("vllm")
    module.__dict__.update(LLM=LLM, SamplingParams=SamplingParams)
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setattr(ours, "_engines", {})
    return LLM.engines


def texts(rows):
    return rows.summaries.tolist()


def test_every_model_writes_with_its_own_weights(engines, prompt, pairs, network):
    """As `Generate` writes them, whichever model wrote before: one engine, told to load and to forget."""
    ours, plain = (
        GenerateVLLM(articles=pairs, prompt=prompt),
        Generate(articles=pairs, prompt=prompt),
    )
    for model in (network(0), network(1), network(0)):
        rows, wanted = ours(Key(0), model, 24), plain(Key(0), model, 24)
        assert (
            texts(rows) == texts(wanted) and rows.references.tolist() == wanted.references.tolist()
        )
        assert rows.ended.tolist() == wanted.ended.tolist()
    assert len(engines) == 1 and engines[0].settings == {
        "dtype": "float32",
        "gpu_memory_utilization": 0.5,
    }


def test_rows_have_seeds_of_their_own_from_the_key(has_bf16, engines, prompt, pairs, model):
    sampled = GenerateVLLM(
        articles=pairs,
        prompt=prompt,
        temperature=0.7,
        top_p=0.9,
        candidates=2,
        bf16=True,
        options={},
    )
    whole = sampled(Key(1), model, 48)
    assert whole.prompts.tolist() == [i // 2 for i in range(48)] and len(set(texts(whole))) == 48
    assert texts(sampled(Key(1), model, 11)) == texts(whole)[:11]
    assert not set(texts(sampled(Key(2), model, 48))) & set(texts(whole))
    first = engines[0].asked[0]
    assert (first.temperature, first.top_p, first.max_tokens) == (0.7, 0.9, 12)
    assert engines[0].settings == {"dtype": "bfloat16", "gpu_memory_utilization": 0.92}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_bf16_is_asked_for_only_where_it_is_fast(
    device, engines, prompt, pairs, model, monkeypatch
):
    """Without its instructions the engine computes in float32, as `Generate` does."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: device == "cuda")
    monkeypatch.setattr("veriloop.text.vllm.bf16_is_fast", lambda where: where.type != device)
    write = GenerateVLLM(articles=pairs, prompt=prompt, bf16=True, options={})
    write(Key(0), model, 2)
    assert engines[0].settings["dtype"] == "float32"


def test_a_loop_runs_on_it(engines, prompt, pairs, model):
    """The same records as with `Generate`, measured through the same engine."""
    tune, records = FineTune(prompt=prompt, rate=1e-3, batch=8), []
    for kind in (Generate, GenerateVLLM):
        generate = kind(articles=pairs, prompt=prompt)
        measure = Measure(generate=kind(articles=pairs[:4], prompt=prompt), resamples=10)
        problem = Problem(
            base=model,
            initial=pairs,
            generate=generate,
            first=tune,
            refit=tune,
            keep=0.5,
            measure=measure,
        )
        loop = problem.loop(verify=RougeVerifier())
        records.append([record for _, record in run(loop, Key(0), State(model), [24] * 2)])
    assert records[0] == records[1] and len(engines) == 1


def test_blocks_go_on_where_the_last_one_ended(engines, prompt, pairs, model):
    write = GenerateVLLM(articles=pairs[:3], prompt=prompt, temperature=1.0, candidates=2)
    assert write.starting_at(3)(Key(0), model, 5).prompts.tolist() == [1, 2, 2, 0, 0]


def test_a_cache_that_is_not_emptied_stops_the_round(prompt, pairs, network, monkeypatch):
    generate = GenerateVLLM(articles=pairs, prompt=prompt)
    generate(Key(0), network(0), 2)
    monkeypatch.setattr(LLM, "reset_prefix_cache", lambda _: False)
    with pytest.raises(RuntimeError, match="vLLM kept prompts that the last weights have read"):
        generate(Key(0), network(1), 2)


def test_what_vllm_cannot_do_is_one_sentence(prompt, pairs, model, monkeypatch):
    make = {"articles": pairs, "prompt": prompt}
    with pytest.raises(ValueError, match="decodes greedily, so top_p has no effect"):
        GenerateVLLM(**make, top_p=0.5)
    with pytest.raises(
        ValueError, match=r"^GenerateVLLM\.temperature must be at most 2, got 3\.0$"
    ):
        GenerateVLLM(**make, temperature=3.0)
    with pytest.raises(ValueError, match="at most 24 candidates, 1 of each input, got n = 25"):
        GenerateVLLM(**make)(Key(0), model, 25)
    monkeypatch.setattr(ours, "process", lambda: (0, 2))
    with pytest.raises(
        ValueError, match=r"^GenerateVLLM runs in one process, got 2; give tensor_parallel_size"
    ):
        GenerateVLLM(**make)
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(
        ValueError, match=r"^GenerateVLLM needs the package vllm, which is not there; install"
    ):
        GenerateVLLM(**make)
