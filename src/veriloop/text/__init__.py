"""Causal language models on any task in words, under verifiers of texts; needs the extra [text]."""

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
    "Brevity",
    "Ended",
    "Evaluated",
    "FineTune",
    "Generate",
    "GenerateVLLM",
    "LittleCopying",
    "LittleRepetition",
    "LogLikelihood",
    "Measure",
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
    "load_base",
    "load_reward",
    "pretrain",
    "process",
    "repetition",
    "save_reward",
    "train_tokenizer",
]
