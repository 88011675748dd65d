"""The script on summaries: arms are paired, stops and processes change nothing, bad input is refused."""

import hashlib
import json
import re
import sys

import numpy as np
import pytest
from helpers import EXPERIMENTS, environment, rows_of, settings

from _xsum import weights_of
from veriloop import Key
from veriloop.xsum import Pretraining, corpus, kinds, pretrained

NAME = "xsum_rouge"
METRICS = {
    "rouge1",
    "rouge1_low",
    "rouge2",
    "rougeL",
    "words",
    "types",
    "distinct2",
    "copying",
    "perplexity",
    "place",
    "wording",
    "kinds",
}
BRIEF = ("tokens=40", "summary_tokens=4")  # where only counts matter


def test_every_round_has_every_metric_and_arms_start_alike(smoke):
    """The test articles are measured once, at the end."""
    run = smoke(NAME)
    rows = run.rows
    assert len(rows) == 2 * 2 * 3 and {row["seed"] for row in rows} == {1, 2}
    for row in rows:
        assert set(row) >= METRICS and ("test_rouge1" in row) == (row["round"] == 2)
        assert row["round"] == 0 or (row["candidates"], row["kept"]) == (40, 5)
    for seed in (1, 2):
        start = [row for row in rows if row["seed"] == seed and row["round"] == 0]
        one, other = ({name: row[name] for name in METRICS} for row in start)
        assert one == other
    assert run.about["measures"]["model"].startswith("pre-trained on reports")


def test_a_stopped_run_resumes_to_the_same_bytes(stopped, here, smoke):
    """Stopped in the last round of the second arm; of two seeds the first."""
    stopped(NAME, *settings("replicates=1"), at="round_0002/constant-unfiltered-base0-seed1-model")
    resumed = here(NAME, *settings("replicates=1"), "--resume")
    assert resumed.code == 0 and resumed.stderr.startswith(
        "constant-unfiltered-base0-seed1: round 0"
    )
    lines = smoke(NAME).records.splitlines(keepends=True)
    assert resumed.records == b"".join(lines[:6])


@pytest.mark.slow
def test_two_launched_processes_make_one_run(here, launch, monkeypatch, tmp_path):
    """One set of files and one line a round; resumed, either does nothing again, and one writes."""
    out = tmp_path / "run"
    own = settings("replicates=1", "rounds=1", "store=candidates", *BRIEF)
    script = [sys.executable, EXPERIMENTS / f"{NAME}.py", "--preset", "smoke", "--out", out, *own]
    first, second = launch(script, tmp_path, environment())
    assert first[0].count("figure:") == 1 and first[1].count("round 1 of 1") == 2
    assert second == ("", "")
    assert [(row["filtering"], row["round"], row["kept"]) for row in rows_of(out)] == [
        ("filtered", 0, 0), ("filtered", 1, 5), ("unfiltered", 0, 0), ("unfiltered", 1, 5),
    ]  # fmt: skip
    assert len(list(out.rglob("candidates.parquet"))) == 2
    files = {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in out.rglob("*")
        if path.is_file()
    }
    for rank in (1, 0):
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
        resumed = here(NAME, *own, "--resume")
        assert (resumed.code, resumed.stderr) == (0, "") and resumed.stdout.count(
            "figure:"
        ) == 1 - rank
        changed = {path.name for path in files if path.stat().st_mtime_ns != files[path][0]}
        assert changed == ({"run.json", "records.jsonl"} if rank == 0 else set())
        assert {path for path in out.rglob("*") if path.is_file()} == set(files)
        assert resumed.records == files[out / "records.jsonl"][1] and resumed.about["finished"]


def test_launched_processes_start_none_of_their_own(here, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    run = here(NAME, *settings("engine=processes"))
    assert run.code == 2 and run.stderr.count("\n") == 1 and not run.out.exists()
    assert "engine: got processes in one of 2 launched processes; give engine=serial" in run.stderr


@pytest.mark.slow
def test_growing_shares_and_a_verifier_of_ones_own(here):
    """Round k keeps keep (1 + growth k), by whatever verifier."""
    own = ("growth=[0.5]", "replicates=1", "verifier={call: 'veriloop.xsum:Brevity', limit: 5}")
    rows = here(NAME, *settings(*own, *BRIEF)).rows
    assert [row["kept"] for row in rows if row["filtering"] == "filtered"] == [
        0,
        round(40 * 0.1875),
        40 // 4,
    ]


@pytest.mark.slow
def test_unfiltered_may_write_only_what_it_keeps(here):
    """Of random articles, and as many as the filtered arm keeps; validation and test have sizes of their own."""
    own = ("unfiltered_writes_kept=true", "growth=[0.5]", "replicates=1", "validation=7", *BRIEF)
    rows = here(NAME, *settings(*own)).rows
    counts = {
        arm: [(row["candidates"], row["kept"]) for row in rows if row["filtering"] == arm]
        for arm in ("filtered", "unfiltered")
    }
    assert counts == {
        "filtered": [(0, 0), (40, 8), (40, 10)],
        "unfiltered": [(0, 0), (8, 8), (10, 10)],
    }


@pytest.mark.slow
def test_real_pairs_may_be_mixed_with_the_kept(here, smoke):
    """Both arms start as without them; half of what is fitted is real then, which changes the models."""
    mixed = here(NAME, *settings("real=0.5", "replicates=1", "rounds=1")).rows
    plain = [row for row in smoke(NAME).rows if row["seed"] == 1]
    for arm in ("filtered", "unfiltered"):
        one, other = ([row for row in rows if row["filtering"] == arm] for rows in (mixed, plain))
        assert one[0] == other[0] and one[1]["kept"] == other[1]["kept"] == 5
        assert one[1]["perplexity"] != other[1]["perplexity"]


@pytest.mark.slow
def test_seeds_may_draw_articles_of_their_own(here, tmp_path):
    """Two of six articles: the model is fitted to one, and asked about both."""
    lines = [
        json.dumps({"document": f"Rain fell in town {i}.", "summary": f"Rain {i}."})
        for i in range(6)
    ]
    for part in ("train", "validation", "test"):
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines) + "\n")
    own = (f"data={tmp_path}", "own_articles=true", "train=2", "test=1", "initial=0.5", "keep=0.5")
    run = here(NAME, *settings(*own, "rounds=1", *BRIEF))
    assert {row["candidates"] for row in run.rows if row["round"] == 1} == {2}
    refused = here(NAME, *settings(*own, "train=7", *BRIEF))
    assert refused.code == 2 and "train: got 7 articles" in refused.stderr


@pytest.mark.slow
def test_a_share_of_every_kind(here):
    """Filtered and not, half of each kind is kept, to the nearest row; the corpus has kinds of odd sizes."""
    rows = here(NAME, *settings("within=kind", "keep=0.5", "replicates=1", "rounds=1", *BRIEF)).rows
    counts = np.unique(kinds(corpus(Key(1).fold("reports"), 40, 10).train), return_counts=True)[1]
    wanted = int(np.floor(0.5 * counts + 0.5).sum())
    assert wanted != 20 and [row["kept"] for row in rows if row["round"] == 1] == [wanted] * 2


@pytest.mark.slow
def test_the_best_of_several_candidates_and_other_verifiers(here):
    """Every arm keeps one of three of each article; who likes brevity has shorter ones than a random pick."""
    own = (
        "candidates=3",
        "temperature=1.0",
        "filter={call: 'veriloop:TopCount', count: 1}",
        "others={brief: {call: 'veriloop.xsum:Brevity', limit: 5}}",
        "replicates=1",
        "rounds=1",
        "tokens=40",
    )
    rows = here(NAME, *settings(*own), figure="laid out").rows
    last = {row["filtering"]: row for row in rows if row["round"] == 1}
    assert list(last) == ["filtered", "unfiltered", "brief"]
    assert {(row["candidates"], row["kept"]) for row in last.values()} == {(120, 40)}
    assert last["brief"]["kept_words"] < last["unfiltered"]["kept_words"]
    assert last["filtered"]["kept_rouge1"] > last["unfiltered"]["kept_rouge1"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Measure:UserWarning")  # of summaries that the cut leaves out
def test_published_ways_change_the_run(here, tmp_path):
    """Each runs, and none gives what the corrected protocol gives."""
    ways = (
        "protocol=authors",
        "published=[right_truncation, loss_on_prompt]",
        "published=[loss_on_prompt, loss_on_padding]",
    )
    found = {}
    for way in ("protocol=corrected", *ways):
        own = settings("rounds=1", "replicates=1", "tokens=40", way)
        rows = here(NAME, *own, out=tmp_path / way).rows
        found[way] = [row["perplexity"] for row in rows]
    for way in ways:
        assert found[way] != found["protocol=corrected"], way


def test_a_base_that_has_not_learnt_to_copy_is_refused(here):
    run = here(NAME, *settings("least_place=0.9"))
    assert run.code == 1
    assert re.search(
        r"has the right place in \d+% of its summaries.*it has not learnt to copy", run.stderr
    )


@pytest.fixture
def no_hub(monkeypatch):
    """Nobody listens where the hub would."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://127.0.0.1")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["data=/nowhere"],
            "no train.jsonl or train.jsonl.gz in /nowhere; name a folder with all three parts",
        ),
        (
            ["model=/nowhere/at/all"],
            "no config.json in /nowhere/at/all; name the folder of a model",
        ),
        (["model=nobody/none"], "the model nobody/none cannot be loaded"),
        (["published=[left]"], "published: got 'left', must be among right_truncation"),
        (
            ["protocol=authors", "published=[string_replace]"],
            "published: protocol authors takes all of them",
        ),
        (["growth=[5]"], "growth: got 5, which keeps more than all by round 2"),
        (["model=nobody/none", "bases=[0, 1]"], "bases: got 2 seeds, must be one"),
        (["initial=0.001"], "initial: got 0.001, which is no pair of the 40"),
        (
            ["candidates=2"],
            "Generate decodes greedily, so several candidates would be the same; give a temperature",
        ),
        (
            ["filter={call: 'veriloop:TopCount', count: 1}", "growth=[0.1]"],
            "growth: got [0.1], must be [0]: the filter says how many are kept",
        ),
        (
            ["within=kind", "data=xsum"],
            "within: got kind, and data xsum has no kinds; leave it out",
        ),
        (
            ["within=kind", "filter={call: 'veriloop:TopCount', count: 1}"],
            "within: got kind, and filter keeps within articles; leave one out",
        ),
        (
            ["others={filtered: {call: 'veriloop:Random'}}"],
            "others: got 'filtered', which is an arm already",
        ),
        (["device=gpu"], "device must be one that torch has on this machine, cpu"),
        (["tokens=5"], "Prompt.tokens must be above the "),
        (["tokens=2040"], "tokens: got 2040 and 12 summary_tokens, must be at most 2048 together"),
        (["first.warmup=2"], "first.warmup: got 2, must be less than 1"),
        (["refit.clip=0"], "refit.clip: got 0, must be greater than 0"),
        (["pretraining.vocabulary=256"], "pretraining.vocabulary: got 256, must be greater than"),
        (["keep=0.001"], "keep: got 0.001, which is no summary of the 40 of a round"),
        (["keep=1.5"], "keep: got 1.5, must be less than or equal to 1"),
        (["verifier={call: 'veriloop.xsum:Brevitty'}"], "did you mean 'Brevity'?"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_done(given, message, here, no_hub):
    run = here(NAME, *settings(*given))
    assert run.code == 2 and message in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1 and "Traceback" not in run.stderr and not run.out.exists()


def test_a_run_says_which_weights_it_started_from(tmp_path):
    """Of a model that was not trained here: by the content of its files."""
    tiny = Pretraining(steps=1, batch=1, vocabulary=300, hidden=8, layers=1, heads=2, inner=8)
    model, tokenizer = pretrained(tiny, folder=tmp_path / "cache")
    folder = tmp_path / "own"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert weights_of(str(folder)) == {
        "model": str(folder),
        "from": f"the folder {folder}",
        "sha256": {"model.safetensors": digest},
        "form": "float32",
        "parameters": model.num_parameters(),
    }
