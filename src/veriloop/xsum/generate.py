"""Summaries of articles, written by a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from veriloop.text import generate, vllm
from veriloop.xsum.rows import Summaries


@dataclass(frozen=True, kw_only=True)
class Generate(generate.Generate[Summaries]):
    """Write summaries of articles: `(key, model, n) -> Summaries`, n candidates in turn.

    articles: what is summarised; `rows` of `veriloop.text.Generate`, which says all the rest.
    prompt, candidates, temperature, top_p, batch, bf16, first_row: see there.

    >>> from veriloop import Key
    >>> from veriloop.xsum import Prompt, reports, train_tokenizer
    >>> pairs = reports(Key(0), 20)
    >>> prompt = Prompt(train_tokenizer(list(pairs.articles), vocabulary=300))
    >>> len(Generate(articles=pairs, prompt=prompt, temperature=1.0, candidates=3))
    60
    """

    articles: Summaries
    rows: Summaries = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.articles)
        super().__post_init__()


@dataclass(frozen=True, kw_only=True)
class GenerateVLLM(vllm.GenerateVLLM[Summaries]):
    """Write summaries of articles by vLLM; see `veriloop.text.GenerateVLLM`.

    articles: what is summarised; `rows` of `veriloop.text.GenerateVLLM`.
    prompt, candidates, temperature, top_p, batch, bf16, first_row, options: see there.

    Where vLLM is installed, on a GPU::

        write = GenerateVLLM(articles=pairs, prompt=prompt, temperature=1.0)
        write(Key(0), model, len(pairs))
    """

    articles: Summaries
    rows: Summaries = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", self.articles)
        super().__post_init__()
