"""How an attempt of a job ended, judged by what its ranks left: the first cause, not what followed from it."""

from typing import Any

import pytest

from mixbench.launch.slurm.after import MARK, AttemptEnd, attempt_end, of_this_attempt, srun_message
from mixbench.launch.slurm.jobs import RankStatus
from mixbench.launch.slurm.queue import parse_facts, parse_seconds


def status(rank: int, state: str = "runs", **facts: Any) -> RankStatus:
    return RankStatus.model_validate({"rank": rank, "host": "n1", "pid": 7, "state": state} | facts)


LOST = dict(error="RuntimeError: Connection closed by peer", lost=True)
OOM = "slurmstepd: error: Detected 1 oom_kill event in StepId=7.0. Some of the step tasks have been OOM Killed."


@pytest.mark.parametrize(
    ("found", "said", "end"),
    [
        ([status(0, "done"), status(1, "done")], "", AttemptEnd("done")),
        ([status(0, "stopped", signal="SIGUSR2"), status(1, "stopped", signal="SIGUSR2")], "",
         AttemptEnd("stopped", 0, "SIGUSR2")),
        ([status(0, "runs", signal="SIGTERM"), status(1, "runs", signal="SIGTERM")], "",
         AttemptEnd("stopped", 0, "SIGTERM")),
        ([status(0, "done"), status(1, "stopped", signal="SIGUSR2")], "", AttemptEnd("stopped", 0, "SIGUSR2")),
        ([status(0, "failed", at=2, **LOST), status(1, "failed", at=3, error="ValueError: no", traceback="in f")], "",
         AttemptEnd("error", 1, "ValueError: no", "in f")),
        ([status(0, "failed", at=5, error="KeyError: a"), status(1, "failed", at=4, error="KeyError: b")], "",
         AttemptEnd("error", 1, "KeyError: b")),
        ([status(0, "stopped", signal="SIGTERM", at=9), status(1, "failed", at=8, error="ValueError: no")], "",
         AttemptEnd("error", 1, "ValueError: no")),
        ([status(0, "failed", **LOST), status(1)], "", AttemptEnd("crashed", 1)),
        ([status(0, "stopped", signal="SIGTERM"), status(1)], "", AttemptEnd("crashed", 1)),
        ([status(0, "failed", **LOST), status(1)], f"srun: x\n{OOM}\n", AttemptEnd("out of memory", 1, OOM)),
        ([status(0, "stopped", signal="SIGUSR2"), status(1, "stopped", signal="SIGUSR2")], OOM,
         AttemptEnd("stopped", 0, "SIGUSR2")),
        ([status(0, "failed", **LOST), status(1, "failed", at=-1, error="DistNetworkError: x", lost=True)], "",
         AttemptEnd("disconnected", 1, "DistNetworkError: x")),
        ([], "srun: error: Unable to create step", AttemptEnd("not started")),
        ([status(0, "done")], "", AttemptEnd("not started")),
    ],
)  # fmt: skip
def test_the_first_cause_counts(found: list[RankStatus], said: str, end: AttemptEnd) -> None:
    assert attempt_end(found, 2, said) == end


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
    assert parse_seconds(text) == seconds


def test_what_scontrol_says() -> None:
    line = "JobId=7 ArrayJobId=6 JobName=mixbench-x JobState=RUNNING Reason=None Restarts=2 NodeList=n[1-2]"
    assert parse_facts(line)["Restarts"] == "2" and parse_facts(line)["NodeList"] == "n[1-2]"


@pytest.mark.parametrize(
    ("rank", "told"),
    [(0, " on n1: Exited with exit code 1"), (2, " on n1: Exited with exit code 1"), (3, " on n2: Killed"), (4, "")],
)
def test_what_srun_says_of_a_rank(rank: int, told: str) -> None:
    said = "srun: error: n2: task 3: Killed\nsrun: error: n1: tasks 0-1,2: Exited with exit code 1\n"
    assert srun_message(rank, said) == told


def test_what_an_earlier_attempt_said_is_past() -> None:
    first, second = "srun: a\nsrun: b\n", "slurmstepd: REQUEUE\nsrun: c\n"
    assert of_this_attempt(first) == first
    assert of_this_attempt(f"{first}{MARK}0 ended with exit code 1: died\n{second}") == second
    assert of_this_attempt(f"{first}{MARK}0 ended: x\n{first}{MARK}1 ended: y\n{second}") == second
