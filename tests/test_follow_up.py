"""What a job does when its trials have ended: its exit code, the jobs that waited for room, the report."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mixbench.launch.slurm import after, follow_up
from mixbench.launch.slurm.batch_script import setup
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Array, SlurmJob, State, is_waiting, jobs, read_backlog, taken_backlog
from mixbench.run import claim
from mixbench.run.claim import claimed
from mixbench.run.folder import Run
from mixbench.system.files import to_json
from tests import fake_runs
from tests.slurm_commands import Commands


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.setattr("mixbench.report.write.write", lambda run: (run.folder / "report.html").touch())
    return Commands.on_path(tmp_path / "bin", monkeypatch)


def submitted(commands: Commands, folder: Path, outcomes: list[str], nodes: int = 1) -> list[SlurmJob]:
    """The jobs of a run in the queue, a trial each, which ended as said: done, failed, or empty."""
    trials = [fake_runs.trial("convmixer_256_8", seed) for seed in range(len(outcomes))]
    made = {"done": lambda each: fake_runs.done(each, 90.0), "failed": lambda each: fake_runs.failed(each, "no")}
    records = [made[how](each) for each, how in zip(trials, outcomes, strict=True) if how]
    run = fake_runs.write_run(folder, trials, records)
    array = Array(
        name="mixbench-a-1234",
        profile=Profile(time=600, signal_seconds=120, dependency="afterok:7"),
        nodes=nodes,
        processes_per_node=1,
        jobs=tuple((each.id,) for each in trials),
        slurm_id="20",
    )
    for index in range(len(trials)):
        (run.jobs / f"0001/{index}/0").mkdir(parents=True)
    (run.jobs / "0001/array.json").write_text(to_json(array))
    commands.set("number", 20)
    commands.set("queue", "".join(f"{array.name}|{index}|20|RUNNING|n1|None\n" for index in range(len(trials))))
    return list(jobs(Run(folder)))


def backlog_of(run: Run, seeds: range, most: int) -> list[str]:
    """Trials, a job each, that wait for room."""
    trials = [fake_runs.trial("mixer_s_4", seed) for seed in seeds]
    run.write_plan("name: cifar\n", [*(run.trial(trial_id) for trial_id in run.planned()), *trials])
    given = tuple((each.id,) for each in trials)
    profile = Profile(time=600, dependency="afterok:7")
    array = Array(name="mixbench-b-1", profile=profile, nodes=1, processes_per_node=1, jobs=given)
    with taken_backlog(run) as backlog:
        backlog.arrays, backlog.most = (array,), most
    return [each.id for each in trials]


@pytest.mark.parametrize(
    ("outcome", "status", "code"),
    [("done", "0", 0), ("failed", "0", 1), ("failed", "1", 1), ("done", "1", 0)],
)
def test_the_exit_code_says_if_a_trial_failed_for_good(
    outcome: str, status: str, code: int, commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sacct`, mail and `afterok` go by the batch script's, which is that of this module."""
    [job, _] = submitted(commands, tmp_path / "run", [outcome, ""])
    for name, value in {"FOLDER": job.array_folder.path, "JOB": "JobState=RUNNING Restarts=0"}.items():
        monkeypatch.setenv(f"MIXBENCH_{name}", str(value))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    with pytest.raises(SystemExit) as ended:
        after.main(status)
    assert ended.value.code == code
    assert job.state() == State(ended="done") and not (tmp_path / "run/report.html").exists(), "another job still runs"


def test_a_trial_that_a_later_job_was_given_is_not_this_jobs_failure(commands: Commands, tmp_path: Path) -> None:
    [job] = submitted(commands, tmp_path / "run", [""])
    assert not after._is_good(job)
    backlog_of(job.run, range(1), 1)
    with taken_backlog(job.run) as backlog:
        backlog.arrays = (job.array,)
    assert after._is_good(job) and job.unfinished() == []


@pytest.mark.parametrize(("code", "requeued"), [(0, 0), (1, 0), (75, 1)])
def test_the_batch_script_ends_with_that_code(code: int, requeued: int, tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "python").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "python").chmod(0o755)
    lines = [*setup(Profile(time=30, python=str(tmp_path / "python"))), "true"]
    done = subprocess.run(["bash"], input="\n".join(lines), text=True, cwd=tmp_path, env=None, timeout=60)
    assert done.returncode == code
    assert sum(call.startswith("requeue") for call in commands.calls("scontrol")) == requeued


def test_a_job_that_ends_submits_what_waited_for_room(commands: Commands, tmp_path: Path) -> None:
    first, second = submitted(commands, tmp_path / "run", ["done", "done"])
    given = backlog_of(first.run, range(3), most=2)
    commands.set("limit", 2)
    first.end("done")
    follow_up.follow_up(first)
    assert len(commands.queue()) == 2, "it is in the queue itself until it has ended"
    commands.becomes("20_0", "")
    second.end("done")
    begun = time.monotonic()
    follow_up.follow_up(second)
    assert time.monotonic() - begun < 5 and commands.queue() == ["20_1 RUNNING", "21_0 PENDING"]
    new = list(jobs(first.run))[-1]
    assert new.trials == (given[0],) and new.array.profile.dependency is None, "its dependency is met: SLURM forgets it"
    left = read_backlog(first.run)
    assert left.trials == set(given[1:]) and not (tmp_path / "run/report.html").exists()


def test_of_jobs_that_end_together_the_last_one_waits_for_the_others_room(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = submitted(commands, tmp_path / "run", ["done", "done"])
    backlog_of(first.run, range(1), most=2)
    commands.set("limit", 2)
    pauses: list[float] = []

    def pausing(every: float, seconds: float) -> Iterator[None]:
        while sum(pauses) < seconds:
            yield
            pauses.append(every)
            if len(pauses) == 3 and not any(first.run.jobs.glob(".waiting-*")):
                commands.becomes("20_0", "")

    monkeypatch.setattr(follow_up, "polls", pausing)
    for job in (first, second):
        job.end("done")
    with taken_backlog(first.run):  # by the first, while the second looks
        follow_up._submit_waiting(second)
    assert sum(pauses) == follow_up.LAST_SECONDS
    pauses.clear()
    monkeypatch.setattr(follow_up, "LOOKS", 1)
    follow_up._submit_waiting(first)
    assert pauses == [5], "it looks again, lest the second left before the first had ended, and then makes room"
    pauses.clear()
    follow_up._submit_waiting(second)
    assert len(pauses) == 3 and not is_waiting(first.run) and "21_0 PENDING" in commands.queue()


@pytest.mark.parametrize("nodes", [1, 2])
def test_the_last_job_has_the_report_made_but_not_on_several_nodes(
    nodes: int, commands: Commands, tmp_path: Path
) -> None:
    [job] = submitted(commands, tmp_path / "run", ["done"], nodes=nodes)
    job.end("done")
    follow_up.follow_up(job)
    made = tmp_path / "run/report.html"
    assert made.exists() == (nodes == 1)
    if nodes == 2:
        new = list(jobs(job.run))[-1]
        assert (new.trials, new.world_size) == ((), 1)
        assert (new.array.profile.time, new.array.profile.dependency) == (30, None)
        commands.becomes("20_0", "")
        new.end("done")
        follow_up.follow_up(new)
        assert made.exists(), "by the job of one node"


def test_a_process_that_waits_for_the_run_makes_the_report_itself(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "HEARTBEAT_SECONDS", 0.5)
    [job] = submitted(commands, tmp_path / "run", ["done"], nodes=2)
    job.end("done")
    with claimed(job.run.lock, print):
        follow_up.follow_up(job)
    assert not commands.calls("sbatch")


def test_what_goes_wrong_is_printed_and_the_report_made(
    commands: Commands, tmp_path: Path, capsys: pytest.CaptureFixture[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    [job] = submitted(commands, tmp_path / "run", ["done"])
    backlog_of(job.run, range(1), most=2)
    (commands.folder / "squeue").write_text("#!/bin/sh\necho 'squeue: error: no' >&2\nexit 1\n")
    job.end("done")
    follow_up.follow_up(job)
    assert "squeue: error: no" in capsys.readouterr().err and (tmp_path / "run/report.html").exists()
    assert is_waiting(job.run)


def test_in_a_container_the_run_folder_alone_says_which_job_is_the_last(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has none of SLURM's commands."""
    first, second = submitted(commands, tmp_path / "run", ["done", "done"], nodes=2)
    monkeypatch.setenv("PATH", "/nowhere")
    first.end("done")
    follow_up.follow_up(first)
    assert not (tmp_path / "run/report.html").exists()
    second.end("done")
    follow_up.follow_up(second)
    assert (tmp_path / "run/report.html").exists()
