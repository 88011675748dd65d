"""Causal language models on any task in words, under verifiers of texts; needs the extra [text]."""

from veriloop.core.checks import check_installed

check_installed("veriloop.text", "torch", "transformers", "tokenizers", "safetensors")

from veriloop.text import sums
from veriloop.text.evaluated import Evaluated
from veriloop.text.finetune import FineTune
from veriloop.text.generate import Generate
from veriloop.text.memory import fit_memory
from veriloop.text.metrics import Measure, bootstrap
from veriloop.text.problem import Problem, by_input
from veriloop.text.processes import process
from veriloop.text.prompt import Prompt
from veriloop.text.reward import Reward, fit_reward, load_reward, save_reward
from veriloop.text.rows import Texts
from veriloop.text.small import Pretraining, pretrain, train_tokenizer
from veriloop.text.tasks import (
    AtMost,
    DistinctAnswers,
    Each,
    ExactMatch,
    Majority,
    NumericMatch,
    PassAtK,
    last_number,
    pass_at_k,
    squeezed,
)
from veriloop.text.verifiers import (
    Brevity,
    Ended,
    LittleCopying,
    LittleRepetition,
    LogLikelihood,
    ScoreNoise,
)
from veriloop.text.vllm import GenerateVLLM
from veriloop.text.weights import about_weights, load_base
from veriloop.text.words import copying, repetition

__all__ = [
    "AtMost",
    "Brevity",
    "DistinctAnswers",
    "Each",
    "Ended",
    "Evaluated",
    "ExactMatch",
    "FineTune",
    "Generate",
    "GenerateVLLM",
    "LittleCopying",
    "LittleRepetition",
    "LogLikelihood",
    "Majority",
    "Measure",
    "NumericMatch",
    "PassAtK",
    "Pretraining",
    "Problem",
    "Prompt",
    "Reward",
    "ScoreNoise",
    "Texts",
    "about_weights",
    "bootstrap",
    "by_input",
    "copying",
    "fit_memory",
    "fit_reward",
    "last_number",
    "load_base",
    "load_reward",
    "pass_at_k",
    "pretrain",
    "process",
    "repetition",
    "save_reward",
    "squeezed",
    "sums",
    "train_tokenizer",
]
