"""Summaries written by vLLM, for many articles on a GPU; needs the extra [vllm], which pins torch."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from veriloop.core import Key
from veriloop.xsum.generate import Generate
from veriloop.xsum.processes import process
from veriloop.xsum.rows import Summaries

# An engine takes its part of a GPU for good, so all generators that can share one do; beside it, its folder.
_engines: dict[str, tuple[Any, str]] = {}

# What `save_pretrained` adds to a configuration: a model that was saved needs no engine of its own.
WRITTEN_BY_SAVING = {"architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path"}


@dataclass(frozen=True, kw_only=True)
class GenerateVLLM(Generate):
    """Do as `Generate`, whose settings it takes, with vLLM's engine in place of our decoding.

    options: of `vllm.LLM`; half of the GPU by default, since models are fitted on the other half.
    batch: not vLLM's, which decides itself; of what else reads it, as `Measure` does.

    The engine starts at the first call and stays. Every call writes the model to a temporary folder, from which the
    engine reads the weights, and empties its cache of what other weights made of the prompts. Every row has a seed
    of its own from the key. What vLLM writes of a row may still depend on the rows beside it, by rounding, unless
    VLLM_BATCH_INVARIANT=1 is set.

    Raises:
        ValueError: in one sentence, if vLLM is not there, the temperature is above 2, its largest, or there are
            several processes.
    """

    options: Mapping[str, Any] = field(default_factory=lambda: {"gpu_memory_utilization": 0.5})

    def __post_init__(self) -> None:
        super().__post_init__()
        _vllm()
        if self.temperature is not None and self.temperature > 2:
            raise ValueError(f"GenerateVLLM.temperature must be at most 2, got {self.temperature}")
        if process()[1] > 1:
            raise ValueError(
                f"GenerateVLLM runs in one process, got {process()[1]}; give tensor_parallel_size among its options"
            )

    def __call__(self, key: Key, model: Any, n: int) -> Summaries:
        rows = self._rows(n)
        prompts = self.prompt.prompts(rows.articles)
        sampled = self.temperature is not None
        ways = [
            _vllm().SamplingParams(
                temperature=self.temperature if sampled else 0.0,
                top_p=self.top_p,
                seed=key.fold("row", row).integer() if sampled else None,
                max_tokens=self.prompt.summary_tokens,
                stop_token_ids=[self.prompt.tokenizer.eos_token_id],
                ignore_eos=True,  # a model may name other end tokens; the prompt's is the one that counts
                detokenize=False,
            )
            for row in range(n)
        ]
        outputs = self._engine(model).generate([{"prompt_token_ids": ids} for ids in prompts], ways, use_tqdm=False)
        written = np.empty(n, dtype=object)
        for row, (ids, output) in enumerate(zip(prompts, outputs, strict=True)):
            written[row] = self.prompt.read(ids, list(output.outputs[0].token_ids))
        return Summaries(rows.articles, rows.references, written, rows.prompts)

    def _engine(self, model: Any) -> Any:
        """Return an engine that has the weights of this model, and nothing left of the last one's."""
        settings = {"dtype": "bfloat16" if self.bf16 else "float32", **self.options}
        config = model.config.to_dict()
        shape = {name: value for name, value in config.items() if name not in WRITTEN_BY_SAVING}
        name = json.dumps(shape, sort_keys=True, default=str) + repr(sorted(settings.items()))
        if name not in _engines:
            folder = tempfile.mkdtemp()
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            model.save_pretrained(folder)
            self.prompt.tokenizer.save_pretrained(folder)
            _engines[name] = _vllm().LLM(model=folder, **settings), folder
            return _engines[name][0]
        engine, folder = _engines[name]
        model.save_pretrained(folder)
        engine.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        if not engine.reset_prefix_cache():
            raise RuntimeError("vLLM kept prompts that the last weights have read; nothing was written")
        return engine


def _vllm() -> Any:
    try:
        import vllm  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError(
            "GenerateVLLM needs the package vllm, which is not there; install the extra [vllm], or take Generate"
        ) from None
    return vllm
