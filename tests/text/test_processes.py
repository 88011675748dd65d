"""Two processes write the same summaries as one and fit the same model, however a batch is divided."""

import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow  # it launches processes

PROGRAM = '''
"""Fit a tiny model and let it write; what comes out goes into files of this process."""

import atexit
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file, save_model
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import AutoModelForCausalLM, AutoTokenizer

from veriloop import Key
from veriloop.xsum import FineTune, Generate, Prompt, process, reports
from veriloop.text.processes import own_part


def work(folder):
    number, count = process()
    torch.set_num_threads(1)
    prompt = Prompt(AutoTokenizer.from_pretrained(folder), tokens=120, summary_tokens=12)
    model = AutoModelForCausalLM.from_pretrained(folder)
    pairs = reports(Key(0).fold("pairs"), 13)
    tune = FineTune(prompt=prompt, rate=1e-3, batch=6, micro=2, clip=1.0)  # 6, 6, and 1: too few for two
    tuned = {"plain": tune, "whole": replace(tune, loss_on_prompt=True)}
    tuned = {name: how(Key(0), model, pairs) for name, how in tuned.items()}
    greedy = Generate(articles=pairs, prompt=prompt, batch=3)
    sampled = replace(greedy, temperature=1.0, candidates=2)
    asked = ((greedy, 13), (sampled, 25), (greedy, 1))
    texts = [generate(Key(1), model, n).summaries.tolist() for generate, n in asked]
    for name, each in tuned.items():  # not by `save_pretrained`, which writes in process 0 alone
        save_model(each, f"{folder}/{name}-{number}-of-{count}.safetensors")
    gradients = gradients_of(replace(tune, batch=13, clip=None), model, pairs)
    save_file(gradients, f"{folder}/gradient-{number}-of-{count}.safetensors")
    with open(f"{folder}/{number}-of-{count}.json", "w") as file:
        json.dump({"texts": texts, "part": own_part(np.arange(7)).tolist()}, file)


def gradients_of(tune, model, pairs):
    """Return what the fit's one step finds in the gradients, by number."""
    found = {}

    def note(optimizer, *_):
        weights = optimizer.param_groups[0]["params"]
        found.update({str(i): weight.grad.clone() for i, weight in enumerate(weights)})

    hook = register_optimizer_step_pre_hook(note)
    tune(Key(0), model, pairs)
    hook.remove()
    return found


def last():  # registered first, so called last
    Path(f"connected-{os.environ['RANK']}").write_text(str(torch.distributed.is_initialized()))


if __name__ == "__main__":
    atexit.register(last)
    work(sys.argv[1])
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory, network, tokenizer, launch):
    """What one process and each of two leave behind."""
    folder = tmp_path_factory.mktemp("model")
    network().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "program.py").write_text(PROGRAM)
    launch([sys.executable, "program.py", "."], folder, os.environ)
    alone: dict = {"__name__": "program"}
    exec(PROGRAM, alone)
    alone["work"](str(folder))
    return folder


@pytest.fixture
def told(folder):
    """What one process, and the first and the second of two, wrote down."""
    names = ("0-of-1", "0-of-2", "1-of-2")
    return [json.loads((folder / f"{which}.json").read_text()) for which in names]


def test_parts_are_different_and_make_the_whole(told):
    """Every item once; of sorted ones every process has short and long."""
    assert [each["part"] for each in told] == [list(range(7)), [0, 2, 4, 6], [1, 3, 5]]


def test_processes_part_before_they_end(folder):
    """A connection left to the interpreter aborted a finished run now and then."""
    assert [(folder / f"connected-{number}").read_text() for number in range(2)] == [
        "False",
        "False",
    ]


def test_two_processes_write_the_summaries_of_one(told):
    """Greedy and sampled, also where one process has no row; each process has all of them."""
    alone, first, second = (each["texts"] for each in told)
    assert first == second == alone
    assert [len(texts) for texts in alone] == [13, 25, 1] and len(set(alone[0])) > 1


@pytest.mark.parametrize("name", ["plain", "whole"])
def test_two_processes_fit_the_model_of_one(folder, name):
    """To float32 rounding, which AdamW's first steps enlarge; and both processes have the same bits."""
    alone, first, second = (
        load_file(folder / f"{name}-{which}.safetensors")
        for which in ("0-of-1", "0-of-2", "1-of-2")
    )
    np.testing.assert_equal(second, first)
    for each, value in alone.items():
        np.testing.assert_allclose(first[each], value, atol=2e-4, err_msg=each)


def test_the_gradients_of_two_processes_add_up_to_that_of_one(folder):
    """The mean over all tokens of the batch, which is not the mean of the processes' means."""
    alone, first, second = (
        load_file(folder / f"gradient-{which}.safetensors")
        for which in ("0-of-1", "0-of-2", "1-of-2")
    )
    np.testing.assert_equal(second, first)
    assert len(alone) > 10 and all(np.abs(value).max() > 0 for value in alone.values())
    for each, value in alone.items():
        np.testing.assert_allclose(
            first[each], value, atol=1e-4 * np.abs(value).max(), err_msg=each
        )
