"""Killed at any moment and run again, a trial ends as if nothing had happened: the same weights to the bit."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mixbench.run.folder import Run
from mixbench.run.predictions import read_predictions
from mixbench.run.record import Record, read_record
from tests.trials import SMALL, write_suite

DEADLINE = 300
STEPS = 60
DYING = Path(__file__).with_name("dying.py")
MODELS: dict[str, Any] = {"batchnorm": SMALL["splitmixer"], "layernorm": SMALL["mixer"], "dropout": "mortal"}
MOMENTS = [  # moment, and how often it comes to pass at least in a training that saves at each epoch's end
    ("step", 55),
    ("evaluate", 3),
    ("write", 2),
    ("delete", 1),
    ("before step", 2),
    ("after step", 2),
    ("before latest", 2),
    ("after latest", 2),
    ("before weights.safetensors", 1),
    ("after weights.safetensors", 1),
    ("before predictions.npz", 1),
    ("after predictions.npz", 1),
    ("before record.json", 2),
    ("after record.json", 2),
    ("clock", 1),
    ("launcher", 1),
    ("SIGINT", 1),
    ("SIGTERM", 1),
    ("SIGHUP", 1),
]
FROM_OUTSIDE = ("clock", "launcher", "SIGINT", "SIGTERM", "SIGHUP")


@dataclass(frozen=True)
class Case:
    """One trial and its death: `moment` comes `count` times before `rank` dies of it."""

    model: str
    processes: int
    zero_stage: int
    moment: str
    count: int
    rank: int

    @classmethod
    def drawn(cls, seed: int) -> "Case":
        """The moments in turn, all else at random."""
        rng = random.Random(seed)
        moment, most = MOMENTS[seed % len(MOMENTS)]
        processes = rng.choice([1, 2])
        everywhere = moment in ("step", "evaluate", "write", "clock")
        rank = rng.randrange(processes) if everywhere else 0
        return cls(rng.choice(list(MODELS)), processes, rng.choice([0, 1]), moment, rng.randint(1, most), rank)


def command_of(case: Case, folder: Path) -> list[str]:
    folder.mkdir()
    suite = write_suite(
        folder,
        models=[MODELS[case.model]],
        plugins=[str(DYING)],
        measure=["accuracy"],
        recipe={
            "epochs": 3,
            "global_batch_size": 70,
            "zero_stage": case.zero_stage,
            "optimizer": {"name": "adamw", "lr": 0.01},
            "augment": {"flip": True, "mixup": 0.2},
        },
        resources={"processes_per_node": case.processes},
        checkpoint={"minutes": 0.002, "epochs": 1},
        keep_weights=True,
    )
    return [sys.executable, "-m", "mixbench", "run", str(suite), "--out", str(folder / "run")]


def run(command: list[str], diary: Path, case: Case | None = None) -> tuple[int, str]:
    """The exit code of a run, which is killed as the case wants it, and what it says."""
    environment = os.environ | {"DIARY": str(diary)}
    if case and case.moment not in FROM_OUTSIDE:
        environment["DIE_AT"] = f"{case.moment}:{case.count}:{case.rank}"
    process = subprocess.Popen(
        command,
        env=environment,
        preexec_fn=lambda: [signal.signal(each, signal.SIG_DFL) for each in (signal.SIGINT, signal.SIGHUP)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if case and case.moment in FROM_OUTSIDE:
            kill_somewhere(process, Path(command[-1]), diary, case)
        output, errors = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert "Traceback" not in errors, errors
    return process.returncode, output


def kill_somewhere(process: subprocess.Popen[str], run: Path, diary: Path, case: Case) -> None:
    """Kill a rank, or the launcher, or stop the launcher by a signal, when some steps have been taken."""
    steps = random.Random(str(case)).randint(1, STEPS - 5)
    deadline = time.monotonic() + DEADLINE
    while not diary.exists() or diary.read_text().count("step") < steps:
        assert process.poll() is None and time.monotonic() < deadline, "it ended before it could be killed"
    if case.moment == "clock":
        os.kill(int(next(run.glob(f"jobs/*/rank-{case.rank}.pid")).read_text()), signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL if case.moment == "launcher" else signal.Signals[case.moment])
    with open(diary, "a") as file:
        file.write("died\n")


def outcome(folder: Path) -> tuple[dict[str, Any], str, list[str]]:
    """What a trial has come to: its record but for times, its weights, and all files of its folder."""
    [trial] = (folder / "run" / "trials").iterdir()
    files = sorted(str(path.relative_to(trial)) for path in trial.rglob("*"))
    record: Record = read_record(trial / "record.json")
    assert record.status == "done" and record.details.curve is not None, record.error
    facts = record.model_dump(include={"top1", "top5", "test_loss", "train_loss", "epochs", "flags", "error"})
    facts["curve"] = [replace(epoch, seconds=0.0) for epoch in record.details.curve.epochs]
    facts["predictions"] = record.details.curve.predictions
    read_predictions(Run(folder / "run"), record)
    return facts, hashlib.sha256((trial / "weights.safetensors").read_bytes()).hexdigest(), files


Undisturbed = dict[tuple[Any, ...], Any]


def without_death(case: Case, folder: Path, undisturbed: Undisturbed) -> Any:
    """What the case's trial comes to where nothing disturbs it; it is run once."""
    key = case.model, case.processes, case.zero_stage
    if key not in undisturbed:
        whole = folder / "-".join(map(str, key))
        assert run(command_of(case, whole), whole / "diary")[0] == 0
        undisturbed[key] = outcome(whole)
        assert undisturbed[key][2] == ["predictions.npz", "record.json", "trial.json", "weights.safetensors"]
    return undisturbed[key]


def die_and_resume(case: Case, folder: Path, undisturbed: Undisturbed) -> int:
    """Kill and run again; the number of steps that the resumed run was spared."""
    whole = without_death(case, folder, undisturbed)
    disturbed = folder / "disturbed"
    command, diary = command_of(case, disturbed), disturbed / "diary"
    code, _ = run(command, diary, case)
    assert "died" in diary.read_text(), "it was to be killed"
    codes = {"launcher": -signal.SIGKILL, "SIGINT": 130, "SIGTERM": 130, "SIGHUP": 130}
    assert code in ([codes[case.moment]] if case.moment in codes else [0, 1])
    begun = list(disturbed.glob("run/trials/*/checkpoint/step-*/manifest.json"))
    again = disturbed / "again"
    code, said = run(command, again)
    assert code == 0
    assert outcome(disturbed) == whole
    spared = STEPS - (again.read_text().count("step") if again.exists() else 0)
    assert (spared > 0) >= bool(begun), "it goes on from its checkpoint"
    assert ("goes on from a checkpoint" in said) == (bool(begun) and code == 0 and "done already" not in said)
    return spared


@pytest.fixture(scope="module")
def undisturbed() -> Undisturbed:
    return {}


REDUCED = [
    (Case("dropout", 1, 0, "step", 47, 0), 40),
    (Case("batchnorm", 1, 0, "write", 3, 0), 0),
    (Case("dropout", 1, 0, "before latest", 2, 0), 1),
    (Case("batchnorm", 1, 0, "before record.json", 1, 0), 40),
    (Case("layernorm", 1, 0, "after predictions.npz", 1, 0), 40),
    (Case("dropout", 1, 0, "launcher", 1, 0), 0),
    (Case("layernorm", 2, 1, "step", 50, 1), 40),
    (Case("batchnorm", 1, 0, "SIGHUP", 1, 0), 0),
]


@pytest.mark.slow
@pytest.mark.parametrize(("case", "spared"), REDUCED, ids=lambda value: getattr(value, "moment", ""))
def test_killed_and_run_again_a_trial_ends_as_if_nothing_had_happened(
    case: Case, spared: int, tmp_path: Path, undisturbed: Undisturbed
) -> None:
    assert die_and_resume(case, tmp_path, undisturbed) >= spared, "it goes on from its last checkpoint"


@pytest.mark.slow
def test_when_one_rank_cannot_write_its_checkpoint_the_trial_fails_with_the_reason_and_later_goes_on(
    tmp_path: Path, undisturbed: Undisturbed
) -> None:
    case, disturbed = Case("layernorm", 2, 1, "refuse", 2, 1), tmp_path / "disturbed"
    command = command_of(case, disturbed)
    assert run(command, disturbed / "diary", case)[0] == 1
    [trial] = (disturbed / "run" / "trials").iterdir()
    assert read_record(trial / "record.json").error == "the checkpoint could not be written: No space left on device"
    assert len(list((trial / "checkpoint").glob("step-*"))) == 1 and not list((trial / "checkpoint").glob(".*"))
    assert run(command, disturbed / "again")[0] == 0
    assert outcome(disturbed) == without_death(case, tmp_path, undisturbed)


def main(count: int, folder: Path) -> None:
    """All kinds of death, `count` in all: python -m tests.test_resume 50 FOLDER."""
    undisturbed: Undisturbed = {}
    tried, lost = Counter[str](), Counter[str]()
    for seed in range(count):
        case = Case.drawn(seed)
        place = folder / str(seed)
        place.mkdir(parents=True)
        tried[case.moment] += 1
        try:
            print(f"{seed:3} {case}: spared {die_and_resume(case, place, undisturbed)} of {STEPS} steps", flush=True)
        except AssertionError as error:
            lost[case.moment] += 1
            print(f"{seed:3} {case}: LOST {error}", flush=True)
    for moment, _ in MOMENTS:
        print(f"{moment:28} tried {tried[moment]:3}  lost {lost[moment]}")
    print(f"{'all':28} tried {tried.total():3}  lost {lost.total()}")
    sys.exit(bool(lost))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
