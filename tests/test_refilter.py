"""Filter again: the same settings keep the same rows, others keep what the loop would have kept with them."""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from veriloop import (
    Accumulate,
    Audited,
    Bernoulli,
    Chain,
    KeepAll,
    Key,
    Loop,
    Noisy,
    Quota,
    RandomFraction,
    RoundError,
    RunDir,
    State,
    Threshold,
    TopCount,
    TopFraction,
    all_of,
    run,
)
from veriloop import refilter as module
from veriloop.linear import Problem, Samples, Soft
from veriloop.refilter import find, main, refilter
from veriloop.store.candidates import FILE
from veriloop.store.files import sha256

PROBLEM = Problem.gaussian(bias=0.5, radius=1.0, dim=4)
ROWWISE = (Threshold(0.0), Threshold(-1.0), KeepAll())
RANKING = (TopFraction(0.3), TopCount(2), RandomFraction(0.4))


def store(folder, loop, sizes, *, seed=0, name="loop"):
    """Run and store; the past of the pool shows what was kept."""
    start = State(PROBLEM.truth)
    return list(RunDir(folder).run(loop, Key(seed), start, sizes, name=name, candidates=True))


def linear(**changed):
    return replace(PROBLEM.loop(verify=PROBLEM.verifier), block=16, pool=Accumulate(), **changed)


@dataclass(frozen=True)
class Modest:
    """Accept labels of at most `limit` in size."""

    limit: float = 1.0

    def __call__(self, key, batch):
        return self.limit - np.abs(batch.y)


# The same settings.


def kinds():
    """A filter with a size that it can serve, and a verifier that suits it."""
    noisy = st.builds(Noisy, st.just(PROBLEM.verifier), st.floats(0, 0.5), st.floats(0, 0.5))
    hard = st.one_of(st.just(PROBLEM.verifier), noisy, st.builds(Audited, noisy, st.just(Modest())))
    soft = st.just(Soft(PROBLEM.verifier, 0.5))
    counts, quotas = st.integers(40, 90), st.builds(Quota, st.integers(1, 6), st.just(4))
    return st.one_of(
        st.tuples(st.sampled_from(ROWWISE + RANKING), counts, hard),
        st.tuples(st.sampled_from(ROWWISE), quotas, hard),
        st.tuples(st.just(Bernoulli()), st.one_of(counts, quotas), soft),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), kinds(), st.sampled_from([None, 1]))
def test_the_same_settings_keep_the_same_rows(seed, kind, chunk):
    """By the stored filter, or that filter given again; judged again, too: noise and lots come from the key."""
    filter, size, verifier = kind
    made = linear(filter=filter, verify=verifier, chunk=chunk)
    with tempfile.TemporaryDirectory() as folder:
        _, (state, record) = store(folder, made, [size], seed=seed)
        for given_again in ({}, {"filter": filter}, {"filter": filter, "verifier": verifier}):
            again = refilter(folder, **given_again)
            kept = again.stored[again.mask]
            np.testing.assert_equal((kept.x, kept.y), (state.past[0].x, state.past[0].y))
            np.testing.assert_array_equal(again.mask, again.stored.columns["kept"])
            numbers = again.numbers
            assert (numbers["candidates"], numbers["kept"]) == (record.candidates, record.kept)
            assert numbers["both"] == numbers["kept_then"] == record.kept
            assert numbers["only_then"] == numbers["only_now"] == 0
            shared = record.metrics.keys() & numbers.keys()
            assert {"no_verdict"} <= shared and ("false_accept" in shared) == (
                again.verdict.oracle is not None
            )
            np.testing.assert_equal(
                {n: numbers[n] for n in shared}, {n: record.metrics[n] for n in shared}
            )


# Other settings.


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(ROWWISE + RANKING),
    st.sampled_from(ROWWISE + RANKING),
    st.sampled_from(
        [None, Modest(2.5), Noisy(Modest(2.5), 0.2, 0.2), all_of(PROBLEM.verifier, Modest(2.5))]
    ),
)
def test_other_settings_keep_what_the_loop_would_have_kept(seed, then, now, judge):
    """A loop with the new filter, and the new verifier where there is one, keeps these very rows."""
    made = linear(filter=then)
    other = replace(made, filter=now, **({} if judge is None else {"verify": judge}))
    with tempfile.TemporaryDirectory() as folder:
        store(folder, made, [64], seed=seed)
        _, (state, record) = run(other, Key(seed), State(PROBLEM.truth), [64])
        again = refilter(folder, filter=now, verifier=judge)
        kept = again.stored[again.mask]
    np.testing.assert_equal((kept.x, kept.y), (state.past[0].x, state.past[0].y))
    shared = record.metrics.keys() & again.numbers.keys()
    np.testing.assert_equal(
        {n: again.numbers[n] for n in shared}, {n: record.metrics[n] for n in shared}
    )


def test_of_a_quota_a_laxer_filter_keeps_the_first_n_and_a_stricter_one_what_there_is(tmp_path):
    store(tmp_path, linear(filter=Threshold(0.0)), [Quota(5, groups=4)])
    stored = refilter(tmp_path).stored
    scores, groups = stored.columns["verdict.scores"], stored.columns["group"]
    for cut in (-1.0, 0.5):
        again = refilter(tmp_path, filter=Threshold(cut))
        wanted = np.zeros(len(scores), dtype=bool)
        for group in range(4):
            wanted[np.flatnonzero((groups == group) & (scores >= cut))[:5]] = True
        np.testing.assert_array_equal(again.mask, wanted)
        assert again.numbers["kept"] == wanted.sum() and (again.numbers["kept"] == 20) == (cut < 0)
        full = [group for group in range(4) if wanted[groups == group].sum() == 5]
        late = [
            (groups == group)
            & (np.arange(len(groups)) > np.flatnonzero(wanted & (groups == group))[-1])
            for group in full
        ]  # rows of a group that is full are no candidates
        np.testing.assert_array_equal(again.counted, ~np.any(late, axis=0))
        assert again.numbers["candidates"] == again.counted.sum()
        for group in range(4):
            share = wanted[again.counted & (groups == group)].mean()
            assert again.numbers["acceptance"][str(group)] == share


def test_of_a_quota_a_ranking_filter_ranks_the_rounds_candidates(tmp_path):
    _, (_, record) = store(tmp_path, linear(filter=Threshold(0.0)), [Quota(5, groups=4)])
    again = refilter(tmp_path, filter=TopCount(2))
    columns = again.stored.columns
    for group in range(4):
        rows = np.flatnonzero(columns["counted"] & (columns["group"] == group))
        best = rows[np.argsort(-columns["verdict.scores"][rows])[:2]]
        assert set(np.flatnonzero(again.mask & (columns["group"] == group))) == set(best)
    assert again.numbers["candidates"] == record.candidates and again.numbers["kept"] == 8


def test_a_verifier_that_judges_rows_together_is_refused_on_several_blocks(tmp_path):
    list(store(tmp_path, replace(linear(filter=Threshold(0.0)), block=10), [40]))
    together = lambda key, batch: np.zeros(len(batch))  # noqa: E731
    together.rowwise = False
    with pytest.raises(ValueError, match="judges rows together, and the round has 4 blocks"):
        refilter(tmp_path, verifier=together)


def test_the_numbers_by_hand(tmp_path):
    """Six rows of two groups, one without a verdict; then the upper half of each group, now the best of each."""
    scores = np.array([3.0, 1.0, np.nan, -1.0, 2.0, 0.0])
    made = Loop(
        generate=lambda key, model, n: np.arange(6.0),
        verify=lambda key, batch: scores[batch.astype(int)],
        filter=TopFraction(0.5),
        group=lambda batch: batch.astype(int) // 4,
        refit=lambda key, model, batch: model,
    )
    list(RunDir(tmp_path).run(made, Key(0), State(0), [6], candidates=True))
    again = refilter(tmp_path, filter={"call": "Threshold", "cut": 2.5})
    assert again.mask.tolist() == [True] + [False] * 5
    assert again.numbers == {
        "arm": "loop",
        "round": 1,
        "sha256": again.stored.sha256,
        "candidates": 6,
        "kept": 1,
        "kept_then": 3,
        "both": 1,
        "only_then": 2,
        "only_now": 0,
        "lowest": -1.0,
        "highest": 3.0,
        "lowest_kept": 3.0,
        "no_verdict": 1,
        "acceptance": {"0": 0.25, "1": 0.0},
    }


# From the command line.


TEN_LINES = """
from dataclasses import dataclass
import numpy as np


@dataclass(frozen=True)
class Modest:
    limit: float = 1.0

    def __call__(self, key, batch):
        return self.limit - np.abs(batch.y)


class Learns(Modest):
    stateful = True
"""


@pytest.fixture
def several(tmp_path):
    """Two arms of two rounds, and what a killed commit leaves behind."""
    made = {
        "verified": linear(filter=TopFraction(0.5)),
        "unverified": linear(filter=RandomFraction(0.5)),
    }
    for name, loop in made.items():
        store(tmp_path / "run", loop, [48, 64], name=name)
    leftover = tmp_path / "run" / "round_0002" / ".verified.tmp"
    leftover.mkdir()
    (leftover / FILE).write_bytes(b"half")
    (tmp_path / "ten_lines.py").write_text(TEN_LINES)
    return tmp_path / "run"


@pytest.fixture
def cli(several, monkeypatch, capsys):
    """Run the command line in this process, from beside the user's module: (exit code, stdout, stderr)."""
    monkeypatch.syspath_prepend(str(several.parent))

    def call(*arguments, run=several):
        monkeypatch.setattr(sys, "argv", ["refilter", str(run), *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return call


def test_as_a_module_with_a_filter_and_a_verifier_of_ones_own(several):
    """`python -m veriloop.refilter`, in the folder of the user's module, as one line of JSON."""
    options = [
        "--arm",
        "verified",
        "--round",
        "1",
        "--json",
        "--filter",
        "{call: TopFraction, fraction: 0.25}",
    ]
    line = [sys.executable, "-m", "veriloop.refilter", "run", *options]
    line += ["--verifier", '{"call": "ten_lines:Modest", "limit": 2}', "--trust", "ten_lines"]
    ran = subprocess.run(line, cwd=several.parent, capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    numbers = json.loads(ran.stdout)
    wanted = refilter(
        several, arm="verified", round=1, filter=TopFraction(0.25), verifier=Modest(2.0)
    ).numbers
    assert numbers == wanted
    assert numbers["candidates"] == 48 and numbers["kept_then"] == 24 and numbers["kept"] == 12
    assert (
        numbers["both"] + numbers["only_now"] == 12
        and numbers["lowest"] <= numbers["lowest_kept"] <= 2
    )


def test_the_last_round_and_the_rounds_own_filter_are_the_default(cli):
    code, out, err = cli("--arm", "unverified")
    told = dict(
        line.split(maxsplit=1) for line in out.splitlines() if not line.startswith("acceptance of")
    )
    assert (code, err) == (0, "") and told["round"] == "2" and told["candidates"] == "64"
    assert told["kept"] == told["kept_then"] == told["both"] == "32" and told["only_now"] == "0"
    assert "acceptance of 3      0.5\n" in out


@pytest.mark.parametrize(
    ("given", "same"),
    [("fraction: 5e-2", TopFraction(0.05)), ("fraction: 1e0", TopFraction(1.0))],
)
def test_a_number_with_an_exponent_is_a_number(cli, several, given, same):
    """With a point and without, which YAML 1.1 takes for text."""
    code, out, err = cli(
        "--arm", "verified", "--json", "--filter", f"{{call: TopFraction, {given}}}"
    )
    assert (code, err) == (0, "")
    assert json.loads(out) == refilter(several, arm="verified", filter=same).numbers


def test_a_filter_inside_another_needs_no_module_either(cli, several):
    spec = "{call: Chain, first: {call: Threshold, cut: -9}, second: {call: TopFraction, fraction: 0.1}}"
    code, out, err = cli("--arm", "verified", "--json", "--filter", spec)
    assert (code, err) == (0, "")
    chain = Chain(Threshold(-9.0), TopFraction(0.1))
    assert json.loads(out) == refilter(several, arm="verified", filter=chain).numbers


REFUSED = [
    (("--arm", "verifed"), "holds no candidates of an arm 'verifed'; did you mean 'verified'?"),
    ((), "holds several arms; name one as arm: unverified, verified"),
    (("--arm", "verified", "--round", "7"), "round 7 of verified is not stored; stored: 1, 2"),
    (("--filter", "{call: TopFractoin, fraction: 0.1}"), "did you mean 'TopFraction'?"),
    (
        ("--filter", "{call: 'nowhere:Filter'}"),
        "needs the module 'nowhere', which is not there; check the path",
    ),
    (
        ("--filter", "{call: TopFraction, fraction: 2}"),
        "TopFraction.fraction must be in (0, 1], got 2",
    ),
    (("--filter", "{call: TopFraction, part: 0.1}"), "does not take the arguments given"),
    (("--filter", "TopFraction"), "a mapping with a name under 'call', got 'TopFraction'"),
    (("--filter", "{call: Key, seed: 1}"), "a component must be a function; name another"),
    (("--filter", "{call: TopCount, count: 600}"), "rows with a verdict, 600 are to be kept"),
    (("--filter", "{call: [TopFraction"), "--filter: not valid YAML at line 1, column 20"),
    (("--filter", "{call: TopFraction, fraction: '0.1'}"), "fraction must be a number, got '0.1'"),
    (("--filter", "{call: TopCount, count: 5.5}"), "count must be a whole number or a mapping"),
    (("--filter", "{call: Threshold, cut: 1, cut: 2}"), "the key 'cut' is given twice, in line 1"),
    (
        ("--verifier", "{call: 'veriloop:Shifted', by: 1, verifier: 'veriloop:Random'}"),
        "verifier must be a component, {call: NAME, argument: value}, got 'veriloop:Random'",
    ),
    (("--verifier", "{call: 'ten_lines:Modst'}"), "did you mean 'Modest'?"),
    (
        ("--verifier", "{call: 'ten_lines:Learns'}"),
        "the verifier Learns is stateful: what it scored depends on",
    ),
    (
        ("--verifier", "{call: 'veriloop:Noisy', verifier: {call: 'ten_lines:Learns'}}"),
        "the verifier Noisy is stateful",
    ),
]


@pytest.mark.parametrize("arguments, said", REFUSED)
def test_what_cannot_be_done_is_one_sentence_and_2(cli, arguments, said):
    arm = () if not arguments or "--arm" in arguments else ("--arm", "verified")
    code, out, err = cli(*arm, *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1) and said in err, err
    assert err.startswith("veriloop.refilter: ")


@pytest.mark.parametrize("kind", ["nowhere", "empty", "not stored"])
def test_a_folder_without_stored_candidates_is_refused_and_not_made(cli, tmp_path, kind):
    folder = tmp_path / "other"
    if kind == "empty":
        folder.mkdir()
    if kind == "not stored":
        plain = Loop(
            generate=lambda key, model, n: np.zeros(n), refit=lambda key, model, batch: model
        )
        list(RunDir(folder).run(plain, Key(0), State(np.zeros(1)), [3]))
    code, out, err = cli(run=folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert (
        err
        == f"veriloop.refilter: {folder} holds no stored candidates; run it with store=candidates\n"
    )
    assert folder.exists() == (kind != "nowhere")


def test_a_damaged_file_is_refused(cli, several):
    file = several / "round_0002" / "verified" / FILE
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    code, out, err = cli("--arm", "verified")
    assert (code, out) == (
        2,
        "",
    ) and f"{file} is damaged: its sha256 differs; run the round again" in err
    assert cli("--arm", "verified", "--round", "1")[0] == 0


@pytest.mark.parametrize("missing", ["pyarrow.parquet", "yaml"])
def test_what_must_be_installed_is_named(cli, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "veriloop.yaml12", raising=False)
    code, out, err = cli("--arm", "verified")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f" needs {missing!r}; install it with: pip install 'veriloop[study]'" in err


def test_a_filter_that_cannot_be_written_down_must_be_given(tmp_path):
    """A function has no settings to store; any filter can be given instead."""
    store(tmp_path, linear(filter=lambda key, scores, groups: scores > 0), [40])
    with pytest.raises(
        ValueError, match=r"settings of the round's own filter, .*<lambda>, are not stored; give"
    ):
        refilter(tmp_path)
    assert refilter(tmp_path, filter=Threshold(0.0)).numbers["only_then"] == 0


BATCH = """
from dataclasses import dataclass
import numpy as np
import no_such_dependency
from veriloop import Columns


@dataclass(frozen=True)
class Rows(Columns):
    x: np.ndarray
"""


def test_a_batch_whose_package_is_not_installed_can_be_filtered_and_not_judged(
    tmp_path, monkeypatch
):
    """Scores are enough for a filter; a verifier needs the rows, and is told what is missing."""
    (tmp_path / "far_away.py").write_text(BATCH)
    monkeypatch.syspath_prepend(str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "no_such_dependency", module)
        from far_away import Rows  # pyright: ignore[reportMissingImports]

        made = Loop(
            generate=lambda key, model, n: Rows(key.numpy().random(n)),
            verify=lambda key, batch: batch.x,
            filter=TopFraction(0.5),
            refit=lambda key, model, batch: model,
        )
        options = {"candidates": True}
        list(RunDir(tmp_path / "run").run(made, Key(0), State(0), [10], **options))
    monkeypatch.delitem(sys.modules, "far_away")
    assert refilter(tmp_path / "run").numbers["both"] == 5
    trust = ["far_away"]
    wanted = "'far_away:Rows' needs the module 'no_such_dependency', which is not there"
    with pytest.raises(ValueError, match=wanted):
        refilter(tmp_path / "run", verifier=Modest(), trust=trust)
    with pytest.raises(ValueError, match="'far_away:Rows', which is no class of veriloop"):
        refilter(tmp_path / "run", verifier=Modest())
    monkeypatch.setitem(sys.modules, "far_away", module)
    with pytest.raises(ValueError, match="'far_away' has no 'Rows'"):
        refilter(tmp_path / "run", verifier=Modest(), trust=trust)


# A folder from somebody else.


def tampered(folder, **about):
    """Change what a stored round says of itself, with the sha256 that goes with it."""
    parquet = pytest.importorskip("pyarrow.parquet")
    place = find(folder).folder
    table = parquet.read_table(place / FILE)
    metadata = dict(table.schema.metadata)
    said = json.loads(metadata[b"veriloop"]) | about
    metadata[b"veriloop"] = json.dumps(said).encode()
    parquet.write_table(table.replace_schema_metadata(metadata), place / FILE)
    sums = json.loads((place / "sha256.json").read_text())
    sums[FILE] = sha256(place / FILE)
    (place / "sha256.json").write_text(json.dumps(sums))


RAN = []


def harm(*arguments, **settings):
    RAN.append(arguments)


@pytest.fixture
def received(tmp_path):
    """A run with a stored round."""
    store(tmp_path / "run", linear(), [16])
    RAN.clear()
    return tmp_path / "run"


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        f"{__name__}:harm",
        "veriloop.store.files:os",
        "veriloop.store.files:cache_folder",
        "veriloop.filters.ranking:check_fraction",
        "veriloop:build",
        "veriloop.verifiers.endpoint.verifier:_Past",
        "harm",
        "",
    ],
)
def test_a_filter_that_the_folder_names_is_a_class_of_veriloop_or_not_called(received, name):
    """Neither at the top nor among the arguments."""
    for spec in (
        {"call": name},
        {"call": "veriloop.filters.choices:Chain", "first": {"call": name}, "second": {}},
        {"call": "veriloop.filters.choices:Chain", "first": [{"call": name}]},
    ):
        tampered(received, filter=spec)
        with pytest.raises(ValueError, match="which is no class of veriloop, so it is not"):
            refilter(received)
    assert not RAN


@pytest.mark.parametrize(
    "name", ["veriloop.verifiers.endpoint.verifier:Endpoint", "veriloop.store.folder:RunDir"]
)
def test_what_is_of_veriloop_and_no_filter_is_not_made(received, name):
    """A judge would be sent an API key, and a run folder would be written."""
    tampered(received, filter={"call": name, "path": str(received / "new")})
    with pytest.raises(ValueError, match="which has no place there, so it is not called"):
        refilter(received)
    assert not (received / "new").exists()


def test_a_type_of_batch_that_the_folder_names_is_one_of_rows(received):
    judge = Modest()
    for name, told in (
        ("os:system", "no class of veriloop"),
        ("pathlib:Path", "no class of veriloop"),
        ("veriloop.core.key:Key", "which is no Columns"),
    ):
        tampered(received, batch=name)
        assert refilter(received).numbers["candidates"] == 16
        with pytest.raises(ValueError, match=told):
            refilter(received, verifier=judge)


def test_a_module_that_the_user_trusts_is_called(received):
    tampered(received, filter={"call": f"{__name__}:own_filter"})
    with pytest.raises(ValueError, match=rf"trust=\('{__name__}',\) in Python"):
        refilter(received)
    assert refilter(received, trust=[__name__]).numbers["kept"] == 16
    with pytest.raises(ValueError, match="trust must be a list of modules, got 'os'"):
        refilter(received, trust="os")


def own_filter():
    return KeepAll()


@pytest.mark.parametrize("about", [b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_a_stored_round_that_does_not_say_how_it_was_drawn_is_refused(received, about):
    parquet = pytest.importorskip("pyarrow.parquet")
    place = find(received).folder
    table = parquet.read_table(place / FILE).replace_schema_metadata({"veriloop": about})
    parquet.write_table(table, place / FILE)
    sums = {FILE: sha256(place / FILE)}
    (place / "sha256.json").write_text(json.dumps(sums))
    with pytest.raises(ValueError, match="it does not say how its rows were drawn"):
        refilter(received)


NO_SENSE = {
    "key": [3, ["x"], []],
    "quota": [3, {"n": "x"}],
    "filter": [3, [], {"call": 3}, {"call": "veriloop.nothing:X"}],
}


@pytest.mark.parametrize("name", NO_SENSE)
def test_what_a_stored_round_says_of_itself_is_refused_where_it_makes_no_sense(received, name):
    for value in NO_SENSE[name]:
        tampered(received, **{name: value})
        with pytest.raises(ValueError):
            refilter(received)


@pytest.mark.parametrize("column", ["verdict.scores", "group", "kept"])
def test_a_column_that_is_missing_or_of_another_type_is_named(received, column):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    place = find(received).folder
    whole = parquet.read_table(place / FILE)
    number = whole.column_names.index(column)
    for table, told in (
        (whole.drop_columns([column]), f"is damaged: the column '{column}' is missing"),
        (whole.set_column(number, column, pa.array(["x"] * 16)), f"'{column}' is of another type"),
        (whole.set_column(number, column, pa.nulls(16)), f"'{column}' is of another type"),
    ):
        parquet.write_table(table, place / FILE)
        (place / "sha256.json").write_text(json.dumps({FILE: sha256(place / FILE)}))
        with pytest.raises(ValueError, match=told):
            refilter(received)


def test_commands_import_nothing_from_the_folder_in_which_the_user_stands(received):
    """Python puts that folder first; modules of it would hide the installed ones."""
    for name in ("numpy", "yaml", "typing", "json", "pyarrow"):
        (received / f"{name}.py").write_text("open('ran', 'w')\n")
    for command in ("refilter", "diagnose"):
        line = [sys.executable, "-m", f"veriloop.{command}", "."]
        ran = subprocess.run(line, cwd=received, capture_output=True, text=True, timeout=120)
        assert (ran.returncode, ran.stderr) == (0, "")
    assert not (received / "ran").exists()


def test_a_module_of_the_current_folder_needs_trust(cli, several, monkeypatch):
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(several.parent)])
    monkeypatch.chdir(several.parent)
    monkeypatch.delitem(sys.modules, "ten_lines", raising=False)
    ask = ("--arm", "verified", "--round", "1", "--verifier", '{"call": "ten_lines:Modest"}')
    code, _, err = cli(*ask)
    assert code == 2 and "add --trust MODULE for one in the current folder" in err
    assert cli(*ask, "--trust", "ten_lines")[0] == 0


def test_a_verifier_that_returns_another_number_of_scores_is_refused(tmp_path):
    store(tmp_path, linear(), [40])
    with pytest.raises(
        ValueError, match=r"verify must return one value a row, shape \(16,\), got shape \(3,\)"
    ):
        refilter(tmp_path, verifier=lambda key, batch: np.zeros(3))
    with pytest.raises(ValueError, match="filter must keep no row without a verdict"):
        nowhere = lambda key, scores, groups: np.ones(len(scores), dtype=bool)  # noqa: E731
        refilter(tmp_path, filter=nowhere, verifier=lambda key, batch: np.full(len(batch), np.nan))

    def one_alone(key, batch):
        return np.where(batch.y == batch.y.max(), 1.0, np.nan)

    with pytest.raises(RoundError, match=r"\d rows with a verdict, 9 are to be kept"):
        refilter(tmp_path, filter=TopCount(9), verifier=one_alone)


def test_linear_rows_come_back_as_their_own_type(tmp_path):
    _, (state, _) = store(tmp_path, linear(filter=KeepAll()), [40])
    rows = list(refilter(tmp_path).stored.blocks())
    assert [len(batch) for batch in rows] == [16, 16, 8] and all(
        isinstance(batch, Samples) for batch in rows
    )
    np.testing.assert_array_equal(np.concatenate([batch.x for batch in rows]), state.past[0].x)
