"""What is said of memory before a run: what an arm needs, how many run at once, and what to lower."""

from types import SimpleNamespace

import pytest

import _memory
from _memory import about_memory, at_once

GB = 1e9


@pytest.fixture
def told(monkeypatch):
    """Return what is said of arms that need so many gigabytes each, where so many are free."""

    def say(need, free, engine="processes:2", arms=10):
        there = SimpleNamespace(available=free * GB)
        monkeypatch.setattr(_memory, "fit_memory", lambda base, fit: fit * GB)
        monkeypatch.setattr(_memory.psutil, "virtual_memory", lambda: there)
        return about_memory(SimpleNamespace(engine=engine), arms, None, [need / 2, need])

    return say


def test_what_is_too_much_says_what_to_lower(told):
    said = told(3.4, free=5.0)["memory"]
    assert said.startswith("about 3.4 GB an arm, 2 at once, of 5.0 GB that are free: too much; ")
    assert "--engine processes:N" in said and "micro" in said and "checkpointing: true" in said


def test_what_fits_is_said_where_it_is_large_and_else_not(told):
    assert told(3.4, free=7.0) == {
        "memory": "about 3.4 GB an arm, 2 at once, of 7.0 GB that are free"
    }
    assert told(0.6, free=7.0) == {}
    assert "too much" in told(0.6, free=1.0)["memory"]


def test_a_cluster_is_told_what_each_worker_needs(told):
    said = told(3.4, free=1.0, engine="dask://host:8786")["memory"]
    assert said == "about 3.4 GB an arm; give each worker of the cluster that much"


def test_no_more_arms_run_at_once_than_there_are(monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr(_memory.joblib, "cpu_count", lambda: 64)
    assert at_once("processes", 6) == 6 and at_once("processes", 100) == 64
    assert at_once("processes:4", 100) == 4 and at_once("serial", 100) == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert at_once("serial", 100) == 2


@pytest.mark.parametrize("name", ["xsum_rouge", "xsum_references", "self_training"])
def test_every_script_that_fine_tunes_says_it(name, here, monkeypatch):
    """Beside the model, before the work; here before an arm that is not run."""
    there = SimpleNamespace(available=0.1 * GB)
    monkeypatch.setattr(_memory.psutil, "virtual_memory", lambda: there)
    monkeypatch.setattr("veriloop.study.folder.RunFolder.records", stop)
    run = here(name)
    assert run.code == 1
    assert "1 at once, of 0.1 GB that are free: too much; give fewer workers" in run.stdout


def stop(*arguments, **options):
    from veriloop.study import RunStopped

    raise RunStopped("here")
