"""What of models is alive at any step: two of the weights, one gradient, one state of the optimiser."""

import gc

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from veriloop import Key, RunDir, State, run
from veriloop.xsum import FineTune, Generate, Problem, RougeVerifier, load_state, save_state

ALIVE = {"weights": 2.0, "gradients": 1.0, "moments": 2.0}  # AdamW's state is two moments


@pytest.fixture
def tune(prompt):
    return FineTune(prompt=prompt, rate=1e-3, batch=4, clip=1.0)


@pytest.fixture
def alive(network):
    """Counts what is alive, in sizes of one model; `alive.steps` has the counts after every step of an optimiser.

    What was there before does not count, and nothing waits for the garbage collector, which is off.
    """
    sizes = {tuple(parameter.shape): parameter.nbytes for parameter in network().parameters()}
    whole = sum(parameter.nbytes for parameter in network().parameters())
    gc.collect()
    before = tensors()
    known = {id(each) for each in before}

    def alive():
        new = [each for each in tensors() if id(each) not in known and tuple(each.shape) in sizes]
        weights = [each for each in new if type(each) is torch.nn.Parameter]
        gradients = {each.grad.data_ptr() for each in weights if each.grad is not None}
        found = {"weights": [], "gradients": [], "moments": []}
        for each in new:
            kind = "weights" if type(each) is torch.nn.Parameter else "moments"
            found["gradients" if each.data_ptr() in gradients else kind].append(each)
        return {kind: sum({e.data_ptr(): e.nbytes for e in each}.values()) / whole for kind, each in found.items()}

    alive.steps = []
    hook = register_optimizer_step_post_hook(lambda *_: alive.steps.append(alive()))
    gc.disable()
    yield alive
    gc.enable()
    hook.remove()


def tensors():
    return [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]


def test_fine_tuning_holds_the_old_and_the_new_model_and_leaves_the_new_one(alive, tune, network, pairs):
    """Gradients that the old model carries are not copied, and nothing but weights is left."""
    model = network()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    assert alive() == {"weights": 1.0, "gradients": 1.0, "moments": 0.0}
    new = tune(Key(0), model, pairs)
    assert alive.steps == [ALIVE | {"gradients": 2.0}] * 6
    assert alive() == {"weights": 2.0, "gradients": 1.0, "moments": 0.0}
    assert all(parameter.grad is None for parameter in new.parameters())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_a_round_holds_the_last_model_and_the_next(
    alive, tune, model, network, pairs, prompt, tmp_path, stored, bf16
):
    """In memory alone and with every round committed; the start is let go as soon as there is another.

    What writes in bfloat16 is gone before a model is fitted.
    """
    generate = Generate(articles=pairs, prompt=prompt, bf16=bf16)
    problem = Problem(base=model, initial=pairs, generate=generate, first=tune, refit=tune)
    start, loop = (Key(0), State(network(5)), [24] * 3), problem.loop(0.5, verifier=RougeVerifier())
    rounds = RunDir(tmp_path).run(loop, *start, save=save_state, load=load_state) if stored else run(loop, *start)
    del start
    for _ in rounds:
        assert alive() == {"weights": 1.0, "gradients": 0.0, "moments": 0.0}
    assert alive.steps == [ALIVE] * 9
