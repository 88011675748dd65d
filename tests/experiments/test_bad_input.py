"""Every mistake of the user's stops before any work: exit 2, one sentence with the key, nothing written."""

from __future__ import annotations

import ast
import shutil
from pathlib import Path

import pytest
from helpers import EXPERIMENTS, ROOT, SCRIPTS, settings

L, R, D, P = "linear_landscape", "linear_rounds", "linear_designs", "linear_policies"
N, C, B, V = "noisy_verifier", "curation", "selection_bias", "verifier_shape"


def check(run, name, *parts):
    """Assert the contract of bad input, and that the sentence says all of `parts`."""
    assert run.code == 2, run.stderr
    assert run.stdout == "" and "Traceback" not in run.stderr
    assert run.stderr.endswith("\n") and run.stderr.count("\n") == 1
    assert run.stderr.startswith(f"{name}: ")
    assert len(run.stderr) < 500, "not a sentence"
    for part in parts:
        assert part in run.stderr


def check_untouched(run, name, *parts):
    check(run, name, *parts)
    assert not run.out.exists() and not run.out.is_symlink()


# What the reader of settings refuses, and what the types do that all configurations are made of.
EVERYWHERE = [
    ("replicate=3", "replicate:", "unknown key", "did you mean 'replicates'?"),
    ("sede=3", "sede:", "unknown key", "did you mean 'seed'?"),
    ("zzz=3", "zzz:", "unknown key", "known keys: "),
    ("presets=3", "presets:", "unknown key", "known keys: "),
    ("replicates=ten", "replicates:", 'got "ten"', "valid integer"),
    ("replicates=2.5", "replicates:", "got 2.5", "integer"),
    ("replicates=0", "replicates:", "got 0", "greater than or equal to 1"),
    ("replicates=-4", "replicates:", "got -4", "greater than or equal to 1"),
    ("replicates=true", "replicates:", "got true", "valid integer"),
    ("replicates=", "replicates:", "got null", "valid integer"),
    ("replicates=[5]", "replicates:", "got [5]", "valid integer"),
    ("dim=0", "dim:", "got 0", "greater than or equal to "),
    ("sizes=0", "sizes:", "got 0", "at least 1"),
    ("sizes=-3", "sizes:", "got -3", "at least 1"),
    ("sizes=[]", "sizes:", "got []", "non-empty list"),
    ("sizes={}", "sizes:", "got {}", "at least one"),
    ("sizes=[100, 0]", "sizes:", "got [100, 0]", "at least 1"),
    ("sizes=many", "sizes:", 'got "many"', "at least 1"),
    ("sizes={kind: cubic, first: 1, last: 9}", "sizes:", "cubic", "linear or geometric"),
    ("noise=-1", "noise", "got -1", "greater than 0"),
    ("noise=0", "noise", "got 0", "greater than 0"),
    ("noise=loud", "noise", 'got "loud"', "valid number"),
    ("noise=.nan", "noise", "got NaN", "finite number"),
    ("radius=-0.5", "radius", "got -0.5", "greater than"),
    ("radius=wide", "radius", 'got "wide"', "valid number"),
    ("bias=-1", "bias", "got -1", "greater than or equal to 0"),
    ("seed=1.5", "seed:", "got 1.5", "integer"),
    ("seed=-1", "seed:", "got -1", "greater than or equal to 0"),
    ("seed=one", "seed:", 'got "one"', "integer"),
    (
        "seed=!!timestamp 2024-10-10",
        "seed:",
        "date",
        "use finite numbers, text, lists and mappings",
    ),
    ("seed=2024-13-45", "seed:", 'got "2024-13-45"', "valid integer"),
    (
        "engine=nonsense",
        "engine:",
        'got "nonsense"',
        "must be serial, processes, processes:N or dask",
    ),
    (
        "engine=processes:0",
        "engine:",
        'got "processes:0"',
        "must be serial, processes, processes:N",
    ),
    ("engine=dask://nowhere", "engine:", 'got "dask://nowhere"', "or dask://HOST:PORT"),
    ("engine=3", "engine:", "got 3", "must be serial, processes"),
    ("replicates", "--set", "'replicates'", "key=value"),
    ("=3", "--set", "'=3'", "key=value"),
    ("seed.x=3", "--set seed.x", "seed is not a mapping", "set seed itself"),
    (
        "engine.workers.x=3",
        "--set engine.workers.x",
        "engine is not a mapping",
        "set engine itself",
    ),
    ("seed=[1", "--set seed", "'[1'", "not valid YAML"),
]


@pytest.mark.parametrize(
    ("setting", "key", "got", "allowed"), EVERYWHERE, ids=[case[0] for case in EVERYWHERE]
)
def test_a_setting_that_no_script_takes(setting, key, got, allowed, here):
    """Each sentence names the key, what was got and what is allowed; one script stands for all."""
    check_untouched(here(R, *settings(setting)), R, key, got, allowed)


@pytest.mark.parametrize(
    ("setting", "key", "got", "allowed"),
    [
        ("sede=3", "sede:", "unknown key", "did you mean 'seed'?"),
        ("zzz=3", "zzz:", "unknown key", "known keys: "),
        ("replicates=ten", "replicates:", 'got "ten"', "valid integer"),
        ("replicates=0", "replicates:", "got 0", "greater than or equal to 1"),
        ("seed=1.5", "seed:", "got 1.5", "integer"),
        (
            "engine=nonsense",
            "engine:",
            'got "nonsense"',
            "must be serial, processes, processes:N or dask",
        ),
    ],
)
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_scripts_own_configuration_is_strict(name, setting, key, got, allowed, here):
    """None takes a key that it does not know, or a value of another type or beyond its range."""
    check_untouched(here(name, *settings(setting)), name, key, got, allowed)


# What differs by script: settings of its own, and names that others use for another type.
SPECIAL = [
    (L, "sizes=0", "sizes:", "got 0", "greater than or equal to 1"),
    (L, "sizes=[100, 0]", "sizes:", "got [100, 0]", "valid integer"),
    (L, "sizes={}", "sizes:", "got {}", "valid integer"),
    (L, "sizes=many", "sizes:", 'got "many"', "valid integer"),
    (L, "dim=0", "dim:", "got 0", "greater than or equal to 1"),
    (D, "sizes=0", "sizes:", "got 0", "greater than or equal to 1"),
    (D, "dim=0", "dim:", "got 0", "greater than or equal to 1"),
    (D, "noise=0", "noise:", "got 0", "greater than 0"),
    (D, "noise=.nan", "noise:", "got NaN", "finite number"),
    (D, "bias=-1", "bias:", "got -1", "greater than or equal to 0"),
    (P, "sizes=0", "sizes:", "got 0", "greater than or equal to 1"),
    (P, "noise=0", "noise:", "got 0", "greater than 0"),
    (P, "radius=-0.5", "radius:", "got -0.5", "greater than"),
    (P, "bias=-1", "bias:", "got -1", "greater than or equal to 0"),
    (L, "radius=[]", "radius:", "got []", "at least 1 item"),
    (L, "radius=[0.1, -0.2]", "radius.1:", "got -0.2", "greater than or equal to 0"),
    (
        L,
        "radius={first: 0, last: 1}",
        "radius:",
        '{"first": 0, "last": 1}',
        "first, last and count",
    ),
    (L, "radius={first: 0, last: 1, count: 0}", "radius:", '"count": 0', "count (1 or more)"),
    (L, "radius={first: 0, last: 1, count: true}", "radius:", '"count": true', "count (1 or more)"),
    (L, "radius={first: 0, last: wide, count: 3}", "radius:", '"wide"', "first, last and count"),
    (
        L,
        "radius={first: null, last: 1, count: 3}",
        "radius:",
        '"first": null',
        "first, last and count",
    ),
    (
        L,
        "radius={first: -1, last: 1, count: 3}",
        "radius.0:",
        "got -1",
        "greater than or equal to 0",
    ),
    (L, "radius=&a [*a]", "radius:", "Circular reference", "lists and mappings only"),
    (L, "radius=[0.1, 0.1]", "radius:", "got [0.1, 0.1]", "no value twice"),
    (L, "rows=4", "rows:", "got 4", "at least dim = 8"),
    (L, "design_seed=-1", "design_seed:", "got -1", "greater than or equal to 0"),
    (L, "direction_seed=-1", "direction_seed:", "got -1", "greater than or equal to 0"),
    (L, "rounds=3", "rounds:", "unknown key", "did you mean"),
    (R, "rounds=0", "rounds:", "got 0", "greater than or equal to 1"),
    (R, "sizes=[100, 100]", "sizes", "constant has 2", "each of the 4 rounds"),
    (
        R,
        "sizes.growing=[100, 120, 150, 200, 300]",
        "sizes",
        "growing has 5",
        "each of the 4 rounds",
    ),
    (R, "sizes.growing=[]", "sizes:", "growing must be a count", "non-empty list"),
    (R, "sizes.growing=[100, 120, 0, 200]", "sizes:", "growing must be a count", "at least 1"),
    (R, "sizes.growing=2.5", "sizes:", "growing must be a count", "at least 1"),
    (R, "sizes.growing=true", "sizes:", "growing must be a count", "at least 1"),
    (R, "sizes.growing={kind: linear, first: 100}", "sizes:", "growing must be a count", "{kind: "),
    (R, "sizes={kind: geometric, first: 1, step: 9}", "sizes:", "constant must be", "step: count"),
    (R, "sizes={kind: linear, first: 1, step: 0}", "sizes:", "constant must be", "step: count"),
    (R, "sizes={kind: linear, first: 1, last: 9, step: 2}", "sizes:", "constant must", "step: c"),
    (
        R,
        "sizes.growing={kind: linear, first: 0, last: 9}",
        "sizes:",
        "growing must be a count",
        "at least 1",
    ),
    (R, "sizes={a/b: 100}", "a/b", "checkpoint", "file name"),
    (R, "radius=[1, 1]", "radius:", "got [1, 1]", "no value twice"),
    (R, "rows=4", "rows:", "got 4", "at least dim = 8"),
    (R, "design_seed=-1", "design_seed:", "got -1", "greater than or equal to 0"),
    (D, "radius=0", "radius:", "got 0", "greater than 0"),
    (D, "width=[1, 0]", "width.1:", "got 0", "greater than 0"),
    (D, "shift=-1", "shift.0:", "got -1", "greater than or equal to 0"),
    (D, "map_radius=[]", "map_radius:", "got []", "at least 1 item"),
    (D, "map_replicates=0", "map_replicates:", "got 0", "greater than or equal to 1"),
    (D, "budget=799", "budget:", "got 799", "at least sizes * dim = 800"),
    (D, "rows=7", "rows:", "got 7", "at least dim"),
    (P, "budget=99", "budget:", "got 99", "at least sizes"),
    (P, "sizes=9", "sizes:", "got 9", "at least dim + 2 = 10"),
    (P, "dim=1", "dim:", "got 1", "greater than or equal to 2"),
    (P, "weights=0.5", "weights:", "got 0.5", "valid array"),
    (P, "weights=[0.5, 1]", "weights.1:", "got 1", "less than 1"),
    (P, "weights=[0]", "weights.0:", "got 0", "greater than 0"),
    (P, "weights=[0.5, 0.5]", "weights:", "got [0.5, 0.5]", "no value twice"),
    (P, "verifier=strict", "verifier:", 'got "strict"', "must be a mapping of keys to values"),
    (P, "verifier={}", "verifier:", "got {}", "'call'"),
    (P, "verifier={score: 1}", "verifier:", "got {'score': 1}", "'call'"),
    (P, "verifier={call: nowhere:Nothing}", "verifier:", "'nowhere'", "check the path"),
    (P, "verifier={call: nowhere}", "verifier:", "'nowhere'", "module:attribute"),
    (
        P,
        "verifier={call: 'veriloop:Constnat'}",
        "verifier:",
        "'Constnat'",
        "did you mean 'Constant'",
    ),
    (
        P,
        "verifier={call: 'veriloop:Constant', scroe: 1}",
        "verifier:",
        "'scroe'",
        "veriloop:Constant",
    ),
    (P, "verifier={call: 'veriloop:Shifted'}", "verifier:", "missing", "veriloop:Shifted"),
    (
        P,
        "verifier={call: 'veriloop:Noisy', verifier: {call: 'veriloop:Random'}, false_accept: 3}",
        "verifier:",
        "got 3",
        "[0, 1]",
    ),
    (N, "replicates=0", "replicates:", "got 0", "greater than or equal to 1"),
    (N, "dim=1", "dim:", "got 1", "greater than or equal to 2"),
    (N, "separation=0", "separation:", "got 0", "greater than 0"),
    (N, "verifiers=[]", "verifiers:", "got []", "at least 1 item"),
    (N, "verifiers=[0.9]", "verifiers.0:", "got 0.9", "array"),
    (N, "verifiers=[[0.9, 0]]", "verifiers.0.1:", "got 0", "greater than 0"),
    (N, "verifiers=[[1.1, 0.5]]", "verifiers.0.0:", "got 1.1", "less than or equal to 1"),
    (N, "verifiers=[[1, 0.5], [1, 0.5]]", "phi1-psi0.5-n20 twice", "", "different values"),
    (N, "wrong=[0, 0.5]", "wrong.0:", "got 0", "greater than 0"),
    (N, "wrong=[]", "wrong:", "got []", "at least 1 item"),
    (N, "sizes=[20, 0]", "sizes.1:", "got 0", "greater than or equal to 1"),
    (N, "ball_error=[0, 1.5]", "ball_error:", "got 1.5", "between 0 and 1"),
    (N, "starts=[0.5, 0.999]", "starts:", "got 0.999", "between 0.00621 and 0.994"),
    (C, "levels=[]", "levels:", "got []", "at least 1 item"),
    (C, "levels=[1, 1]", "levels:", "got [1, 1]", "no value twice"),
    (C, "luce=[1]", "luce.0:", "got 1", "greater than or equal to 2"),
    (C, "luce=[]", "luce:", "got []", "at least 1 item"),
    (C, "luce=[2, 2]", "luce2-real0 twice", "", "different values"),
    (C, "best_of=[2.5]", "best_of.0:", "got 2.5", "integer"),
    (C, "shares=[1]", "shares.0:", "got 1", "less than 1"),
    (C, "shares=[0.0001]", "shares:", "got 0.0001", "no row beside 500 picked"),
    (B, "n=10", "n:", "got 10", "at least dim + 1 = 11"),
    (B, "fraction=0", "fraction:", "got 0", "greater than 0"),
    (B, "truth=mixture", "truth:", 'got "mixture"', "standard"),
    (B, "bias=[]", "bias:", "got []", "at least 1 item"),
    (B, "bias=[1, 1]", "bias:", "got [1, 1]", "no value twice"),
    (B, "ridge=0", "ridge:", "got 0", "greater than 0"),
    (B, "dim=1", "dim:", "got 1", "greater than or equal to 2"),
    (V, "aspect=0.5", "aspect:", "got 0.5", "greater than or equal to 1"),
    (V, "temperature=0", "temperature:", "got 0", "greater than 0"),
    (V, "radius=0", "radius:", "got 0", "greater than 0"),
    (V, "budget=799", "budget:", "got 799", "at least sizes * dim = 800"),
    (V, "rows=7", "rows:", "got 7", "at least dim = 8"),
    (V, "dim=1", "dim:", "got 1", "greater than or equal to 2"),
    (V, "simulated=0", "simulated:", "got 0", "greater than or equal to 1"),
    (V, "bias=[1, 1]", "bias:", "got [1, 1]", "no value twice"),
]


@pytest.mark.parametrize(
    ("name", "setting", "key", "got", "allowed"),
    SPECIAL,
    ids=[f"{case[0]}-{case[1]}" for case in SPECIAL],
)
def test_a_setting_that_this_script_does_not_take(name, setting, key, got, allowed, here):
    """Each sentence names the key, what was got and what is allowed."""
    check_untouched(here(name, *settings(setting)), name, key, got, allowed)


def test_a_ramp_within_one_round_names_its_key(here):
    """A schedule cannot go anywhere in one round."""
    run = here(R, *settings("rounds=1", "sizes={kind: linear, first: 1, last: 5}"))
    check_untouched(run, R, "sizes:", "from 1 to 5", "use constant")


def test_further_mistakes_are_counted(here):
    """One sentence however many mistakes there are; it says that there are more."""
    run = here(L, *settings("replicates=0", "dim=x", "sizes=[]"))
    check_untouched(run, L, "(and 2 more)")


def test_more_kept_than_generated_is_refused_by_that_name(here):
    """The budget is what a round may generate, the size what it keeps: the sentence says which is which."""
    run = here(P, *settings("budget=50"))
    check_untouched(run, P, "budget:", "got 50", "100 rows kept a round")


YAMLS = [
    ("a: [1, 2", "not valid YAML at line 1", "correct the file"),
    ("seed: 1\n\tdim: 2", "not valid YAML at line 2", "correct the file"),
    ("- seed\n- dim", "must be a mapping", "got list"),
    ("just words", "must be a mapping", "got str"),
    ("", "must be a mapping", "got NoneType"),
    ("seed: !!timestamp 2024-13-45", "not valid YAML", "correct the file"),
    ("seed: 1", "no preset is called 'smoke'", "it has none"),
    ("presets:", "presets", "mapping"),
    ("presets: 3", "presets", "mapping"),
    ("presets: [smoke]", "presets", "mapping"),
    ("presets: {smoke: 3}", "presets.smoke", "mapping"),
    ("presets: {smoke: [replicates]}", "presets.smoke", "mapping"),
    ("expected: 3\npresets: {smoke: }", "expected", "mapping"),
    ("expected: {a: much}\npresets: {smoke: }", "expected.a", "number"),
    ("seed: &a [*a]\npresets: {smoke: }", "not valid YAML at line 1", "recursive"),
    ("presets: {smoke: }", "missing", "give it a value"),
]


@pytest.mark.parametrize(("text", "what", "advice"), YAMLS, ids=[repr(case[0]) for case in YAMLS])
def test_a_configuration_file_that_cannot_be_used(text, what, advice, here, tmp_path):
    """The file is named, and where in it the mistake is."""
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    check_untouched(here(L, "--config", path), L, "mine.yaml", what, advice)


def test_a_misspelt_key_in_the_file_is_named_before_the_one_it_leaves_missing(here, tmp_path):
    """`dimm: 8` lacks `dim` too; the hint tells which of the two is the mistake."""
    path = tmp_path / "mine.yaml"
    path.write_text((ROOT / "configs" / f"{L}.yaml").read_text().replace("dim: 8", "dimm: 8", 1))
    check_untouched(
        here(L, "--config", path), L, "dimm: unknown key; did you mean 'dim'?", "(and 1 more)"
    )


def test_a_configuration_file_that_is_not_there(here, tmp_path):
    """Missing, a folder, or not text."""
    check_untouched(
        here(L, "--config", tmp_path / "no.yaml"), L, "--config", "no.yaml", "No such file"
    )
    check_untouched(here(L, "--config", tmp_path), L, "--config", str(tmp_path), "directory")
    (tmp_path / "binary.yaml").write_bytes(b"seed: \xff\xfe")
    check_untouched(
        here(L, "--config", tmp_path / "binary.yaml"), L, "--config", "binary.yaml", "utf-8"
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--preset", "huge"], ["'huge'", "smoke, laptop, evidence, paper"]),
        (["--bogus"], ["--bogus", "--help"]),
        (["stray"], ["stray", "--help"]),
        (["--set"], ["--set", "expected one argument", "--help"]),
        (["--engine", "warp"], ["engine", '"warp"', "serial"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_command_line_that_cannot_be_understood(arguments, parts, here):
    """What argparse refuses looks like every other refusal."""
    check_untouched(here(L, *arguments), L, *parts)


@pytest.mark.parametrize("foreign", ["run.json", "thesis.txt", ".hidden"])
def test_a_folder_that_holds_something_is_not_written_to(foreign, here, tmp_path):
    """Without --resume never; with it, only where there is a run to resume."""
    out = tmp_path / "run"
    out.mkdir()
    (out / foreign).write_text("mine")
    check(here(L), L, "--out", str(out), "already holds files", "--resume")
    if foreign != "run.json":
        check(here(L, "--resume"), L, "--out", str(out), "no run to resume", "another folder")
    assert [path.name for path in out.iterdir()] == [foreign] and (
        out / foreign
    ).read_text() == "mine"


def test_a_finished_run_is_not_written_over(smoke, here):
    """The same command twice: the second stops, and says what would go on."""
    out = smoke(L).out
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    check(here(L, out=out), L, "--out", str(out), "--resume")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_a_folder_that_cannot_be_made(here, tmp_path):
    """A file in its place, a file on the way to it, and a file system that takes none."""
    file = tmp_path / "file"
    file.write_text("mine")
    for out in (file, file / "below" / "run", Path("/proc/nowhere/run")):
        check(here(L, out=out), L, "--out", str(out), "cannot write", "another folder")
    assert file.read_text() == "mine" and [path.name for path in tmp_path.iterdir()] == ["file"]


def check_not_redrawn(name, folder, here, *parts):
    before = sorted(folder.iterdir())
    check(
        here(name, "--redraw", folder, out=None, figure=True), name, "--redraw", str(folder), *parts
    )
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    "text", [None, "", "\n", "{", "3\n", "[]\n"], ids=["missing", "empty", "blank", *"{3["]
)
def test_records_that_cannot_be_redrawn(text, here, tmp_path):
    """--redraw without a run's records: no figure is left behind."""
    if text is not None:
        (tmp_path / "records.jsonl").write_text(text)
    check_not_redrawn(L, tmp_path, here, str(tmp_path / "records.jsonl"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_rows_of_something_else_are_not_redrawn(name, here, tmp_path):
    """Every script's own plot refuses rows that it cannot read, and leaves no figure behind."""
    (tmp_path / "records.jsonl").write_text('{"a": 1}\n')
    check_not_redrawn(name, tmp_path, here, name, "a run's folder")


@pytest.mark.parametrize(
    ("name", "other"), [(L, R), (R, D), (D, P), (P, L), (C, D), (V, C), (B, V)]
)
def test_another_experiments_records_are_not_redrawn(name, other, smoke, here, tmp_path):
    """--redraw with the wrong script leaves no figure behind."""
    (tmp_path / "records.jsonl").write_bytes(smoke(other).records)
    check_not_redrawn(name, tmp_path, here, name)


@pytest.mark.parametrize(("name", "other"), [("linear_policies", "linear_rounds"), (N, B)])
def test_a_run_of_another_script_that_could_be_drawn_is_not(name, other, smoke, here, tmp_path):
    """The columns would do for a figure, a wrong one; run.json says whose they are."""
    for file in ("records.jsonl", "run.json"):
        shutil.copy(smoke(other).out / file, tmp_path)
    check_not_redrawn(name, tmp_path, here, f"holds a run of {other}", f"redraw it with {other}.py")


def test_redrawing_a_folder_that_is_not_there(here, tmp_path):
    """The folder is named and not made."""
    check(here(L, "--redraw", tmp_path / "none", out=None), L, "--redraw", str(tmp_path / "none"))
    assert not list(tmp_path.iterdir())


def test_the_same_in_a_process_of_its_own(apart, tmp_path):
    """The real thing: exit status and streams of a real process."""
    arguments = settings("verifier={call: nowhere:Nothing}")
    run = apart(P, *arguments, out=tmp_path / "run", cwd=tmp_path)
    check_untouched(run, P, "verifier", "'nowhere'")
    assert not list(tmp_path.iterdir())


def test_no_check_is_an_assert():
    """python -O leaves asserts out, and a failed one is a traceback."""
    files = sorted(EXPERIMENTS.rglob("*.py"))
    assert len(files) > 2 * len(SCRIPTS)
    for path in files:
        assert not [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)
        ], path
