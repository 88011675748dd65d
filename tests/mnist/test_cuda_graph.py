"""Every step is done once, plainly or as a replay, and a replay computes what a plain step does.

Stand-ins on the CPU show it. What real graphs compute is tested in tests/test_gpu.py.
"""

import copy
from contextlib import contextmanager, nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from veriloop import Key
from veriloop.mnist import Discriminate, Images, Refit, Training, training
from veriloop.mnist.cuda_graph import PLAIN, Steps, wanted
from veriloop.mnist.verifiers import Examples


@pytest.fixture
def capturing(monkeypatch):
    """Stands in for CUDA: while a graph is open, the work is recorded and not done."""
    opened = []

    class Graph:
        def __init__(self):
            self.recorded, self.generators = [], []

        def register_generator_state(self, generator):
            self.generators.append(generator)

        def replay(self):
            for work, rows in self.recorded:
                work(rows)

    @contextmanager
    def graph(made, stream):
        opened.append(made)
        yield
        opened.remove(made)
        made_so_far.append(made)

    made_so_far = []
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: nullcontext())
    return opened, made_so_far


def test_every_step_is_done_once_on_its_own_rows_in_order(capturing):
    """Two sizes: each has its plain steps and its graph."""
    opened, graphs = capturing
    done, generator = [], torch.Generator()

    def work(rows):
        if opened:
            opened[0].recorded.append((work, rows))
        else:
            done.append(rows.tolist())

    steps = Steps(generator)
    wanted_rows = []
    for epoch in range(PLAIN + 4):
        for size in (3, 3, 2):
            rows = torch.arange(size) + 10 * epoch
            wanted_rows.append(rows.tolist())
            steps.do(work, rows)
    assert done == wanted_rows
    assert [len(each.recorded) for each in graphs] == [1, 1]
    assert all(each.generators == [generator] for each in graphs)


def test_few_steps_are_never_captured(capturing):
    _, graphs = capturing
    done = []
    steps = Steps(torch.Generator())
    for _ in range(PLAIN):
        steps.do(lambda rows: done.append(len(rows)), torch.arange(4))
    assert done == [4] * PLAIN and not graphs


@pytest.mark.parametrize(
    "device, value, expected",
    [("cuda", None, True), ("cuda", "1", True), ("cuda", "0", False), ("cpu", "1", False)],
)
def test_only_a_gpu_captures_and_the_switch_turns_it_off(monkeypatch, device, value, expected):
    monkeypatch.delenv("VERILOOP_CUDA_GRAPHS", raising=False)
    if value is not None:
        monkeypatch.setenv("VERILOOP_CUDA_GRAPHS", value)
    assert wanted(torch.device(device)) == expected


# A graph on the CPU: the calls below autograd, done again on the same tensors.


class Recorded(TorchDispatchMode):
    """Records calls and their tensors, whose memory a replay reads and writes, as a CUDA graph does."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def register_generator_state(self, generator):
        pass

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, tensors_of(out)))
        return out

    @torch.no_grad()
    def replay(self):
        for func, args, kwargs, written in self.calls:
            given = {each.data_ptr() for each in tensors_of((args, kwargs)) if each.numel()}
            found = tensors_of(func(*args, **kwargs))
            for old, new in zip(written, found, strict=True):
                if old.data_ptr() not in given:  # else it was written in place, or is a view
                    old.copy_(new)


def tensors_of(values):
    return [each for each in tree_leaves(values) if isinstance(each, torch.Tensor)]


@pytest.fixture
def replayed(monkeypatch):
    """Fits whose steps are recorded, as on a GPU; yields the fits, and the graphs that they made."""
    fits, graphs = [], []
    begin = training._Fit.__init__

    def noted(self, *settings):
        begin(self, *settings)
        fits.append(self)

    @contextmanager
    def graph(made, stream):
        """A capture does no work, so what this one did is undone."""
        (fit,) = fits[-1:]
        held = [fit._seen, *fit._network.state_dict().values()]
        held += tensors_of(list(fit._optimizer.state.values()))
        before = copy.deepcopy([each.detach() for each in held])
        states = torch.get_rng_state(), fit._generator.get_state()
        with made:
            yield
        with torch.no_grad():
            for value, old in zip(held, before, strict=True):
                value.copy_(old)
        torch.set_rng_state(states[0])
        fit._generator.set_state(states[1])
        graphs.append(made)

    def rate_in_a_tensor(network, rate, device):
        made = torch.optim.Adam(network.parameters(), lr=rate, fused=True)
        made.param_groups[0]["lr"] = torch.tensor(rate, dtype=torch.float64)
        return made

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Recorded)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(training, "wanted", lambda device: True)
    monkeypatch.setattr(training, "_adam", rate_in_a_tensor)
    monkeypatch.setattr(training._Fit, "__init__", noted)
    return graphs


HOW = Training(epochs=5, batch=8, rate=1e-2, warmup=4, decay=True, patience=None, holdout=0.2)
IMAGES = Images(Key(0).numpy().random((35, 784)) < 0.3, torch.arange(35) % 10)  # 28 to learn from


def generator(model, settings):
    refit = Refit(model=model, settings={"latent": 2, **settings}, training=HOW)
    return refit(Key(1), None, IMAGES)


def verifier():
    """With what draws, what is updated in the forward pass, and a second precision."""
    how = Training(steps=30, batch=12, precision="bf16")
    train = Discriminate(real=IMAGES, spectral=True, dropout=0.3, smoothing=0.1, training=how)
    return train.fit(Key(1), Examples.of(IMAGES, IMAGES)).network


def feature_network():
    """With batch normalisation, whose averages a step moves."""
    from veriloop.mnist import features

    class Small(features.PublishedClassifier):
        def _layers(self):
            layers = super()._layers()
            return layers[:3] + layers[-4:-2] + torch.nn.Sequential(torch.nn.Linear(64, self.width))

    network = training.new_network(Key(0), Small)
    features._train(Key(0), network, IMAGES, HOW, "cpu")
    return network


@pytest.mark.parametrize(
    "fitted",
    [
        lambda: generator("conv", {}),
        lambda: generator("mlp", {"hidden": [8]}),
        verifier,
        feature_network,
    ],
    ids=["conv", "mlp", "verifier", "features"],
)
def test_replays_at_fixed_addresses_are_the_plain_steps_to_the_bit(
    fitted, same_bytes, request, monkeypatch
):
    """So nothing that changes from step to step is fixed at the capture: rows, rate, draws, state."""
    plain = fitted()
    graphs = request.getfixturevalue("replayed")
    assert same_bytes(fitted(), plain)
    assert len(graphs) == 2 and all(len(each.calls) > 20 for each in graphs)
