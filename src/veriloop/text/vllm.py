"""Outputs written by vLLM, for many inputs on a GPU; needs the extra [vllm]."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from veriloop.core import Key
from veriloop.core.bf16 import bf16_is_fast
from veriloop.text.generate import Generate, R
from veriloop.text.models import check_weights, check_whole, end_tokens, write_weights
from veriloop.text.processes import process

if TYPE_CHECKING:
    from torch import device as Device
    from transformers import PreTrainedModel


class Engine(Protocol):
    """What is used of `vllm.LLM`."""

    def generate(
        self,
        prompts: Sequence[Mapping[str, Sequence[int]]],
        sampling_params: Sequence[object],
        *,
        use_tqdm: bool,
    ) -> Sequence[Any]: ...

    def collective_rpc(self, method: str, *, kwargs: Mapping[str, str]) -> object: ...

    def reset_prefix_cache(self) -> bool: ...


# Each engine and its folder. An engine keeps its part of a GPU until the process ends, so all
# generators that can share one do.
_engines: dict[str, tuple[Engine, str]] = {}

# What `save_pretrained` adds to a configuration: a model that was saved needs no new engine.
WRITTEN_BY_SAVING = {
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "_name_or_path",
}


@dataclass(frozen=True, kw_only=True)
class GenerateVLLM(Generate[R]):
    """Write outputs as `Generate` does, with vLLM's engine in place of our decoding.

    The engine starts at the first call and stays. Every call writes the model to a temporary
    folder, and the engine reads the weights from there. Then it empties its cache, which other
    weights have filled. Every row has its own seed from the key. By rounding, what vLLM writes for
    a row may still depend on the rows beside it, unless VLLM_BATCH_INVARIANT=1 is set.

    rows, prompt, candidates, top_p, bf16, first_row: see `Generate`.
    temperature: see `Generate`; at most 2.
    batch: not used by vLLM, which decides itself; `Measure` uses it for its likelihoods.
    options: arguments of `vllm.LLM`, by name. By default it uses half of the GPU, because models
        are fitted on the other half.

    Raises:
        ValueError: in one sentence, if vLLM is not installed, the temperature is above 2, or there
            are several processes.

    Where vLLM is installed, on a GPU::

        write = GenerateVLLM(rows=pairs, prompt=prompt, temperature=1.0)
        write(Key(0), model, len(pairs))
    """

    options: Mapping[str, Any] = field(default_factory=lambda: {"gpu_memory_utilization": 0.5})

    def __post_init__(self) -> None:
        super().__post_init__()
        _vllm()
        if self.temperature is not None and self.temperature > 2:
            raise ValueError(f"GenerateVLLM.temperature must be at most 2, got {self.temperature}")
        _, processes = process()
        if processes > 1:
            raise ValueError(
                f"GenerateVLLM runs in one process, got {processes}; "
                "give tensor_parallel_size among its options"
            )

    def __call__(self, key: Key, model: PreTrainedModel, n: int) -> R:
        rows = self._rows(n)
        prompts = self._prompts(model, rows)
        ends = end_tokens(model, self.prompt)
        check_whole(model)
        check_weights(model, "GenerateVLLM")
        outputs = self._engine(model).generate(
            [{"prompt_token_ids": ids} for ids in prompts],
            [self._sampling(key.fold("row", row), ends) for row in range(n)],
            use_tqdm=False,
        )
        texts = np.empty(n, dtype=object)
        ended = np.empty(n, dtype=bool)
        for row, (ids, output) in enumerate(zip(prompts, outputs, strict=True)):
            new = list(output.outputs[0].token_ids)
            texts[row] = self.prompt.read(ids, new, ends)
            ended[row] = self.prompt.ended(new, ends)
        return rows.answered(texts, ended)

    def _sampling(self, key: Key, ends: Collection[int]) -> object:
        """Return vLLM's settings for one row."""
        temperature = 0.0
        seed = None
        if self.temperature is not None:
            temperature = self.temperature
            seed = key.integer()
        return _vllm().SamplingParams(
            temperature=temperature,
            top_p=self.top_p,
            seed=seed,
            max_tokens=self.prompt.output_tokens,
            stop_token_ids=sorted(ends),
            ignore_eos=True,  # all that end an output are among these
            detokenize=False,
        )

    def _engine(self, model: PreTrainedModel) -> Engine:
        """Return an engine that has the weights of this model, and nothing left from the last."""
        settings = {"dtype": "float32", **self.options}
        if self.bf16 and bf16_is_fast(_device()):
            settings = {"dtype": "bfloat16", **self.options}
        config = model.config.to_dict()
        shape = {name: value for name, value in config.items() if name not in WRITTEN_BY_SAVING}
        name = json.dumps(shape, sort_keys=True, default=str) + repr(sorted(settings.items()))
        if name not in _engines:
            _engines[name] = self._start(model, settings)
            engine, _ = _engines[name]
            return engine
        engine, folder = _engines[name]
        write_weights(model, folder)
        engine.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        if not engine.reset_prefix_cache():
            raise RuntimeError(
                "vLLM kept prompts that the last weights have read; nothing was written"
            )
        return engine

    def _start(self, model: PreTrainedModel, settings: Mapping[str, object]) -> tuple[Engine, str]:
        """Start an engine with the weights of this model; return it and its folder."""
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        write_weights(model, folder)
        self.prompt.tokenizer.save_pretrained(folder)
        return _vllm().LLM(model=folder, **settings), folder


def _device() -> Device:
    """Return what the engine computes on."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("cpu")


def _vllm() -> ModuleType:
    """Return the package vllm."""
    try:
        import vllm  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            "GenerateVLLM needs the package vllm, which is not there; "
            "install the extra [vllm], or take Generate"
        ) from None
    return vllm
