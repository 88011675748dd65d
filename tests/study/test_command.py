"""A script of somebody else: its configuration, folder, commit and mistakes."""

import io
import json
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from veriloop import Records
from veriloop.new import files

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path):
    """A script and its configuration, in a folder that is no repository."""
    for name, text in files("mine").items():
        (tmp_path / name).write_text(text)
    return tmp_path


class Ended(NamedTuple):
    """How a script ended."""

    returncode: int
    stdout: str
    stderr: str


def call(folder, *arguments):
    """Run the script in this process, from its folder."""
    stdout = io.StringIO()
    stderr = io.StringIO()
    code = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["mine.py", *map(str, arguments)])
        patch.setattr(sys, "path", [str(folder), *sys.path])
        try:
            runpy.run_path("mine.py", run_name="__main__")
        except SystemExit as ended:
            code = ended.code or 0
    return Ended(code, stdout.getvalue(), stderr.getvalue())


def call_apart(folder, script, *arguments):
    """Run the script in a process of its own."""
    line = [sys.executable, script, *map(str, arguments)]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=300)


def about(folder):
    return json.loads((folder / "run.json").read_text())


def git(folder, *arguments):
    own = ["-c", "user.name=a", "-c", "user.email=a@b"]
    ran = subprocess.run(
        ["git", *own, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_run_json_holds_the_commit_of_their_repository(project):
    """Clean, and with a change; started from another folder too."""
    git(project, "init")
    (project / ".gitignore").write_text("runs\n__pycache__\n")
    git(project, "add", ".")
    git(project, "commit", "-m", "begin")
    commit = git(project, "rev-parse", "HEAD")
    assert call(project, "--preset", "smoke").returncode == 0
    clean = about(project / "runs" / "mine-smoke")
    assert (clean["commit"], clean["dirty"]) == (commit, False) and "veriloop" in clean["versions"]
    (project / "mine.yaml").write_text((project / "mine.yaml").read_text() + "\n")
    (project / "elsewhere").mkdir()
    apart = call_apart(
        project / "elsewhere", project / "mine.py", "--preset", "smoke", "--out", "run"
    )
    assert apart.returncode == 0, apart.stderr
    assert about(project / "elsewhere" / "run")["dirty"] is True


def test_the_configuration_may_lie_in_a_folder_beside(project):
    """SCRIPT.yaml beside the script, or ../configs/SCRIPT.yaml; else both places are named."""
    (project / "scripts").mkdir()
    (project / "mine.py").rename(project / "scripts" / "mine.py")
    missing = call(project / "scripts", "--preset", "smoke")
    assert missing.returncode == 2 and missing.stderr.startswith("mine: --config: neither ")
    (project / "configs").mkdir()
    (project / "mine.yaml").rename(project / "configs" / "mine.yaml")
    assert call(project / "scripts", "--preset", "smoke").returncode == 0


def test_a_finished_run_keeps_its_times_and_its_commit(project):
    """--resume of a run that is whole changes nothing in run.json, and no byte of the records."""
    assert call(project, "--preset", "smoke", "--out", "run").returncode == 0
    first = about(project / "run")
    records = (project / "run" / "records.jsonl").read_bytes()
    again = call(project, "--preset", "smoke", "--out", "run", "--resume")
    assert again.returncode == 0
    assert about(project / "run") == first and set(first["seconds"]) == {"work", "figure"}
    assert (project / "run" / "records.jsonl").read_bytes() == records


def test_other_code_in_an_arm_is_another_run(project):
    """The verifier's reach, and what a function of the loop does, are part of what ran."""
    assert call(project, "--preset", "smoke", "--out", "run").returncode == 0
    script = project / "mine.py"
    script.write_text(script.read_text().replace("float(batch.mean())", "float(np.median(batch))"))
    refused = call(project, "--preset", "smoke", "--out", "run", "--resume")
    assert refused.returncode == 2
    wanted = (
        "--resume: run holds another study: refit of the arm 'verified' is refit with other code"
    )
    assert wanted in refused.stderr


def test_a_run_goes_on_with_more_seeds_and_rounds(project):
    """Counts of the settings may grow; another setting may not change."""
    assert call(project, "--preset", "smoke", "--out", "run").returncode == 0
    first = about(project / "run")
    more = ("--set", "seeds=6", "--set", "rounds=6", "--out", "run", "--resume")
    ran = call(project, "--preset", "smoke", *more)
    assert ran.returncode == 0, ran.stderr
    assert len(Records.read(project / "run")) == 2 * 6 * 7
    assert about(project / "run")["config"]["seeds"] == 6 and about(project / "run")["finished"]
    (earlier,) = about(project / "run")["earlier"]
    kept = ("commit", "dirty", "device", "seconds")
    assert earlier == {name: first[name] for name in kept}
    refused = call(project, "--preset", "smoke", *more, "--set", "reach=1")
    assert refused.returncode == 2 and "holds a run with reach = 1.5, got 1.0" in refused.stderr


def test_a_unit_that_fails_is_named_at_the_end_and_the_rest_is_kept(project):
    """Exit code 1; corrected, the run goes on with what is missing."""
    script = project / "mine.py"
    good = script.read_text()
    script.write_text(
        good.replace("    return float(batch.mean())", "    return 1 / (len(batch) < 100)")
    )
    ran = call(project, "--preset", "smoke", "--out", "run")
    assert ran.returncode == 1
    last = ran.stderr.splitlines()[-1]
    assert last.startswith(
        "mine: 5 units failed, unverified-seed0: ZeroDivisionError: division by zero; "
    )
    assert "in refit" in ran.stderr and about(project / "run")["finished"] is False
    records = Records.read(project / "run")
    assert {row["round"] for row in records.select(arm="unverified")} == {0}
    assert len(records.failed) == 5 and records.failed[0]["round"] == 1


def test_a_wrong_setting_is_blamed_on_the_setting(project):
    ran = call(project, "--preset", "smoke", "--set", "reach=-1")
    assert ran.returncode == 2 and ran.stderr.startswith(
        "mine: --set: reach: got -1, must be greater than 0"
    )
    assert not (project / "runs").exists()


def test_redrawing_needs_the_records_alone(project):
    assert call(project, "--preset", "smoke", "--out", "run").returncode == 0
    figure = (project / "run" / "figure.png").read_bytes()
    (project / "run" / "figure.png").unlink()
    (project / "run" / "run.json").unlink()
    assert call(project, "--redraw", "run").returncode == 0
    assert (project / "run" / "figure.png").read_bytes() == figure


def test_neither_a_figure_nor_a_summary_is_needed(project):
    """Then the last line says where the records are."""
    script = project / "mine.py"
    script.write_text(
        script.read_text().replace(
            "main(Settings, study, draw, summarise)", "main(Settings, study)"
        )
    )
    ran = call(project, "--preset", "smoke", "--out", "run")
    assert ran.returncode == 0 and ran.stdout == f"records: {Path('run') / 'records.jsonl'}\n"
    redrawn = call(project, "--redraw", "run")
    assert redrawn.returncode == 2 and "mine draws no figure" in redrawn.stderr


def test_a_folder_in_which_another_process_runs_is_one_sentence(project, holding):
    """Whether the run is to be resumed or new; and nothing in the folder changes."""
    options = ("--preset", "smoke", "--out", "run")
    assert call(project, *options).returncode == 0
    with holding(project / "run" / ".lock") as other:
        ran = call(project, *options, "--resume")
        told = f"mine: --out: run is in use by process {other.pid} on "
        assert ran.returncode == 2 and ran.stderr.startswith(told) and ran.stderr.count("\n") == 1
    (project / "new").mkdir()
    with holding(project / "new" / ".lock"):
        ran = call(project, "--preset", "smoke", "--out", "new")
        assert ran.returncode == 2 and "--out: new is in use by process" in ran.stderr
        assert {path.name for path in (project / "new").iterdir()} == {".lock"}


def test_a_figure_takes_the_place_of_a_link_and_does_not_follow_it(project):
    assert call(project, "--preset", "smoke", "--out", "run").returncode == 0
    (project / "mine.txt").write_text("mine")
    for name in ("figure.png", ".figure.png.tmp", "figure.pdf"):
        (project / "run" / name).unlink(missing_ok=True)
        (project / "run" / name).symlink_to(project / "mine.txt")
    assert call(project, "--redraw", "run").returncode == 0
    assert (project / "mine.txt").read_text() == "mine"
    assert not any(path.is_symlink() for path in (project / "run").iterdir())


def test_redrawing_imports_nothing_from_the_current_folder(project):
    """It may be a run folder from somebody else."""
    assert call(project, "--preset", "smoke", "--out", "run").returncode == 0
    script = project / "mine.py"
    text = script.read_text()
    head = "def draw(records: vl.Records) -> Figure:\n"
    assert head in text
    script.write_text(text.replace(head, f"{head}    import sys; print(sys.path)\n"))
    away = project / "away"
    away.mkdir()
    ran = call_apart(away, project / "mine.py", "--redraw", project / "run")
    assert ran.returncode == 0 and "site-packages" in ran.stdout and str(away) not in ran.stdout
