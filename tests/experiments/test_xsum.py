"""The script on summaries: it runs at smoke scale, its arms are paired, it resumes, and refuses bad input."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from veriloop import Key
from veriloop.xsum import corpus, kinds

NAME = "xsum_rouge"
SCRIPT = Path(__file__).parents[2] / "experiments" / f"{NAME}.py"
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


pytestmark = pytest.mark.usefixtures("own_cache")


def rows_of(run):
    assert run.code == 0, run.stderr
    return [json.loads(line) for line in run.records.splitlines()]


def test_it_runs_at_smoke_scale(here):
    """A figure, and rows with every metric; the test articles are measured once, at the end; arms start alike."""
    run = here(NAME)
    rows = rows_of(run)
    assert (run.out / "figure.png").stat().st_size > 10_000
    assert len(rows) == 2 * 2 * 3 and {row["seed"] for row in rows} == {1, 2}
    for row in rows:
        assert set(row) >= METRICS and ("test_rouge1" in row) == (row["round"] == 2)
        assert row["round"] == 0 or (row["candidates"], row["kept"]) == (40, 5)
    for seed in (1, 2):
        one, other = (
            {name: row[name] for name in METRICS} for row in rows if row["seed"] == seed and row["round"] == 0
        )
        assert one == other
    measures = json.loads((run.out / "run.json").read_text())["measures"]
    assert measures["model"].startswith("pre-trained on reports")


def test_a_stopped_run_resumes_to_the_same_bytes(stopped_and_resumed):
    whole, resumed = stopped_and_resumed(NAME)
    assert resumed.code == 0 and resumed.records == whole.records


def test_two_launched_processes_make_one_run(tmp_path):
    """One set of files, whole, with one line a round; resumed, the same bytes, and nothing is done again."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    settings = ["replicates=1", "rounds=1", "store=candidates"]
    given = [part for each in settings for part in ("--set", each)]
    script = [str(SCRIPT), "--preset", "smoke", "--out", str(tmp_path / "run"), *given]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    runs = []
    for resume in ((), ("--resume",)):
        done = subprocess.run(
            [*launch, *script, *resume], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("figure:") == 1 and done.stderr.count("round 1 of 1") == (0 if resume else 2)
        runs.append((tmp_path / "run" / "records.jsonl").read_bytes())
    rows = [json.loads(line) for line in runs[0].splitlines()]
    assert [(row["filtering"], row["round"], row["kept"]) for row in rows] == [
        ("filtered", 0, 0), ("filtered", 1, 5), ("unfiltered", 0, 0), ("unfiltered", 1, 5),
    ]  # fmt: skip
    assert runs[1] == runs[0] and json.loads((tmp_path / "run" / "run.json").read_text())["finished"]
    assert len(list((tmp_path / "run").rglob("candidates.parquet"))) == 2


def test_launched_processes_start_none_of_their_own(here, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    run = here(NAME, "--set", "engine=processes")
    assert run.code == 2 and run.stderr.count("\n") == 1 and not run.out.exists()
    assert "engine: got processes in one of 2 launched processes; give engine=serial" in run.stderr


def test_growing_shares_and_a_verifier_of_ones_own(here):
    """Round k keeps keep (1 + growth k); the shortest summaries are kept by a verifier that likes them short."""
    settings = ["growth=[0.5]", "replicates=1", "verifier={call: 'veriloop.xsum:Brevity', limit: 5}"]
    rows = rows_of(here(NAME, *(part for each in settings for part in ("--set", each)), figure=False))
    assert [row["kept"] for row in rows if row["filtering"] == "filtered"] == [0, round(40 * 0.1875), 40 // 4]


def test_a_share_of_every_kind(here):
    """Filtered and not, half of each kind is kept, to the nearest row; the corpus has kinds of odd sizes."""
    settings = ["within=kind", "keep=0.5", "replicates=1", "rounds=1"]
    rows = rows_of(here(NAME, *(part for each in settings for part in ("--set", each)), figure=False))
    counts = np.unique(kinds(corpus(Key(1).fold("reports"), 40, 10).train), return_counts=True)[1]
    wanted = int(np.floor(0.5 * counts + 0.5).sum())
    assert wanted != 20 and [row["kept"] for row in rows if row["round"] == 1] == [wanted] * 2


def test_the_best_of_several_candidates_and_other_verifiers(here):
    """Every arm keeps one of three of each article; who likes brevity has shorter ones than a random pick."""
    settings = [
        "candidates=3",
        "temperature=1.0",
        "filter={call: 'veriloop:TopCount', count: 1}",
        "others={brief: {call: 'veriloop.xsum:Brevity', limit: 5}}",
        "replicates=1",
        "rounds=1",
    ]
    rows = rows_of(here(NAME, *(part for each in settings for part in ("--set", each))))
    last = {row["filtering"]: row for row in rows if row["round"] == 1}
    assert list(last) == ["filtered", "unfiltered", "brief"]
    assert {(row["candidates"], row["kept"]) for row in last.values()} == {(120, 40)}
    assert last["brief"]["kept_words"] < last["unfiltered"]["kept_words"]
    assert last["filtered"]["kept_rouge1"] > last["unfiltered"]["kept_rouge1"]


@pytest.mark.parametrize(
    "setting", ["protocol=authors", "published=[right_truncation]", "published=[loss_on_prompt, loss_on_padding]"]
)
def test_published_ways_change_the_run(here, tmp_path, setting):
    """Each runs, and none gives what the corrected protocol gives."""
    short = ["rounds=1", "replicates=1", "tokens=40"]
    plain, changed = (
        rows_of(
            here(
                NAME,
                *(part for each in more for part in ("--set", each)),
                out=tmp_path / f"{len(more)}",
                figure=False,
            )
        )
        for more in (short, [*short, setting])
    )
    assert [row["perplexity"] for row in plain] != [row["perplexity"] for row in changed]


def test_a_base_that_has_not_learnt_to_copy_is_refused(here):
    with pytest.raises(
        RuntimeError, match=r"has the right place in \d+% of its summaries.*it has not learnt to copy"
    ):
        here(NAME, "--set", "least_place=0.9", figure=False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["data=/nowhere"], "no train.jsonl or train.jsonl.gz in /nowhere; name a folder with all three parts"),
        (["model=/nowhere/at/all"], "no config.json in /nowhere/at/all; name the folder of a model"),
        (["model=nobody/none"], "the model nobody/none cannot be had"),
        (["published=[left]"], "published: got 'left', must be among right_truncation"),
        (["protocol=authors", "published=[string_replace]"], "published: protocol authors takes all of them"),
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
        (["within=kind", "data=xsum"], "within: got kind, and data xsum has no kinds; leave it out"),
        (
            ["within=kind", "filter={call: 'veriloop:TopCount', count: 1}"],
            "within: got kind, and filter keeps within articles; leave one out",
        ),
        (["others={filtered: {call: 'veriloop:Random'}}"], "others: got 'filtered', which is an arm already"),
        (["keep=1.5"], "keep: got 1.5, must be less than or equal to 1"),
        (["verifier={call: 'veriloop.xsum:Brevitty'}"], "did you mean 'Brevity'?"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_done(settings, message, here):
    run = here(NAME, *(part for setting in settings for part in ("--set", setting)))
    assert run.code == 2 and message in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1 and "Traceback" not in run.stderr and not run.out.exists()
