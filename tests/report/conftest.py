"""A study of three arms, run once: no verifier, one that an oracle looks on, and one of two parts."""

from __future__ import annotations

import json

import numpy as np
import pytest

import veriloop as vl
from veriloop.report import section

HOSTILE = "<script>window.hurt = 1</script>--> $\\frac|`_"


def generate(key, model, n):
    return key.numpy().normal(model, 1.0, n)


def refit(key, model, batch):
    return float(batch.mean())


def measure(key, model):
    return {"error": model**2, "recall": float(np.exp(-(model**2)))}


def judge(key, batch):
    return 1.0 - np.abs(batch)


def low(key, batch):
    return 1.5 - batch


def features(batch):
    return {"size": np.abs(batch)}


def start(key):
    return vl.State(0.5)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The folder of the study."""
    plain = {"generate": generate, "refit": refit, "measure": measure}
    checked = {**plain, "filter": vl.Threshold()}
    audited = vl.Audited(judge, vl.Oracle(lambda batch: np.abs(batch) < 1.2))
    arms = {
        "verified": vl.Loop(**checked, verify=audited, observe=vl.SelectionBias(features)),
        "plain": vl.Loop(**plain),
        "two parts": vl.Loop(
            **checked, verify=vl.all_of(near=judge, low=low), pool=vl.Accumulate()
        ),
    }
    folder = tmp_path_factory.mktemp("study") / "run"
    vl.Study(arms=arms, start=start, sizes=[40] * 5, seeds=range(5)).run(folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def hostile(study, tmp_path_factory):
    """The same with an arm whose name is written to do harm."""
    folder = tmp_path_factory.mktemp("hostile") / "<b>"
    folder.mkdir()
    for file in ("records.jsonl", "run.json"):
        text = (study / file).read_text()
        text = text.replace(json.dumps("two parts"), json.dumps(HOSTILE))
        (folder / file).write_text(text)
    return folder


@pytest.fixture(scope="session")
def told(study):
    """What the report says of it."""
    return section(study)
