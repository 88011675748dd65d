"""Which models are alive while one is fitted, and between rounds: the last one and the next."""

import gc
import weakref

import pytest
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from veriloop import Key, RunDir, State, run
from veriloop.xsum import FineTune, Generate, Problem, RougeVerifier


@pytest.fixture
def tune(prompt):
    return FineTune(prompt=prompt, rate=1e-3, batch=12, clip=1.0)


class Seen:
    """Counts which of all models that have computed anything are alive, and keeps none alive.

    A model's first weight stands for it. A hook notes that of each model that runs. A fit copies a
    model, and so does `bf16`; copies take the hook along, so none goes unseen.
    """

    def __init__(self, model):
        self.weights = weakref.WeakValueDictionary()
        self.types = set()
        self.note(model.base_model)
        model.base_model.register_forward_pre_hook(self.note)

    def note(self, module, *_):
        weight = next(module.parameters())
        self.weights[id(weight)] = weight
        self.types.add(weight.dtype)

    def __deepcopy__(self, memo):
        return self

    def alive(self):
        return len(self.weights)


@pytest.fixture
def at_steps():
    """Takes functions to call with the optimiser before and after its steps, until the test ends.

    Nothing waits for the garbage collector, which is off: what is let go is gone at once.
    """
    hooks = []

    def watch(before=None, after=None):
        for register, function in (
            (register_optimizer_step_pre_hook, before),
            (register_optimizer_step_post_hook, after),
        ):
            if function is not None:
                hooks.append(register(lambda optimizer, *_, function=function: function(optimizer)))

    gc.collect()
    gc.disable()
    yield watch
    gc.enable()
    for hook in hooks:
        hook.remove()


def test_fine_tuning_leaves_nothing_but_the_new_weights(at_steps, tune, network, pairs):
    """The gradients and the optimiser's moments of the fit are gone when it returns."""
    gradients, moments = [], []

    def before(optimizer):
        weights = [each for group in optimizer.param_groups for each in group["params"]]
        gradients.extend(weakref.ref(each.grad) for each in weights)

    def after(optimizer):
        states = [value for state in optimizer.state.values() for value in state.values()]
        moments.extend(weakref.ref(each) for each in states)

    at_steps(before, after)
    new = tune(Key(0), network(), pairs)
    assert gradients and moments
    assert [each for each in (*gradients, *moments) if each() is not None] == []
    assert [weight for weight in new.parameters() if weight.grad is not None] == []


def test_gradients_that_the_last_model_carries_are_not_taken_over(tune, network, pairs):
    """A model with gradients is fitted to the same bits as one without, and keeps them."""
    plain, carries = network(), network()
    for parameter in carries.parameters():
        parameter.grad = torch.ones_like(parameter)
    one, other = (tune(Key(0), model, pairs) for model in (plain, carries))
    for each, wanted in zip(other.parameters(), one.parameters(), strict=True):
        assert torch.equal(each, wanted)
    assert all((parameter.grad == 1).all() for parameter in carries.parameters())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_a_round_holds_the_last_model_and_the_next(
    at_steps, tune, model, network, pairs, prompt, tmp_path, stored, bf16
):
    """At every step of a fit two models are alive, and one between rounds.

    In memory alone and with every round committed: the start is let go as soon as there is another.
    What writes in bfloat16 is gone before a model is fitted.
    """
    generate = Generate(articles=pairs, prompt=prompt, bf16=bf16)
    problem = Problem(
        base=model, initial=pairs, generate=generate, first=tune, refit=tune, keep=0.5
    )
    first, steps = network(5), []
    seen = Seen(first)
    loop = problem.loop(verify=RougeVerifier())
    start = (Key(0), State(first), [24] * 3)
    if stored:
        rounds = RunDir(tmp_path).run(loop, *start, save=problem.save, load=problem.load)
    else:
        rounds = run(loop, *start)
    del start, first
    at_steps(after=lambda _: steps.append(seen.alive()))
    for round, _ in enumerate(rounds):
        assert len(steps) == round  # 12 rows are kept, and a step takes 12
        assert seen.alive() == 1
    assert steps == [2] * 3
    assert (torch.bfloat16 in seen.types) == bf16
