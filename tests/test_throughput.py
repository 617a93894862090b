"""Throughput: rounds of one step of every trial, each trial's own samples, one bad trial harms no other."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mixbench.measure import throughput
from mixbench.measure.throughput import INTERLEAVED_BYTES, groups, measure
from mixbench.registry import load_plugin
from mixbench.trial import Trial
from mixbench.world import World
from tests.trials import SMALL, plan_trials


def never(trial: Trial, error: Exception) -> None:
    raise error


def test_rounds_are_interleaved_and_the_warmup_is_not_counted(tmp_path: Path, world: World) -> None:
    trials = plan_trials(tmp_path, models=[SMALL["mixer"], SMALL["convmixer"]])
    touched: list[str] = []
    outcomes = list(measure(trials, world, lambda trial, done, total: touched.append(trial.id), never))
    a, b = (trial.id for trial in trials)
    assert touched == [a, b] + [a, b] * (1 + 3), "building each, then warm-up and three rounds"
    for (trial, samples, peak_memory), planned in zip(outcomes, trials, strict=True):
        assert trial.id == planned.id and peak_memory is None, "a CPU's memory is not attributed to a trial"
        assert len(samples.infer_step_ms) == len(samples.train_step_ms) == 3
        assert samples.warmup == 1 and samples.interleaved_with == 1
        assert min(samples.infer_step_ms + samples.train_step_ms) > 0


def test_a_step_is_timed_at_the_trials_own_batch_sizes(tmp_path: Path, world: World) -> None:
    recipe = {"epochs": 1, "global_batch_size": 24, "gradient_accumulation": 2, "optimizer": {"lr": 0.001}}
    [trial] = plan_trials(tmp_path, recipe=recipe, throughput={"batch_sizes": [5]})
    subject = throughput.Subject(trial, world)
    seen: list[tuple[bool, int]] = []
    subject.engine.module.register_forward_hook(
        lambda module, inputs, _: seen.append((module.training, len(inputs[0])))
    )
    before = [parameter.clone() for parameter in subject.engine.module.parameters()]
    subject.infer()
    assert seen == [(False, 5)]
    subject.train()
    assert seen[1:] == [(True, 12), (True, 12)]
    after = list(subject.engine.module.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True)), "the update is timed too"
    subject.close()


def test_a_trial_that_fails_is_reported_and_the_others_are_measured(tmp_path: Path, world: World) -> None:
    plugin = Path(__file__).with_name("faulty.py")
    load_plugin(plugin)
    trials = plan_trials(tmp_path, models=["raises", SMALL["mixer"]], plugins=[str(plugin)])
    failures: list[tuple[str, str]] = []
    outcomes = list(
        measure(trials, world, lambda *_: None, lambda trial, error: failures.append((trial.label, str(error))))
    )
    assert failures == [("raises", "a tensor of the wrong size <b>&")]
    assert [trial.id for trial, _, _ in outcomes] == [trials[1].id]
    assert len(outcomes[0][1].infer_step_ms) == 3


def test_a_trial_that_fails_within_a_round_is_reported_once_and_the_others_get_all_their_samples(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Path(__file__).with_name("faulty.py")
    load_plugin(plugin)
    models = [SMALL["mixer"], "tires", SMALL["convmixer"]]
    first, tired, last = plan_trials(tmp_path, models=models, plugins=[str(plugin)])
    touched: list[str] = []
    failures: list[tuple[str, str]] = []
    closed: list[str] = []
    close = throughput.Subject.close

    def noting_close(subject: throughput.Subject) -> None:
        closed.append(subject.trial.id)
        close(subject)

    monkeypatch.setattr(throughput.Subject, "close", noting_close)
    outcomes = list(
        measure(
            [first, tired, last],
            world,
            lambda trial, done, total: touched.append(trial.id),
            lambda trial, error: failures.append((trial.id, str(error))),
        )
    )
    assert failures == [(tired.id, "too tired for a third step")]
    everyone, rest = [first.id, tired.id, last.id], [first.id, last.id]
    assert touched == everyone * 3 + rest * 2, "building each, warm-up, the first round, two without the tired one"
    assert [trial.id for trial, _, _ in outcomes] == rest
    for _, samples, _ in outcomes:
        assert len(samples.infer_step_ms) == len(samples.train_step_ms) == 3 and samples.interleaved_with == 1
    assert closed == [tired.id, *rest]


def test_a_sample_is_the_milliseconds_of_its_own_action_alone(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock moves in the actions only, each time by another amount."""
    trials = plan_trials(tmp_path, models=[SMALL["mixer"], SMALL["convmixer"]])
    seconds = 1000.0
    calls: dict[tuple[str, str], int] = {}

    def taking(action: str, unit: float) -> Callable[[throughput.Subject], None]:
        def act(subject: throughput.Subject) -> None:
            nonlocal seconds
            key = (action, subject.trial.id)
            calls[key] = calls.get(key, 0) + 1
            seconds += unit * calls[key] * (1 + trials.index(subject.trial))

        return act

    monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: seconds))
    monkeypatch.setattr(throughput.Subject, "infer", taking("infer", 0.001))
    monkeypatch.setattr(throughput.Subject, "train", taking("train", 0.01))
    (_, one, _), (_, other, _) = measure(trials, world, lambda *_: None, never)
    # the first two calls of each are the building's and the warm-up's
    assert one.infer_step_ms == pytest.approx([3, 4, 5]) and one.train_step_ms == pytest.approx([30, 40, 50])
    assert other.infer_step_ms == pytest.approx([6, 8, 10]) and other.train_step_ms == pytest.approx([60, 80, 100])


def test_lots_hold_what_fits_on_the_device_and_every_trial_once(tmp_path: Path) -> None:
    trials = plan_trials(tmp_path, seeds=list(range(5)))
    third = INTERLEAVED_BYTES // 16 // 3
    sizes = [third, third, third, 10 * third, 1]
    lots = list(groups(trials, {trial.id: size for trial, size in zip(trials, sizes, strict=True)}))
    assert [[trial.seed for trial in lot] for lot in lots] == [[0, 1, 2], [3], [4]]
    assert list(groups([], {})) == []
