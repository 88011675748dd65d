"""Stored rounds of summaries: texts come back, arms filter again, and one arm's round is judged as the other's."""

from dataclasses import replace

import numpy as np
import pytest

from veriloop import Accumulate, Key, RunDir, State, TopCount, run
from veriloop.refilter import refilter
from veriloop.store.candidates import StoredRound
from veriloop.xsum import FineTune, Generate, Problem, RougeVerifier, Summaries, by_article, rouge

COLUMNS = ("articles", "references", "summaries", "prompts", "ended")


def nothing(state, folder):
    (folder / "model").touch()


OPTIONS = {"save": nothing, "load": nothing, "candidates": True}


@pytest.fixture(scope="module")
def problem(prompt, pairs, model):
    """Three sampled summaries of each of eight articles; no time is spent on refits."""
    tune = FineTune(prompt=prompt, rate=1e-3, batch=4)
    generate = Generate(articles=pairs[:8], prompt=prompt, temperature=1.0, candidates=3)
    return Problem(
        base=model,
        initial=pairs[:6],
        generate=generate,
        first=tune,
        refit=tune,
        keep=0.25,
        pool=Accumulate(),
    )


def stored(problem, loop, folder):
    loop = replace(loop, refit=lambda key, model, batch: model)
    _, (state, record) = RunDir(folder).run(loop, Key(1), State(problem.base), [24], **OPTIONS)
    return state.past[0], record


def same(rows, others):
    for name in COLUMNS:
        assert getattr(rows, name).tolist() == getattr(others, name).tolist()
        assert getattr(rows, name).dtype == getattr(others, name).dtype


@pytest.mark.parametrize(
    "settings",
    [
        {"verify": RougeVerifier()},
        {},
        {"verify": RougeVerifier(), "filter": TopCount(1), "group": by_article},
    ],
    ids=["filtered", "unfiltered", "best of each"],
)
def test_the_round_filtered_again_keeps_the_same_texts(problem, tmp_path, settings):
    kept, record = stored(problem, problem.loop(**settings), tmp_path)
    again = refilter(tmp_path)
    same(again.stored[again.mask], kept)
    assert (
        again.numbers["both"] == again.numbers["kept"] == again.numbers["kept_then"] == record.kept
    )
    assert len(again.numbers["acceptance"]) == (8 if "filter" in settings else 1)


def test_all_texts_come_back(problem, tmp_path):
    stored(problem, problem.loop(), tmp_path)
    (rows,) = StoredRound(tmp_path / "round_0001" / "loop").blocks()
    assert isinstance(rows, Summaries)
    same(rows, problem.generate(Key(1).fold(1, "generate", 0), problem.base, 24))


def test_the_unfiltered_arms_round_judged_by_name_is_the_filtered_arms(problem, tmp_path):
    """No text is written again: ROUGE by a spec, as from the command line, on the stored rows."""
    stored(problem, problem.loop(), tmp_path)
    loop = replace(problem.loop(verify=RougeVerifier()), refit=lambda key, model, batch: model)
    _, (state, record) = run(loop, Key(1), State(problem.base), [24])
    specs = {
        "verifier": {"call": "veriloop.xsum:RougeVerifier"},
        "filter": {"call": "TopFraction", "fraction": 0.25},
    }
    again = refilter(tmp_path, **specs)
    kept = again.stored[again.mask]
    same(kept, state.past[0])
    # What the backend knows of the rows is the caller's to ask.
    assert rouge("rouge1", kept.references, kept.summaries).mean() == record.metrics["kept_rouge1"]
    assert again.numbers["highest"] == np.max(again.verdict.scores) <= 1


def test_a_stored_round_says_which_summaries_were_cut(problem, tmp_path):
    """A verifier that asks for it judges the stored rows as it judged those just written."""
    stored(problem, problem.loop(), tmp_path)
    rows = problem.generate(Key(1).fold(1, "generate", 0), problem.base, 24)
    again = refilter(tmp_path, verifier={"call": "veriloop.xsum:Ended"}, filter={"call": "KeepAll"})
    assert not rows.ended.all()
    np.testing.assert_array_equal(again.verdict.scores >= 0, rows.ended)
