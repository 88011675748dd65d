"""Every step is done once: plainly or as a replay; shown here with graphs that are lists of calls.

What real graphs compute is tested in tests/test_gpu.py.
"""

from contextlib import contextmanager, nullcontext

import pytest
import torch

from veriloop.mnist.cuda_graph import PLAIN, Steps, wanted


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
