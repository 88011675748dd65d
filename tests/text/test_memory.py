"""What is alive while a model is fitted, and between rounds; what is freed goes back to the system."""

import gc
import subprocess
import sys
import weakref
from dataclasses import replace

import pytest
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from veriloop import Key, RunDir, State, run
from veriloop.text import fit_memory, memory
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
    has_bf16, at_steps, tune, model, network, pairs, prompt, tmp_path, stored, bf16
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


def test_a_fit_that_computes_layers_again_gives_the_same_bits(tune, network, pairs):
    """And holds fewer tensors for the gradient; the new model computes as any other."""
    kept = []

    def count(tensor):
        kept[-1] += tensor.nbytes
        return tensor

    models = []
    for fit in (tune, replace(tune, checkpointing=True)):
        kept.append(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            models.append(fit(Key(0), network(attention_dropout=0.1), pairs))
    for each, wanted in zip(models[1].parameters(), models[0].parameters(), strict=True):
        assert torch.equal(each, wanted)
    assert kept[1] < 0.5 * kept[0]
    assert not any(getattr(each, "gradient_checkpointing", False) for each in models[1].modules())


def test_a_model_that_cannot_compute_layers_again_is_refused(tune, network, pairs, monkeypatch):
    plain = network()
    monkeypatch.setattr(type(plain), "supports_gradient_checkpointing", False)
    with pytest.raises(ValueError, match=r"FineTune\.checkpointing: a LlamaForCausalLM cannot"):
        replace(tune, checkpointing=True)(Key(0), plain, pairs)


def test_the_memory_of_a_fit_grows_with_what_it_holds(tune, network):
    """Weights by five copies, passes by their rows and tokens; layers computed again keep less."""
    small = network()
    large = network(hidden_size=64, intermediate_size=512)
    more = sum(each.nbytes for each in large.parameters())
    more -= sum(each.nbytes for each in small.parameters())
    fit = replace(tune, micro=1)
    assert fit_memory(large, fit) - fit_memory(small, fit) > 5 * more
    rows = [fit_memory(small, replace(fit, micro=micro)) for micro in (1, 2, 12, 99)]
    assert rows[0] < rows[1] < rows[2] == rows[3]  # a batch has 12 rows
    assert fit_memory(small, replace(fit, micro=12, checkpointing=True)) < rows[2]
    frozen = network().requires_grad_(False)
    assert fit_memory(frozen, fit) < fit_memory(small, fit)


PEAK = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from veriloop import Key
from veriloop.text import FineTune, Prompt, Texts, fit_memory, train_tokenizer
from veriloop.text.memory import LIBRARIES
torch.set_num_threads(1)
def most():  # of this program alone; ru_maxrss starts from what the process before it held
    with open("/proc/self/status") as file:
        kilobytes = next(line.split()[1] for line in file if line.startswith("VmHWM"))
    return int(kilobytes) * 1024
tokenizer = train_tokenizer(["rain fell on York"] * 9, vocabulary=300)
config = LlamaConfig(vocab_size=300, hidden_size=384, intermediate_size=1024, num_hidden_layers=12,
                     num_attention_heads=6, eos_token_id=tokenizer.eos_token_id)
held = most()
model = LlamaForCausalLM(config)
rows = Texts.of(["rain " * 300] * 8, ["rain fell"] * 8)
prompt = Prompt(tokenizer, tokens=240, output_tokens=16)
tune = FineTune(prompt=prompt, batch=4, micro=4)
tune(Key(0), model, rows)
print((most() - held) / (fit_memory(model, tune) - LIBRARIES))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a program")
def test_the_memory_of_a_fit_is_about_what_a_process_reaches():
    ran = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert 0.7 < float(ran.stdout) < 1.3  # beside what a process holds before it has a model


RETURNED = """
import sys
from contextlib import nullcontext
import torch
from veriloop.text.memory import large_blocks_returned
def held():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))
block = torch.ones(31 << 18)
del block  # after such a block glibc keeps smaller ones
how = large_blocks_returned if sys.argv[1] == "returned" else nullcontext
with how():
    stays = []
    goes = []
    for _ in range(50):
        goes.append(torch.ones(1 << 20))
        stays.append(torch.ones(1 << 18))
    before = held()
    goes.clear()
    print(before - held())
"""


def given_back(how):
    """Return how many of 200 megabytes go back to the system when they are freed."""
    command = [sys.executable, "-c", RETURNED, how]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.skipif(memory._glibc() is None, reason="other C libraries are left as they are")
def test_what_a_fit_frees_goes_back_between_what_stays():
    """The peak of a fit of SmolLM2 was 5.20 GB, and is 3.80."""
    assert given_back("returned") > 190
    assert given_back("kept") < 10


@pytest.fixture
def calls(monkeypatch):
    """What is asked of the C library, as far as it sets limits."""
    found = []

    class Library:
        def malloc_trim(self, padding):
            found.append("trim")

        def mallopt(self, option, value):
            found.append((option, value >> 20))

    monkeypatch.setattr(memory, "_glibc", Library)
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_a_fit_returns_large_blocks_and_leaves_the_limits_of_glibc(calls, tune, model, pairs):
    """Mappings from 32 MB on, and 64 MB free at the end of the heap: what glibc comes to by itself."""
    tune(Key(0), model, pairs[:2])
    assert calls == ["trim", (-3, 1), (-1, 1), (-3, 32), (-1, 64)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.check=0:glibc.malloc.mmap_threshold=65536"),
    ],
)
def test_limits_that_the_user_sets_outlive_a_fit(calls, monkeypatch, name, value):
    """They cannot be read, so they could not be put back. A fit replaced them by 32 and 64 MB."""
    monkeypatch.setenv(name, value)
    with memory.large_blocks_returned():
        assert not calls
    assert not calls


def test_a_fit_works_with_another_c_library(monkeypatch, tune, model, pairs):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    tune(Key(0), model, pairs[:2])
