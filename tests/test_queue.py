"""What SLURM is asked, how often, and how its answers are read: one call for all jobs, and not again once it hangs."""

import time
from pathlib import Path

import pytest

from mixbench.launch.slurm import queue
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Array, SlurmJob, jobs
from mixbench.launch.slurm.queue import last_states, parse_indices, queued
from mixbench.run.folder import Run
from mixbench.system.files import to_json
from tests import fake_runs
from tests.shell import Shell
from tests.slurm_commands import Commands


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands.on_path(tmp_path / "bin", monkeypatch)


def run_of(folder: Path, *arrays: tuple[str, int], clusters: str | None = None) -> list[SlurmJob]:
    """A run's jobs, one trial each, in arrays of these numbers and sizes."""
    trials = [fake_runs.trial("convmixer_256_8", seed) for seed in range(sum(size for _, size in arrays))]
    run, left = fake_runs.write_run(folder, trials, []), iter(trials)
    for index, (number, size) in enumerate(arrays):
        profile = Profile(time=30, clusters=clusters)
        given = tuple((next(left).id,) for _ in range(size))
        array = Array(
            name=f"mixbench-{index}", profile=profile, nodes=1, processes_per_node=1, jobs=given, slurm_id=number
        )
        (run.jobs / f"{index + 1:04d}").mkdir(parents=True)
        (run.jobs / f"{index + 1:04d}/array.json").write_text(to_json(array))
        for job in range(size):
            (run.jobs / f"{index + 1:04d}/{job}").mkdir()
    return list(jobs(Run(folder)))


@pytest.mark.parametrize(
    ("text", "found"),
    [("7", {7}), ("[0-3]", {0, 1, 2, 3}), ("[1,3-5%2]", {1, 3, 4, 5}), ("", set()), ("[0-9,11%100]", {*range(10), 11})],
)
def test_the_indices_of_an_array_as_slurm_prints_them(text: str, found: set[int]) -> None:
    assert parse_indices(text) == found


def test_sacct_is_asked_once_for_all_jobs_that_are_gone(commands: Commands, tmp_path: Path) -> None:
    """As SLURM 22.05 prints them: an array that never began under its bare number, what was pending as a range."""
    found = run_of(tmp_path / "run", ("20", 5), ("21", 2), ("22", 1), ("", 1))
    commands.set("accounts", "20_0|COMPLETED\n20_3|NODE_FAIL\n20_[1-3%2]|CANCELLED by 0\n21|CANCELLED by 7\n")
    states = {f"{job.array.slurm_id}_{job.index}": state for job in found if (state := last_states(found).get(job.key))}
    assert states == {
        "20_0": "COMPLETED",
        "20_1": "CANCELLED by 0",
        "20_2": "CANCELLED by 0",
        "20_3": "NODE_FAIL",
        "21_0": "CANCELLED by 7",
        "21_1": "CANCELLED by 7",
    }
    commands.calls("sacct")
    last_states(found)
    [asked] = commands.calls("sacct")
    assert "--jobs=20,21,22 " in asked


def test_an_accounting_that_hangs_is_waited_for_once(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mixbench: Shell
) -> None:
    found = run_of(tmp_path / "run", *((str(number), 40) for number in range(20, 23)))
    commands.set("hang-sacct")
    monkeypatch.setattr(queue, "ASK_SECONDS", 0.5)
    monkeypatch.setattr(queue, "ARRAYS_A_CALL", 1)
    begun = time.monotonic()
    assert last_states(found) == {}
    assert time.monotonic() - begun < 5 and len(commands.calls("sacct")) == 1
    code, out, _ = mixbench("status", tmp_path / "run")
    assert code == 0 and out.count("SLURM's accounts do not say how") == 8 and "and 112 more jobs have\n" in out
    assert len(commands.calls("sacct")) == 1 and len(commands.calls("squeue")) == 3


def test_the_queue_of_another_cluster_is_asked_for(commands: Commands, tmp_path: Path) -> None:
    [job] = run_of(tmp_path / "run", ("20", 1), clusters="far")
    assert queued([job.array]) == {} and last_states([job]) == {}
    assert all(call.startswith("--clusters=far ") for call in (*commands.calls("squeue"), *commands.calls("sacct")))
