"""What a person sees while a run goes on: the live display, the plain lines, every label as it is."""

import io
import os
import queue
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mixbench.cli.progress_display import Watch
from mixbench.results.rows import settings_by_trial
from mixbench.run.folder import Run
from mixbench.run.progress import Progress, describe
from mixbench.run.record import Record
from mixbench.suite.trial import Trial
from mixbench.system.files import write_atomically
from mixbench.system.polling import polls
from tests import fake_runs

LABEL = "[red]x[/] [ratio=3/5] :boom:"


@pytest.fixture
def trials() -> list[Trial]:
    return [fake_runs.trial("convmixer_256_8", seed, label=LABEL) for seed in range(4)]


def watching(folder: Path, trials: list[Trial], width: int = 100, terminal: bool = True) -> Watch:
    run = fake_runs.write_run(folder, trials, [])
    stream = io.StringIO()
    return Watch(run, trials, Console(file=stream, width=width, force_terminal=terminal, highlight=False, markup=True))


def at_work(run: Run, trial: Trial, progress: Progress) -> None:
    """As a worker leaves it: the job names the trial that it is at, the trial its progress."""
    write_atomically(run.jobs / "0001" / "current", trial.id)
    run.write_progress(trial.id, progress)


def shown(watch: Watch) -> str:
    """What the live display shows, without colours."""
    console = Console(file=io.StringIO(), width=watch.console.width, record=True)
    console.print(watch.render())
    return console.export_text()


def epoch(done: int) -> Progress:
    return Progress(part="accuracy", done=done, total=25, loss=0.4123, samples_per_sec=5210.4, updated_at=0.0)


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (epoch(3), "x d seed 0: epoch 3/25, loss 0.412, 5,210 images/s"),
        (Progress(part="accuracy", done=0, total=25, updated_at=0), "x d seed 0: epoch 0/25"),
        (
            Progress(part="throughput", done=7, total=20, seconds_left=80.2, updated_at=0),
            "x d seed 0: throughput, round 7 of 20, about 1:20 left, inference batch 256, training batch 512",
        ),
        (
            Progress(part="warm-up", done=3, total=20, seconds_left=3700, updated_at=0),
            "x d seed 0: throughput, warm-up, round 3 of at most 20, at most 1:01:40 left, "
            "inference batch 256, training batch 512",
        ),
        (
            Progress(part="warm-up", updated_at=0),
            "x d seed 0: throughput, warm-up, inference batch 256, training batch 512",
        ),
        (Progress(part="complexity", updated_at=0), "x d seed 0: complexity"),
    ],
)
def test_a_line_says_what_is_being_measured(progress: Progress, said: str) -> None:
    assert describe(fake_runs.trial("m", label="x", dataset="d"), progress) == said


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_display_fits_its_terminal_and_shows_how_far_a_trial_is(
    tmp_path: Path, trials: list[Trial], width: int
) -> None:
    watch = watching(tmp_path, trials, width)
    at_work(watch.run, trials[1], epoch(3))
    lines = [line.rstrip() for line in shown(watch).splitlines()]
    assert len(lines) == (2 if width == 120 else 3)
    assert "0/4 trials, 0:00" in lines[0]
    assert lines[1].startswith(f"{LABEL} cif")
    assert ("epoch 3/25, loss 0.412, 5,210 images/s" if width > 40 else "epoch 3/25, loss 0.412, ") in lines[-1]
    assert max(map(len, lines)) <= width


def test_the_display_shows_only_what_is_being_measured_now(tmp_path: Path, trials: list[Trial]) -> None:
    watch = watching(tmp_path, trials)
    assert len(shown(watch).splitlines()) == 1
    at_work(watch.run, trials[0], epoch(1))
    assert "seed 0: epoch 1/25" in shown(watch)
    at_work(watch.run, trials[2], epoch(2))
    watch.run.clear_progress(trials[0].id)
    assert "seed 0" not in shown(watch)
    assert "seed 2: epoch 2/25" in shown(watch)


def test_the_display_tells_the_time_left(tmp_path: Path, trials: list[Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watching(tmp_path, trials)
    began = watch.started
    monkeypatch.setattr("mixbench.cli.progress_display.time.time", lambda: began + 3600)
    for done, at in ((0, 0), (1, 3600)):
        at_work(watch.run, trials[0], epoch(done).model_copy(update={"updated_at": began + at}))
        text = shown(watch)
        assert ("left" in text) == (done == 1)
    assert "0/4 trials, 1:00:00, about 99:00:00 left" in text


def test_lines_name_the_settings_that_tell_trials_of_one_label_apart(tmp_path: Path) -> None:
    piecewise = fake_runs.trial("convmixer_256_8", label="x")
    trials = [piecewise]
    others: list[dict[str, Any]] = [{"gradient_accumulation": 2}, {"name": "long", "epochs": 50}]
    for number, changes in enumerate(others):
        recipe = piecewise.recipe.model_copy(update=changes)
        trials.append(piecewise.model_copy(update={"recipe": recipe, "id": f"another-{number}"}))
    size = {"arguments": piecewise.arguments | {"image_size": 64}, "id": "larger"}
    trials.append(piecewise.model_copy(update=size))
    watch = watching(tmp_path, trials, width=160)
    watch.settings = settings_by_trial(map(Record.pending, trials))
    at_work(watch.run, trials[1], epoch(3))
    accumulated = "x cifar10 seed 0, 32 px, recipe default, gradient_accumulation 2"
    assert watch.running() == [f"{accumulated}: epoch 3/25, loss 0.412, 5,210 images/s"]
    for trial in trials:
        watch.end(fake_runs.done(trial, 93.5))
    stream = watch.console.file
    assert isinstance(stream, io.StringIO)
    ends = [re.sub("\x1b.*?m", "", line).split("  ")[0] for line in stream.getvalue().splitlines()]
    assert ends == [
        "✓ 1/4 x cifar10 seed 0, 32 px, recipe default, gradient_accumulation 1",
        f"✓ 2/4 {accumulated}",
        "✓ 3/4 x cifar10 seed 0, 32 px, recipe long",
        "✓ 4/4 x cifar10 seed 0, 64 px, recipe default, gradient_accumulation 1",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_each_end_is_a_line_that_stays(tmp_path: Path, trials: list[Trial], terminal: bool) -> None:
    watch = watching(tmp_path, trials, terminal=terminal)
    ends: list[Record] = [fake_runs.done(trials[0], 93.5), fake_runs.failed(trials[1], "no [bold]memory[/] left")]
    with watch:
        for record in ends:
            watch.end(record)
    stream = watch.console.file
    assert isinstance(stream, io.StringIO)
    text = stream.getvalue()
    assert watch.ended == 2
    assert f"1/4 {LABEL}" in text
    assert "top-1 93.50 %, 812 images/s, 594,186 params" in text
    assert f"2/4 {LABEL}" in text
    assert "no [bold]memory[/] left" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_that_cannot_be_shown_is_said_and_shown_again_when_it_can_be(
    tmp_path: Path, trials: list[Trial], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr("mixbench.cli.progress_display.PLAIN_SECONDS", 0.001)
    watch = watching(tmp_path, trials, terminal=terminal)
    watch.console.file = stream = io.StringIO()
    at_work(watch.run, trials[0], epoch(7))
    with monkeypatch.context() as broken, watch:
        broken.setattr("mixbench.cli.progress_display.current_trials", lambda *_: os.environ["NO_SUCH_KEY"])
        assert any("measuring goes on: KeyError: 'NO_SUCH_KEY'" in stream.getvalue() for _ in polls(0.01, 20))
        broken.undo()
        assert any("seed 0: epoch 7/25" in stream.getvalue() for _ in polls(0.01, 20))


def test_without_a_terminal_a_plain_line_comes_now_and_then_where_something_is_new(
    tmp_path: Path, trials: list[Trial], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mixbench.cli.progress_display.PLAIN_SECONDS", 0.001)
    watch = watching(tmp_path, trials, terminal=False)
    at_work(watch.run, trials[0], epoch(7))
    printed: queue.Queue[str] = queue.Queue()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            printed.put(text)
            return super().write(text)

    watch.console.file = Stream()
    with watch:
        assert printed.get(timeout=20) == f"  {LABEL} cifar10 seed 0: epoch 7/25, loss 0.412, 5,210 images/s\n"
        with pytest.raises(queue.Empty):
            printed.get(timeout=0.2)
        at_work(watch.run, trials[0], epoch(8))
        assert "epoch 8/25" in printed.get(timeout=20)
