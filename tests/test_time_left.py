"""The time left of a run: what is said while its trials train, against what they then took."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from mixbench.cli.time_left import TimeLeft
from mixbench.run.folder import Run
from mixbench.run.progress import Progress
from mixbench.run.record import Record
from mixbench.suite.trial import Trial
from tests import fake_runs

EPOCHS = {  # of a run on Fashion-MNIST, on a CPU: MACs of an image, seconds of three epochs
    "SplitMixer-I 1/2": (193_344, (17.5, 17.1, 17.0)),
    "SplitMixer-I 2/3": (259_200, (17.3, 17.6, 18.2)),
    "StrideMixer-III": (278_016, (33.6, 32.1, 31.5)),
    "ConvMixer": (553_200, (18.9, 18.7, 18.8)),
    "MLP-Mixer": (3_061_376, (26.7, 26.9, 26.9)),
}
STEP = 0.5
"""Seconds between two looks at the run."""


def trials_of(names: list[str], seeds: int, epochs: int = 3) -> list[Trial]:
    """Trials as a suite plans them: each network with the first seed, then each with the next."""
    found = []
    for seed in range(seeds):
        for name in names:
            trial = fake_runs.trial("convmixer_256_8", seed, label=name, overrides={"name": name})
            recipe = trial.recipe.model_copy(update={"epochs": epochs})
            found.append(trial.model_copy(update={"id": f"{name}-{seed}", "recipe": recipe}))
    return found


def counted(trial: Trial, speed: float | None = None) -> Record:
    """The record of a trial that is yet to be trained."""
    facts = {"macs": EPOCHS[trial.label][0], "train_samples_per_sec": speed}
    return fake_runs.done(trial, 90.0, status="pending", **facts)


def epoch(done: int, at: float, total: int = 3) -> Progress:
    return Progress(part="accuracy", done=done, total=total, updated_at=at)


def watched(run: Run, trials: list[Trial]) -> Iterator[tuple[float, float | None]]:
    """Yield the moment and what is said at it, at each look at trials that run one after the other."""
    left, now, random = TimeLeft(run, trials, 0.0), 0.0, Random(0)
    for trial in trials:
        ends = [now]
        for seconds in EPOCHS[trial.label][1]:
            ends.append(ends[-1] + seconds * random.uniform(0.97, 1.03))
        while now < ends[-1] + 1:  # a second for its record
            done = sum(end <= now for end in ends[1:])
            left.see({trial.id: epoch(done, ends[done])})
            yield now, left.seconds(now)
            now += STEP
        left.end(fake_runs.done(trial, 90.0), now)
    yield now, left.seconds(now)


def test_time_left_comes_true_and_does_not_jump(tmp_path: Path) -> None:
    trials = trials_of(list(EPOCHS), seeds=3)
    run = fake_runs.write_run(tmp_path, trials, list(map(counted, trials)))
    said = list(watched(run, trials))
    end, first_seeds = said[-1][0], said[-1][0] / 3
    assert all(seconds is None for now, seconds in said if now < 17)
    known = [(now, seconds) for now, seconds in said if seconds is not None]
    assert known[0][0] < 19
    steps = [(now, after - before) for (_, before), (now, after) in pairwise(known)]
    assert max(abs(step) for _, step in steps) < 0.02 * end
    later = [(now, seconds) for now, seconds in known if now > first_seeds]
    assert max(abs(seconds - (end - now)) for now, seconds in later) < 0.05 * end
    assert max(step for now, step in steps if now > first_seeds) < 2 * STEP
    assert known[-1][1] < 2


def test_timed_speeds_tell_of_networks_that_were_not_trained_yet(tmp_path: Path) -> None:
    trials = trials_of(["ConvMixer", "MLP-Mixer"], seeds=1, epochs=4)
    records = [counted(trial, speed) for trial, speed in zip(trials, (5000.0, 500.0), strict=True)]
    left = TimeLeft(fake_runs.write_run(tmp_path, trials, records), trials, 0.0)
    left.see({trials[0].id: epoch(0, 0.0, 4)})
    left.see({trials[0].id: epoch(1, 12.0, 4)})
    assert left.seconds(12.0) == pytest.approx(3 * 12 + 4 * 120)


def test_epochs_of_an_earlier_job_do_not_count_as_trained_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of(["ConvMixer"], seeds=1, epochs=50)
    run = fake_runs.write_run(tmp_path, trials, [])
    monkeypatch.setattr(Run, "has_checkpoint", lambda *_: True)
    left = TimeLeft(run, trials, 0.0)
    for done, at in ((0, 0.0), (41, 10.0), (42, 20.0)):
        left.see({trials[0].id: epoch(done, at, 50)})
    assert left.seconds(20.0) == pytest.approx(8 * 10)


def test_trials_that_run_at_once_share_the_time(tmp_path: Path) -> None:
    trials = trials_of(["ConvMixer"], seeds=4, epochs=2)
    left = TimeLeft(fake_runs.write_run(tmp_path, trials, []), trials, 0.0)
    for done, at in ((0, 0.0), (1, 10.0)):
        left.see({trial.id: epoch(done, at, 2) for trial in trials[:2]})
    assert left.seconds(10.0) == pytest.approx((2 * 10 + 2 * 20) / 2)
    for trial in trials[:2]:
        left.end(fake_runs.failed(trial, "no memory"), 10.0)
    assert left.seconds(1e6) == pytest.approx(2 * 20 / 2)


def test_where_nothing_is_trained_the_trials_that_have_ended_tell(tmp_path: Path) -> None:
    trials = [trial.model_copy(update={"measure": ("throughput",)}) for trial in trials_of(["ConvMixer"], seeds=6)]
    left = TimeLeft(fake_runs.write_run(tmp_path, trials, []), trials, 1000.0)
    left.end(fake_runs.done(trials[0], 90.0), 1010.0)
    assert left.seconds(1010.0) is None
    left.end(fake_runs.done(trials[1], 90.0), 1020.0)
    assert left.seconds(1020.0) == pytest.approx(40)
    assert left.seconds(1025.0) == pytest.approx(35)
    assert left.seconds(2000.0) == 0.0
