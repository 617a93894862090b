"""How an attempt of a job ended, judged by what its ranks left: the first cause, not what followed from it."""

from typing import Any

import pytest

from mixbench.launch.slurm.after import MARK, Verdict, judge, of_this_attempt, told_of
from mixbench.launch.slurm.jobs import Note
from mixbench.launch.slurm.queue import facts_in, seconds_in


def note(rank: int, state: str = "runs", **facts: Any) -> Note:
    return Note.model_validate({"rank": rank, "host": "n1", "pid": 7, "state": state} | facts)


LOST = dict(error="RuntimeError: Connection closed by peer", lost=True)
OOM = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been OOM Killed."


@pytest.mark.parametrize(
    ("found", "said", "verdict"),
    [
        ([note(0, "done"), note(1, "done")], "", Verdict("done")),
        ([note(0, "stopped", signal="SIGUSR2"), note(1, "stopped", signal="SIGUSR2")], "",
         Verdict("stopped", 0, "SIGUSR2")),
        ([note(0, "runs", signal="SIGTERM"), note(1, "runs", signal="SIGTERM")], "", Verdict("stopped", 0, "SIGTERM")),
        ([note(0, "done"), note(1, "stopped", signal="SIGUSR2")], "", Verdict("stopped", 0, "SIGUSR2")),
        ([note(0, "failed", at=2, **LOST), note(1, "failed", at=3, error="ValueError: no", traceback="in f")], "",
         Verdict("raised", 1, "ValueError: no", "in f")),
        ([note(0, "failed", at=5, error="KeyError: a"), note(1, "failed", at=4, error="KeyError: b")], "",
         Verdict("raised", 1, "KeyError: b")),
        ([note(0, "stopped", signal="SIGTERM", at=9), note(1, "failed", at=8, error="ValueError: no")], "",
         Verdict("raised", 1, "ValueError: no")),
        ([note(0, "failed", **LOST), note(1)], "", Verdict("vanished", 1)),
        ([note(0, "stopped", signal="SIGTERM"), note(1)], "", Verdict("vanished", 1)),
        ([note(0, "failed", **LOST), note(1)], f"srun: x\n{OOM}\n", Verdict("memory", 1, OOM)),
        ([note(0, "stopped", signal="SIGUSR2"), note(1, "stopped", signal="SIGUSR2")], OOM,
         Verdict("stopped", 0, "SIGUSR2")),
        ([note(0, "failed", **LOST), note(1, "failed", at=-1, error="DistNetworkError: x", lost=True)], "",
         Verdict("lost", 1, "DistNetworkError: x")),
        ([], "srun: error: Unable to create step", Verdict("unborn")),
        ([note(0, "done")], "", Verdict("unborn")),
    ],
)  # fmt: skip
def test_the_first_cause_counts(found: list[Note], said: str, verdict: Verdict) -> None:
    assert judge(found, 2, said) == verdict


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("45", 45),
        ("1:05", 65),
        ("2:00:01", 7201),
        ("1-00:00:00", 86400),
        ("UNLIMITED", float("inf")),
        ("", float("inf")),
    ],
)
def test_times_of_slurm(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


def test_what_scontrol_says() -> None:
    line = "JobId=7 ArrayJobId=6 JobName=mixbench-x JobState=RUNNING Reason=None Restarts=2 NodeList=n[1-2]"
    assert facts_in(line)["Restarts"] == "2" and facts_in(line)["NodeList"] == "n[1-2]"


@pytest.mark.parametrize(
    ("rank", "told"),
    [(0, " on n1: Exited with exit code 1"), (2, " on n1: Exited with exit code 1"), (3, " on n2: Killed"), (4, "")],
)
def test_what_srun_says_of_a_rank(rank: int, told: str) -> None:
    said = "srun: error: n2: task 3: Killed\nsrun: error: n1: tasks 0-1,2: Exited with exit code 1\n"
    assert told_of(rank, said) == told


def test_what_an_earlier_attempt_said_is_past() -> None:
    first, second = "srun: a\nsrun: b\n", "slurmstepd: REQUEUE\nsrun: c\n"
    assert of_this_attempt(first) == first
    assert of_this_attempt(f"{first}{MARK}0 ended with exit code 1: died\n{second}") == second
    assert of_this_attempt(f"{first}{MARK}0 ended: x\n{first}{MARK}1 ended: y\n{second}") == second
