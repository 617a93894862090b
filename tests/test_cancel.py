"""`mixbench cancel`: what it asks of SLURM, and where it asks nothing; a real one is in tests/slurm/test_verbs.py."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Array, State, is_waiting, jobs, taken_backlog
from mixbench.run.claim import claimed
from mixbench.run.folder import Run
from mixbench.system import polling
from mixbench.system.files import to_json
from tests import fake_runs
from tests.refusals import snapshot
from tests.shell import Shell
from tests.slurm_commands import Commands


def in_slurm(folder: Path) -> tuple[Run, str]:
    """A run whose only trial is in a job, and that trial."""
    trial = fake_runs.trial("convmixer_256_8", 0)
    run = fake_runs.write_run(folder, [trial], [])
    (run.jobs / "0001/0").mkdir(parents=True)
    array = Array(name="mixbench-a", profile=Profile(time=30), nodes=1, processes_per_node=1, jobs=((trial.id,),))
    (run.jobs / "0001/array.json").write_text(to_json(array))
    return run, trial.id


def test_a_run_on_this_machine_is_ended_where_it_runs(mixbench: Shell, tmp_path: Path) -> None:
    run = fake_runs.full_run(tmp_path / "run")
    with claimed(run.lock, print):
        code, out, err = mixbench("cancel", run.folder)
    assert (code, out) == (2, "")
    assert f"{run.folder} is not in SLURM; it is run by process " in err
    assert "end it there with Ctrl-C, or with: kill " in err
    assert mixbench("cancel", run.folder) == (
        0,
        f"no job of {run.folder} is in the queue: there was nothing to cancel\n",
        "",
    )
    facts = json.loads(mixbench("cancel", run.folder, "--json")[1])
    assert facts == {"run": str(run.folder), "cancelled": []}


def test_what_is_no_run_is_said_so(mixbench: Shell, tmp_path: Path) -> None:
    code, out, err = mixbench("cancel", tmp_path)
    assert (code, out) == (2, "") and "is not a run folder" in err


def test_where_slurm_cannot_be_asked_nothing_is_done(
    mixbench: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = in_slurm(tmp_path / "run")
    monkeypatch.setenv("PATH", "/nowhere")
    before = snapshot(run.folder)
    code, out, err = mixbench("cancel", run.folder)
    assert (code, out) == (2, "")
    assert err == "mixbench: squeue is not on this machine's PATH; nothing was done, the same command tries again\n"
    assert snapshot(run.folder) == before
    assert [job.state() for job in jobs(run)] == [State()]


def test_jobs_that_a_damaged_file_hides_are_told_of(mixbench: Shell, tmp_path: Path) -> None:
    run, _ = in_slurm(tmp_path / "run")
    (run.jobs / "0001/array.json").write_text("{")
    code, out, err = mixbench("cancel", run.folder)
    assert (code, out) == (2, "")
    assert "jobs/0001/array.json is damaged" in err and "cancel them with scancel" in err


@pytest.mark.parametrize("in_queue", [True, False])
def test_jobs_of_another_user_are_refused_as_run_refuses_them(
    in_queue: bool, mixbench: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """squeue shows them, or hides them: PrivateData=jobs."""
    commands = Commands.on_path(tmp_path / "bin", monkeypatch)
    run, _ = in_slurm(tmp_path / "run")
    [job] = jobs(run)
    (run.jobs / "0001/array.json").write_text(to_json(job.array.model_copy(update={"user": 4321})))
    with taken_backlog(run) as backlog:
        backlog.arrays = (job.array,)
    commands.set("queue", "mixbench-a|0|20|RUNNING|n1|None\n" * in_queue)
    before = snapshot(run.folder)
    code, out, err = mixbench("cancel", run.folder)
    assert (code, out) == (2, "")
    assert err == f"mixbench: {run.folder} has jobs in SLURM of the user with number 4321: only they can\n"
    assert commands.calls("scancel") == [] and snapshot(run.folder) == before

    job.end("done")  # in the queue as it is about to be requeued
    if in_queue:
        assert mixbench("cancel", run.folder)[0] == 2 and commands.calls("scancel") == []


def test_slurm_is_asked_ever_less_often_and_a_job_that_ends_not_cancelled_again(
    mixbench: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands.on_path(tmp_path / "bin", monkeypatch)
    run, _ = in_slurm(tmp_path / "run")
    with taken_backlog(run) as backlog:
        backlog.arrays = (next(jobs(run)).array,)
    commands.set("queue", "mixbench-a|0|20|RUNNING|n1|None\n")
    commands.set("deaf")
    clock, pauses = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        pauses.append(seconds)
        commands.becomes("20_0", "COMPLETING" if clock[0] < 40 else "")

    monkeypatch.setattr(polling, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    code, out, err = mixbench("cancel", run.folder)
    assert code == 0 and out.startswith("1 job cancelled (1 running)"), err
    assert pauses == [1, 2, 4, 8, 10, 10, 10]
    assert len(commands.calls("squeue")) == 8 and len(commands.calls("scancel")) == 1
    assert [job.state().ended for job in jobs(run)] == ["cancelled"] and not is_waiting(run)
