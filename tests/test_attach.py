"""A run in SLURM as the launcher sees it: what it submits, keeps and waits for, and what it says of each."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixbench.cli.messages import say_end
from mixbench.cli.terminal import console
from mixbench.launch.slurm import attach
from mixbench.launch.slurm.attach import Launch
from mixbench.launch.slurm.cluster_profile import load
from mixbench.launch.slurm.jobs import is_waiting, jobs, read_backlog, taken_backlog
from mixbench.launch.slurm.submit import top_up
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.progress import Progress
from mixbench.system.files import to_json, write_atomically
from tests.shell import Shell
from tests.slurm_commands import Commands
from tests.trials import write_suite


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands.on_path(tmp_path / "bin", monkeypatch)


def words(folder: Path, seeds: int, **profile: Any) -> list[str | Path]:
    """The command of a run of so many trials, a job each."""
    (folder / "profile.yaml").write_text(yaml.safe_dump({"time": 20, "trials_per_job": 1} | profile))
    suite = write_suite(folder, measure=["complexity"], seeds=list(range(seeds)))
    return ["run", suite, "--cluster", folder / "profile.yaml", "--out", folder / "run", "--detach"]


def launched(run: Run, folder: Path) -> Launch:
    """A launcher that waits for what is in the queue already."""
    trials = [run.trial(trial_id) for trial_id in run.planned()]
    launch = Launch(run, Inventory(run), trials, load(str(folder / "profile.yaml")))
    launch.begin()
    return launch


def statuses(mixbench: Shell, run: Run) -> dict[str, int]:
    counts: dict[str, int] = json.loads(mixbench("status", run.folder, "--json")[1])["counts"]
    return {status: count for status, count in counts.items() if count}


@pytest.mark.parametrize("what", ["folder", "array.json"])
def test_a_trial_that_is_in_no_job_is_not_waited_for(
    what: str, commands: Commands, tmp_path: Path, mixbench: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mixbench(*words(tmp_path, 2))[0] == 0
    run = Run(tmp_path / "run")
    for trial_id in run.planned():
        write_atomically(
            run.progress_file(trial_id), to_json(Progress(part="accuracy", done=1, total=5, updated_at=0.0))
        )
    (run.jobs / "0001/0/current").write_text(run.planned()[0])
    commands.becomes("20_0", "RUNNING")
    assert statuses(mixbench, run) == {"running": 1, "pending": 1}
    launch = launched(run, tmp_path)
    assert (launch.attached, launch.submitted) == (2, 0)
    if what == "folder":
        shutil.rmtree(run.jobs)
    else:
        (run.jobs / "0001/array.json").write_text("{")
    commands.set("queue")
    assert statuses(mixbench, run) == {"pending": 2}, "and nothing runs"

    for name in ("POLL_SECONDS", "QUEUE_SECONDS"):
        monkeypatch.setattr(attach, name, 0.05)
    monkeypatch.setattr(attach, "GONE_SECONDS", 0.3)
    begun = time.monotonic()
    assert list(launch.outcomes(print)) == [] and time.monotonic() - begun > 0.3
    assert launch.gone == [
        f"2 trials of no job any more, pending again: {run.jobs} does not hold the files of their jobs"
    ]
    assert not any(run.progress(trial_id) for trial_id in run.planned())
    assert "2 trials submitted" in mixbench(*words(tmp_path, 2))[1]


def test_jobs_that_left_the_queue_are_told_of_in_a_few_lines(
    commands: Commands, tmp_path: Path, mixbench: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert mixbench(*words(tmp_path, 12))[0] == 0
    launch = launched(Run(tmp_path / "run"), tmp_path)
    commands.set("queue")
    commands.set("accounts", "20_[0-11]|CANCELLED by 0\n")
    for name in ("POLL_SECONDS", "QUEUE_SECONDS"):
        monkeypatch.setattr(attach, name, 0.05)
    monkeypatch.setattr(attach, "GONE_SECONDS", 0.1)
    assert list(launch.outcomes(print)) == []
    assert launch.gone[0] == "1 of its trials are pending again: job 20_0 (gone from the queue CANCELLED by 0)"
    assert len(launch.gone) == 9 and launch.gone[-1] == "and 4 more jobs"
    assert len(commands.calls("sacct")) == 1


def test_what_slurm_has_no_room_for_is_told_and_submitted_when_there_is(
    commands: Commands, tmp_path: Path, mixbench: Shell
) -> None:
    commands.set("limit", 3)
    code, out, err = mixbench(*words(tmp_path, 8))
    run = Run(tmp_path / "run")
    assert code == 0, err
    assert "3 trials submitted, SLURM's queue has no room for 5 trials now (AssocMaxSubmitJobLimit)\n" in out
    assert "those: jobs submit them as they end" in out
    assert commands.queue() == ["20_0 PENDING", "20_1 PENDING", "21_0 PENDING"]
    backlog = read_backlog(run)
    assert backlog.most == 3 and len(backlog.trials) == 5
    assert statuses(mixbench, run) == {"pending": 8}
    said = mixbench("status", run.folder)[1]
    assert "5 trials not in the queue, for which it had no room: a job that ends submits them" in said

    commands.calls("sbatch")
    assert top_up(run) == 0 and len(commands.calls("sbatch")) == 1, "it is full: asked once, not by halves"
    for job in ("20_0", "20_1"):
        commands.becomes(job, "")
    assert top_up(run) == 2 and len(commands.calls("sbatch")) == 1
    code, out, _ = mixbench(*words(tmp_path, 8))
    assert "3 trials in the queue already, SLURM's queue has no room for 5 trials now" in out, "those of 20 are gone"
    commands.set("limit", 100)
    code, out, _ = mixbench(*words(tmp_path, 8))
    assert "5 trials submitted, 3 trials in the queue already" in out and not is_waiting(run)
    queue = {f"{job.array.slurm_id}_{job.index} PENDING": job.trials for job in jobs(run)}
    assert sorted(each for entry in commands.queue() for each in queue[entry]) == sorted(run.planned()), "each once"


def test_no_more_of_them_wait_in_the_queue_than_may_run_at_a_time(
    commands: Commands, tmp_path: Path, mixbench: Shell
) -> None:
    commands.set("limit", 4)
    mixbench(*words(tmp_path, 8, array_parallelism=2))
    run = Run(tmp_path / "run")
    assert len(commands.queue()) == 4
    commands.set("limit", 100)
    for job, submitted in (("20_0", 0), ("20_1", 0), ("20_2", 1), ("20_3", 1)):
        commands.becomes(job, "")
        assert top_up(run) == submitted


def test_a_queue_with_no_room_at_all_is_an_error_and_leaves_nothing(
    commands: Commands, tmp_path: Path, mixbench: Shell
) -> None:
    commands.set("limit", 0)
    code, _, err = mixbench(*words(tmp_path, 5))
    assert code == 2 and "none of these 5 was submitted: sbatch: error: AssocMaxSubmitJobLimit" in err
    assert list((tmp_path / "run/jobs").iterdir()) == []


def test_two_that_submit_the_rest_at_the_same_time_do_not_both(
    commands: Commands, tmp_path: Path, mixbench: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.set("limit", 1)
    mixbench(*words(tmp_path, 3))
    run = Run(tmp_path / "run")
    before = read_backlog(run)
    with taken_backlog(run):
        assert is_waiting(run) and not read_backlog(run).arrays and top_up(run) == 0
    assert read_backlog(run) == before
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Exception, match="squeue is not on"):
        top_up(run)
    assert read_backlog(run) == before, "kept for the next one"


def test_a_banner_of_the_site_is_not_the_jobs_number(commands: Commands, tmp_path: Path, mixbench: Shell) -> None:
    commands.set("banner", "Welcome: job 1 of 1, you have used 99 of 100 hours\n7 days left\n")
    assert mixbench(*words(tmp_path, 2))[0] == 0
    assert {job.array.slurm_id for job in jobs(Run(tmp_path / "run"))} == {"20"}


def test_a_changed_profile_that_jobs_in_the_queue_do_not_have_is_told(
    commands: Commands, tmp_path: Path, mixbench: Shell
) -> None:
    assert mixbench(*words(tmp_path, 2))[0] == 0
    same = mixbench(*words(tmp_path, 2, description="the same"))[1]
    assert "2 trials in the queue already" in same and "keep the profile" not in same
    code, out, _ = mixbench(*words(tmp_path, 2, time=40, environment={"A": "1"}))
    assert code == 0 and (
        "jobs in the queue keep the profile that they were submitted with: time 20, not 40; "
        f'environment {{}}, not {{"A": "1"}}.  To submit them with the new one: mixbench cancel {tmp_path / "run"}, '
    ) in out.replace("\n", " ")


def test_the_comment_names_the_run_and_each_jobs_trials(commands: Commands, tmp_path: Path, mixbench: Shell) -> None:
    assert mixbench(*words(tmp_path, 2))[0] == 0
    [call] = commands.calls("sbatch")
    first, second = Run(tmp_path / "run").planned()
    assert f"--comment={tmp_path / 'run'}; 0: {first}; 1: {second} " in call


def test_the_parallelism_of_queued_arrays_is_changed(commands: Commands, tmp_path: Path, mixbench: Shell) -> None:
    commands.set("limit", 2)
    mixbench(*words(tmp_path, 3))
    run = Run(tmp_path / "run")
    commands.calls("scontrol")
    code, out, err = mixbench("throttle", run.folder, "7")
    assert (code, out) == (0, f"2 arrays of {run.folder}: at most 7 at a time\n"), err
    assert commands.calls("scontrol") == [f"update JobId={number} ArrayTaskThrottle=7" for number in (20, 21)]
    backlog = read_backlog(run)
    left = (*backlog.arrays, *(job.array for job in jobs(run)))
    assert {array.profile.array_parallelism for array in left} == {7}
    commands.set("queue")
    code, _, err = mixbench("throttle", run.folder, "7")
    assert code == 2 and f"no job of {run.folder} is in the queue" in err
    assert mixbench("throttle", run.folder, "0")[0] == 2
    assert "is not a run folder" in mixbench("throttle", tmp_path, "1")[2]


@pytest.mark.parametrize(("folder", "said"), [([], ""), (["no space"], "once the folder can be written, ")])
def test_only_what_could_not_be_written_waits_for_the_folder(
    folder: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = ["1 of its trials are pending again: job 20_0 (cancelled)"]
    say_end(Run(tmp_path), [], [], [*folder, *gone], gone, console())
    err = capsys.readouterr().err
    assert gone[0] in err and f"mixbench: what was measured before is kept; {said}the same command goes on\n" in err
