"""The paper's summaries task, on top of `veriloop.text`; needs the extra [xsum]."""

from veriloop.core.checks import check_installed

check_installed("veriloop.xsum", "torch", "transformers", "tokenizers", "safetensors")

from veriloop.text import (
    Brevity,
    Ended,
    Evaluated,
    FineTune,
    LittleCopying,
    LittleRepetition,
    LogLikelihood,
    Pretraining,
    Reward,
    ScoreNoise,
    about_weights,
    bootstrap,
    copying,
    fit_reward,
    load_base,
    process,
    repetition,
    save_reward,
    train_tokenizer,
)
from veriloop.xsum.base import pretrained
from veriloop.xsum.data import load
from veriloop.xsum.embedded import corpus, documents, facts_right, kinds, reports
from veriloop.xsum.generate import Generate, GenerateVLLM
from veriloop.xsum.metrics import Measure
from veriloop.xsum.problem import Problem, by_article, observe
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.reward import load_reward
from veriloop.xsum.rows import Data, Summaries
from veriloop.xsum.scores import rouge
from veriloop.xsum.verifiers import PartialReference, RougeVerifier, load_likelihood

__all__ = [
    "Brevity",
    "Data",
    "Ended",
    "Evaluated",
    "FineTune",
    "Generate",
    "GenerateVLLM",
    "LittleCopying",
    "LittleRepetition",
    "LogLikelihood",
    "Measure",
    "PartialReference",
    "Pretraining",
    "Problem",
    "Prompt",
    "Reward",
    "RougeVerifier",
    "ScoreNoise",
    "Summaries",
    "about_weights",
    "bootstrap",
    "by_article",
    "copying",
    "corpus",
    "documents",
    "facts_right",
    "fit_reward",
    "kinds",
    "load",
    "load_base",
    "load_likelihood",
    "load_reward",
    "observe",
    "pretrained",
    "process",
    "repetition",
    "reports",
    "rouge",
    "save_reward",
    "train_tokenizer",
]
