"""`mixbench cancel` where SLURM is not asked, or cannot be; the rest is in tests/slurm/test_verbs.py."""

import json
from pathlib import Path

import pytest

from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Array, State, jobs
from mixbench.run.claim import claimed
from mixbench.run.folder import Run
from mixbench.system.files import to_json
from tests import fake_runs
from tests.refusals import snapshot
from tests.shell import Shell


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
