"""A study: arms by seeds, paired, the same bytes however it is run, stopped, and gone on with."""

import json
import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import veriloop as vl
from veriloop import Key, Loop, Quota, Records, State, Threshold
from veriloop.linear import Problem
from veriloop.study import BadInput, UnitsFailed
from veriloop.study.description import differs

PROBLEM = Problem.gaussian(bias=0.25, radius=0.5, rows=20, dim=2)
ARMS = {"verified": PROBLEM.loop(verify=PROBLEM.verifier), "unverified": PROBLEM.loop()}


def study(**changes):
    given = {
        "arms": ARMS,
        "start": PROBLEM.start,
        "sizes": [PROBLEM.size(5)] * 3,
        "seeds": range(3),
    }
    return vl.Study(**{**given, **changes})


def walk(step=1.0, most=np.inf):
    """A mean that walks: a lambda in every slot."""

    def refit(key, model, batch):
        if key.seed == 1 and model > most:
            raise ValueError("too far")
        return float(model + step)

    return Loop(
        generate=lambda key, model, n: model + key.numpy().standard_normal(n),
        refit=refit,
        measure=lambda key, model: {"mean": model},
    )


def lambdas(**changes):
    arms = {"slow": walk(0.5), "fast": walk(1.0)}
    return vl.Study(
        **{"arms": arms, "start": lambda key: State(0.0), "sizes": [4, 4], "seeds": [0, 1]}
        | changes
    )


@pytest.fixture(scope="module")
def whole():
    """The records of the study run in memory."""
    return study().run()


def test_rows_are_those_of_the_loop_run_by_hand(whole):
    """One unit is one arm of one seed, with the key of that seed; round 0 is the start."""
    assert [row["round"] for row in whole] == [0, 1, 2, 3] * 6
    assert whole.arms == ("verified", "unverified") and whole.seeds == (0, 1, 2)
    for arm, loop in ARMS.items():
        key = Key(2)
        state = PROBLEM.start(key)
        rounds = [record for _, record in vl.run(loop, key, state, [PROBLEM.size(5)] * 3)]
        wanted = [record.metrics for record in rounds]
        mine = whole.select(arm=arm, seed=2)
        for row, metrics in zip(mine, wanted, strict=True):
            assert {name: row[name] for name in metrics} == metrics


def test_arms_of_a_seed_are_paired(whole):
    """They share the start, so nothing differs in round 0."""
    gap = whole.difference("verified", "unverified", "error_truth")
    assert (gap.mean[0], gap.low[0], gap.high[0]) == (0, 0, 0) and gap.n.tolist() == [3] * 4


@pytest.mark.slow
def test_engines_and_folders_change_no_byte(whole, tmp_path):
    folders = {"serial": tmp_path / "one", "processes:2": tmp_path / "two"}
    for engine, folder in folders.items():
        assert study().run(folder, engine=engine) == whole
        assert Records.read(folder) == whole
    one, two = ((folder / "records.jsonl").read_bytes() for folder in folders.values())
    assert one == two
    assert study().run(engine="processes:2") == whole


@pytest.mark.slow
def test_lambdas_run_in_processes():
    assert lambdas().run(engine="processes:2") == lambdas().run()


class Stop(BaseException):
    """Ends a run as a signal would."""


@pytest.mark.parametrize("at", [0, 1, 4])
def test_a_stopped_run_goes_on_to_the_same_bytes(at, whole, tmp_path, monkeypatch):
    """Stopped while a unit is committed: those before it are kept, with their times of writing."""
    renamed = os.rename
    done = []

    def stopping(old, new):
        if len(done) == at:
            raise Stop
        done.append(new)
        renamed(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", stopping)
        with pytest.raises(Stop):
            study().run(tmp_path / "run")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/round_*/[!.]*/*")}
    assert len(kept) == 2 * at
    assert study().run(tmp_path / "run") == whole
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["finished"] is True and set(about["study"]["arms"]) == set(ARMS)


def test_with_save_and_load_a_unit_goes_on_in_its_middle(whole, tmp_path, monkeypatch):
    """Every round is committed: the second run loads what the first has saved."""
    loaded = []

    def load(folder):
        loaded.append(folder.parent.name)
        return vl.load_state(folder)

    one = study(seeds=[0], save=vl.save_state, load=load)
    renamed = os.rename

    def stopping(old, new):
        if "round_0003" in str(new):
            raise Stop
        renamed(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", stopping)
        with pytest.raises(Stop):
            one.run(tmp_path / "run")
    assert one.run(tmp_path / "run") == Records([row for row in whole if row["seed"] == 0])
    assert loaded == ["round_0002"]


def test_a_finished_folder_is_read_and_not_run(whole, tmp_path):
    study().run(tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    calls = []

    def start(key):
        calls.append(key)
        return PROBLEM.start(key)

    study().run(tmp_path / "run")
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    with pytest.raises(BadInput, match="another study: start was Problem.start and is "):
        study(start=start).run(tmp_path / "run")
    assert not calls


OTHERS = {
    "an arm less": ({"arms": {"verified": ARMS["verified"]}}, "arms had 'unverified', which is"),
    "an arm of other settings": (
        {"arms": {**ARMS, "verified": replace(ARMS["verified"], block=1000)}},
        "block of the arm 'verified' was 65536 and is 1000",
    ),
    "a verifier less": (
        {"arms": {**ARMS, "verified": ARMS["unverified"]}},
        r"verify of the arm 'verified' was \w+.* and is not given",
    ),
    "a stricter verifier": (
        {"arms": {**ARMS, "verified": PROBLEM.loop(verify=replace(PROBLEM.verifier, radius=0.4))}},
        "verify of the arm 'verified' ",
    ),
    "other sizes": (
        {"sizes": [PROBLEM.size(6)] * 3},
        r"sizes of the arm 'verified' were .* and are .*, which must begin with the old ones",
    ),
    "fewer rounds": ({"sizes": [PROBLEM.size(5)] * 2}, "sizes of the arm 'verified' were"),
    "a seed less": ({"seeds": [0, 2]}, r"seeds were \[0, 1, 2\] and lack \[1\] now"),
}


@pytest.mark.parametrize(("changes", "what"), OTHERS.values(), ids=OTHERS)
def test_a_folder_of_another_study_is_refused(changes, what, tmp_path):
    """In one sentence that says in words what differs; no file is touched."""
    study().run(tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(BadInput, match=f"Study.run: .* holds another study: {what}") as caught:
        study(**changes).run(tmp_path / "run")
    assert "\n" not in str(caught.value) and "name another folder" in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


MORE = {
    "seeds": {"seeds": [0, 3, 1, 2]},
    "rounds": {"sizes": [PROBLEM.size(5)] * 3 + [PROBLEM.size(7)]},
    "arms": {"arms": {"new": replace(ARMS["verified"], filter=Threshold(-1.0)), **ARMS}},
}


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("changes", MORE.values(), ids=MORE)
def test_a_folder_goes_on_with_more(changes, saved, tmp_path):
    """Seeds, rounds or arms: the same bytes as at once, and what was committed stays."""
    states = {"save": vl.save_state, "load": vl.load_state} if saved else {}
    study(**states).run(tmp_path / "run")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/round_*/*/rows.jsonl")}
    more = study(**changes, **states)
    assert more.run(tmp_path / "run") == more.run(tmp_path / "once") == more.run()
    once = (tmp_path / "once" / "records.jsonl").read_bytes()
    assert (tmp_path / "run" / "records.jsonl").read_bytes() == once
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert about["finished"] is True and about["study"] == more.description()


def test_run_json_says_what_the_arms_are_made_of(tmp_path):
    """Pool and filter by their spec, for whoever reads the records; of a function its name."""
    pooled = replace(ARMS["verified"], pool=vl.Window(2), filter=Threshold(-np.inf))
    study(arms={"pooled": pooled}, seeds=[0]).run(tmp_path / "run")
    about = json.loads((tmp_path / "run" / "run.json").read_text(), parse_constant=pytest.fail)
    parts = about["study"]["arms"]["pooled"]
    assert parts["pool"]["is"] == {"call": "veriloop.pools:Window", "n": 2}
    assert parts["filter"]["is"]["cut"] == "-inf"
    assert "observe" not in parts and set(parts["pool"]) == {"is", "digest"}


def test_another_code_of_a_lambda_is_another_study():
    """What a plain function does, and what it closes over, is part of the description."""
    assert lambdas().description() == lambdas().description()
    other = lambdas(arms={"slow": walk(0.5), "fast": walk(1.1)}).description()
    assert other != lambdas().description()
    told = differs(lambdas().description(), other)
    assert told == "refit of the arm 'fast' is walk.<locals>.refit with other code or other values"


@pytest.mark.parametrize("engine", ["serial", pytest.param("processes:2", marks=pytest.mark.slow)])
def test_a_unit_that_fails_is_named_at_the_end_and_the_others_are_kept(engine, tmp_path):
    """The first arm of seed 1 raises in its second round; corrected, the run goes on."""
    failing = lambdas(arms={"slow": walk(0.5, most=0.1), "fast": walk(1.0)})
    with pytest.raises(
        UnitsFailed, match="1 unit failed, slow-seed1: ValueError: too far"
    ) as caught:
        failing.run(engine=engine)
    whole = lambdas().run()
    stopped = {"arm": "slow", "seed": 1, "round": 2, "failed": "ValueError: too far"}
    failed = caught.value.records
    assert failed.failed == (stopped,) and list(failed) == [
        row for row in whole if (row["arm"], row["seed"], row["round"]) != ("slow", 1, 2)
    ]
    assert "in refit" in caught.value.failures["slow-seed1"].trace
    with pytest.raises(UnitsFailed):
        failing.run(tmp_path / "run", engine=engine)
    assert Records.read(tmp_path / "run") == failed
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    assert json.loads(lines[8]) == stopped  # after the rounds that were done


def test_a_failed_unit_of_a_folder_is_done_again(tmp_path):
    """With its cause gone the same call goes on, and no mark is left."""
    full = tmp_path / "full"
    full.touch()

    def refit(key, model, batch):
        if key.seed == 1 and os.path.exists(full):
            raise OSError("the disk is full")
        return model + 1.0

    broken_arm = replace(walk(), refit=refit)
    with pytest.raises(UnitsFailed, match="all finished rounds are kept: correct the cause"):
        lambdas(arms={"a": broken_arm}).run(tmp_path / "run")
    assert [mark["round"] for mark in Records.read(tmp_path / "run").failed] == [1]
    full.unlink()
    assert not lambdas(arms={"a": broken_arm}).run(tmp_path / "run").failed
    assert not Records.read(tmp_path / "run").failed


def test_an_arm_of_which_nothing_is_committed_may_be_corrected(tmp_path):
    """Its cause is often in its own code, and the other arms need not be run again."""
    strict = replace(ARMS["verified"], filter=Threshold(1e9))
    with pytest.raises(UnitsFailed, match="correct the cause and run the same again"):
        study(arms={**ARMS, "new": strict}).run(tmp_path / "run")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("run/round_*/*/rows.jsonl")}
    mended = study(arms={**ARMS, "new": replace(strict, filter=Threshold(-1.0))})
    assert mended.run(tmp_path / "run") == mended.run()
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    with pytest.raises(BadInput, match="filter of the arm 'new' was Threshold"):
        study(arms={**ARMS, "new": strict}).run(tmp_path / "run")


def test_a_start_that_failed_for_every_arm_may_be_corrected(tmp_path):
    def broken(key):
        raise OSError("no such model")

    with pytest.raises(UnitsFailed, match="no such model"):
        study(start=broken).run(tmp_path / "run")
    assert study().run(tmp_path / "run") == study().run()


def test_a_round_error_of_one_arm_does_not_lose_the_others(whole):
    """An arm whose filter keeps nothing has its start, and a mark."""
    strict = replace(ARMS["verified"], filter=Threshold(1e9))
    with pytest.raises(UnitsFailed, match="strict-seed0: RoundError: round 1") as caught:
        study(arms={**ARMS, "strict": strict}).run()
    records = caught.value.records
    assert [row for row in records if row["arm"] != "strict"] == list(whole)
    assert [row["round"] for row in records.select(arm="strict")] == [0, 0, 0]
    assert [mark["round"] for mark in records.failed] == [1, 1, 1]
    assert len(caught.value.failures) == 3


def test_an_infinite_metric_ends_no_arm(tmp_path):
    """It is written, read back, and the same when the finished folder is read again."""
    arms = {"a": replace(walk(), measure=lambda key, model: {"x": np.inf if key.seed else 1.0})}
    with pytest.warns(UserWarning, match="the metric 'x' is inf"):
        records = lambdas(arms=arms).run(tmp_path / "run")
    assert records.column("x").tolist() == [1.0] * 3 + [np.inf] * 3
    assert Records.read(tmp_path / "run") == lambdas(arms=arms).run(tmp_path / "run") == records


def test_a_metric_that_is_no_number_ends_its_arm_by_name():
    arms = {"a": replace(walk(), measure=lambda key, model: {"x": [1, 2]})}
    with pytest.raises(UnitsFailed, match="a-seed0: TypeError: .*'x'"):
        lambdas(arms=arms).run()


def test_a_model_that_cannot_be_saved_is_the_failure_of_its_arm(tmp_path):
    """The arms whose models can be saved are done all the same."""

    class Odd:
        __slots__ = ()

        def __add__(self, other):
            return self

    odd = replace(walk(), refit=lambda key, model, batch: Odd())
    plain = replace(walk(), refit=lambda key, model, batch: np.float64(batch.mean()))
    states = {
        "save": vl.save_state,
        "load": vl.load_state,
        "start": lambda key: State(np.zeros(())),
    }
    with pytest.raises(UnitsFailed, match="1 unit failed, odd-seed0: TypeError: ") as caught:
        lambdas(arms={"odd": odd, "plain": plain}, seeds=[0], **states).run(tmp_path / "run")
    assert [row["round"] for row in caught.value.records.select(arm="plain")] == [0, 1, 2]
    assert "Odd" in caught.value.failures["odd-seed0"].error


def test_a_metric_called_as_a_column_is_refused():
    arms = {"a": replace(walk(), measure=lambda key, model: {"seed": 1.0})}
    with pytest.raises(UnitsFailed, match="a metric is called 'seed'"):
        lambdas(arms=arms).run()


def test_every_arm_may_have_sizes_of_its_own():
    records = lambdas(sizes={"slow": [4, 5], "fast": [6]}).run()
    assert [row["candidates"] for row in records.select(seed=0)] == [0, 4, 5, 0, 6]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {}}, "must map the name of each arm to its Loop"),
        ({"arms": [ARMS["verified"]]}, r"map the name .*; write {'verified': loop}"),
        ({"arms": {"x" * 201: ARMS["verified"]}}, "got 'x.*; shorten it to 200 bytes"),
        ({"arms": {"a\nb": ARMS["verified"]}}, "leave out line ends and control characters"),
        ({"arms": {"": ARMS["verified"]}}, "got ''; write text"),
        ({"arms": {3: ARMS["verified"]}}, "got 3; write text"),
        ({"seeds": 5}, r"must be whole numbers, got 5; write range\(5\)"),
        ({"seeds": (s for s in range(3))}, r"write a list, or range\(5\)"),
        ({"seeds": [0, 1.5]}, "whole numbers of at least 0, got 1.5"),
        ({"seeds": [-1]}, "whole numbers of at least 0, got -1"),
        ({"seeds": "012"}, "must be whole numbers, got '012'"),
        ({"sizes": 10}, r"one size a round, got 10; write \[10\] \* 10 for ten rounds"),
        ({"sizes": {"verified": 10, "unverified": [10]}}, "one size a round, got 10; write"),
        ({"sizes": "100"}, r"got '100'; write \[1000\] \* 10 for ten rounds"),
        ({"arms": {"a/b": ARMS["verified"]}}, "must be one of a file, got 'a/b'"),
        ({"arms": {"a": 3}}, "'a' must be a Loop, got int"),
        ({"seeds": []}, "different whole numbers, at least one"),
        ({"seeds": [1, 1]}, "different whole numbers, got 1 twice"),
        ({"sizes": []}, "one size a round, got none"),
        ({"sizes": [0]}, "counts of at least 1, or quotas, one a round, got 0"),
        ({"sizes": {"verified": [1]}}, "must name the arms verified, unverified, got verified"),
        ({"start": State(0)}, "must be a function: key -> State, .*; write lambda key: state"),
        ({"save": vl.save_state}, "save and load come together"),
    ],
)
def test_a_mistake_is_refused_where_the_study_is_made(changes, message):
    with pytest.raises(ValueError, match=message):
        study(**changes)


def test_a_start_that_is_no_state_is_named():
    with pytest.raises(UnitsFailed, match=r"must return a State, got 0.0; write State\(model\)"):
        lambdas(start=lambda key: 0.0).run()


@pytest.mark.parametrize("engine", ["warp", "processes:0", 3])
def test_an_unknown_engine_is_refused(engine):
    with pytest.raises(BadInput, match="must be serial, processes, processes:N or dask"):
        study().run(engine=engine)


@pytest.mark.parametrize(("progress", "shown"), [(True, False), (False, False), ("always", True)])
def test_progress_is_shown_on_a_terminal_or_where_it_is_asked_for(progress, shown, capsys):
    """No terminal here."""
    lambdas().run(progress=progress)
    printed = capsys.readouterr()
    assert ("4/4" in printed.err) == shown and printed.out == ""


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds files but no run to resume"):
        study().run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_quotas_and_partials_are_described():
    """Two functions with other arguments bound are two starts."""
    one = study(start=partial(PROBLEM.start), sizes=[Quota(5, groups=2)])
    assert one.description()["sizes"] != study().description()["sizes"]
    assert one.description()["start"] != study().description()["start"]


def test_seeds_and_sizes_may_be_arrays(whole):
    counts = np.full(3, PROBLEM.size(5))
    assert study(seeds=np.arange(3), sizes=counts).run() == whole
