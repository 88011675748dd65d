"""Causal language models that summarise, under verifiers of text; needs the extra [xsum]."""

from veriloop.xsum.base import Pretraining, load_base, pretrained, train_tokenizer
from veriloop.xsum.data import load
from veriloop.xsum.embedded import corpus, documents, facts_right, kinds, reports
from veriloop.xsum.evaluated import Evaluated
from veriloop.xsum.finetune import FineTune
from veriloop.xsum.generate import Generate
from veriloop.xsum.metrics import Measure, bootstrap
from veriloop.xsum.problem import Problem, by_article, observe
from veriloop.xsum.processes import process
from veriloop.xsum.prompt import Prompt
from veriloop.xsum.reward import Reward, fit_reward, load_reward, save_reward
from veriloop.xsum.rows import Data, Summaries
from veriloop.xsum.verifiers import (
    Brevity,
    Ended,
    LittleCopying,
    LittleRepetition,
    LogLikelihood,
    PartialReference,
    RougeVerifier,
    ScoreNoise,
)
from veriloop.xsum.vllm import GenerateVLLM
from veriloop.xsum.words import copying, repetition, rouge

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
