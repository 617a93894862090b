"""Throughput: interleaved rounds, each trial's own samples, and failures that leave the other trials unharmed."""

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixbench.measure import largest_batch, throughput, timed_model
from mixbench.measure.throughput import INTERLEAVED_BYTES, groups, measure
from mixbench.measure.timed_model import ImagePools, TimedModel
from mixbench.run.flags import Flag, Kind
from mixbench.run.record import Record
from mixbench.run.timings import Conditions, ThroughputSamples
from mixbench.suite.trial import Trial
from mixbench.train.distributed import World
from mixbench.zoo.registry import load_plugin
from tests.trials import RECIPE, SMALL, plan_trials


def never(trial: Trial, error: Exception) -> None:
    raise error


def test_rounds_are_interleaved_and_the_warmup_is_not_counted(tmp_path: Path, world: World) -> None:
    trials = plan_trials(tmp_path, models=[SMALL["mixer"], SMALL["convmixer"]])
    touched: list[str] = []
    outcomes = list(measure(trials, world, lambda trial, *_: touched.append(trial.id), never))
    ids = [trial.id for trial in trials]
    rounds = [touched[at : at + 2] for at in range(0, len(touched), 2)]
    assert rounds[0] == rounds[-1] == ids, (
        "models are built at the start, energy and communication are measured at the end"
    )
    assert len(rounds) == 1 + 2 + 3 + 2 and all(sorted(each) == sorted(ids) for each in rounds), "warm-up, three rounds"
    for (trial, samples), planned in zip(outcomes, trials, strict=True):
        assert trial.id == planned.id and samples.peak_memory_bytes is None, (
            "a CPU's memory is not attributed to a trial"
        )
        assert len(samples.infer_step_ms) == len(samples.train_step_ms) == 3
        assert samples.warmup == 2 and samples.interleaved_with == 1
        assert min(samples.infer_step_ms + samples.train_step_ms) > 0


def test_each_round_is_reported_with_its_number_and_the_time_left(tmp_path: Path, world: World) -> None:
    trials = plan_trials(tmp_path)
    reports: list[tuple[str, int, int, float | None]] = []
    list(measure(trials, world, lambda trial, *report: reports.append(report), never))
    assert [report[:3] for report in reports] == [
        ("warm-up", 0, 0),
        *(("warm-up", present, 2) for present in (1, 2)),
        *(("throughput", present, 3) for present in (1, 2, 3)),
        *[("throughput", 3, 3)] * 2,  # energy, communication
    ]
    left = [report[3] for report in reports]
    assert left[:3] == [None] * 3 and all(seconds is not None and seconds > 0 for seconds in left[3:-2])
    assert left[-2:] == [0.0, 0.0]


def test_the_time_left_shrinks_with_each_trial_of_a_round(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the usual round, not by the first one, in which kernels are chosen."""
    moments, slow = [0.0], iter([50.0, 50.0])
    monkeypatch.setattr("mixbench.measure.throughput.time.monotonic", lambda: moments[0])
    monkeypatch.setattr(
        "mixbench.measure.throughput._visit", lambda timed: moments.append(moments.pop() + next(slow, 2.0))
    )
    trials = plan_trials(tmp_path, models=["convmixer_256_8", "splitmixer_i_256_8"])
    lefts: list[float | None] = []
    list(measure(trials, world, lambda trial, *report: lefts.append(report[3]), never))
    assert lefts[:6] == [None] * 6  # models are built, two rounds of warm-up
    assert lefts[6:12] == [12.0, 10.0, 8.0, 6.0, 4.0, 2.0]


def test_training_steps_are_timed_at_each_of_train_batch_sizes(tmp_path: Path, world: World) -> None:
    protocol = {"batch_sizes": [8], "train_batch_sizes": [12, 30], "warmup": 0, "repeats": 1}
    trials = plan_trials(tmp_path, measure="throughput", throughput=protocol)
    assert [trial.recipe.global_batch_size for trial in trials] == [12, 30]
    assert len({trial.id for trial in trials}) == 2
    [as_recipe] = plan_trials(tmp_path, measure="throughput", recipe=RECIPE | {"global_batch_size": 30})
    assert as_recipe.id == trials[1].id, "it is the recipe's global_batch_size, which ids hash"
    models = [TimedModel(trial, world, ImagePools(world)) for trial in trials]
    assert [len(model.labels) for model in models] == [12, 30]
    for model in models:
        model.close()


def test_no_trial_always_follows_the_same_other_and_all_ranks_have_the_same_order(tmp_path: Path, world: World) -> None:
    trials = plan_trials(tmp_path, seeds=[0, 1, 2], throughput={"batch_sizes": [8], "warmup": 0, "repeats": 12})

    def order(drawn: int) -> list[int]:
        touched = []

        def now(trial: Trial, *rest: object) -> None:
            touched.append(trial.seed)
            for _ in range(drawn):
                random.random()

        list(measure(trials, world, now, never))
        return touched

    assert order(0) == order(1), "whatever numbers a rank has drawn by then"
    pairs = set(pairwise(order(0)[3:39]))
    assert len({pair for pair in pairs if pair[0] != pair[1]}) == 6, "each after each other"


def test_a_step_is_timed_at_the_trials_own_batch_sizes(tmp_path: Path, world: World) -> None:
    recipe = {"epochs": 1, "global_batch_size": 24, "gradient_accumulation": 2, "optimizer": {"lr": 0.001}}
    [trial] = plan_trials(tmp_path, recipe=recipe, throughput={"batch_sizes": [5]})
    timed = TimedModel(trial, world, ImagePools(world))
    seen: list[tuple[bool, int]] = []
    timed.engine.module.register_forward_hook(lambda module, inputs, _: seen.append((module.training, len(inputs[0]))))
    before = [parameter.clone() for parameter in timed.engine.module.parameters()]
    timed.set_mode("inference")
    timed.infer()
    assert seen == [(False, 5)]
    timed.set_mode("training")
    timed.train()
    assert seen[1:] == [(True, 12), (True, 12)]
    after = list(timed.engine.module.parameters())
    assert not all(torch.equal(old, new) for old, new in zip(before, after, strict=True)), "the update is timed too"
    timed.close()


def test_no_learning_rate_makes_a_model_diverge_while_it_is_timed(tmp_path: Path, world: World) -> None:
    recipe = {"global_batch_size": 8, "optimizer": {"name": "sgd", "lr": 1000, "momentum": 0.9}}
    [trial] = plan_trials(tmp_path, models=[SMALL["convmixer"]], recipe=recipe)
    timed = TimedModel(trial, world, ImagePools(world))
    timed.set_mode("training")
    for _ in range(60):
        timed.train()
    assert all(parameter.isfinite().all() for parameter in timed.engine.module.parameters())
    timed.close()


def test_a_trial_that_fails_is_reported_and_the_others_are_measured(tmp_path: Path, world: World) -> None:
    plugin = Path(__file__).with_name("faulty.py")
    load_plugin(plugin)
    trials = plan_trials(tmp_path, models=["raises", SMALL["mixer"]], plugins=[str(plugin)])
    failures: list[tuple[str, str]] = []
    outcomes = list(
        measure(trials, world, lambda *_: None, lambda trial, error: failures.append((trial.label, str(error))))
    )
    assert failures == [("raises", "a tensor of the wrong size <b>&")]
    assert [trial.id for trial, _ in outcomes] == [trials[1].id]
    assert len(outcomes[0][1].infer_step_ms) == 3


def test_a_trial_that_fails_within_a_round_is_reported_once_and_the_others_get_all_their_samples(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = Path(__file__).with_name("faulty.py")
    load_plugin(plugin)
    models = [SMALL["mixer"], "tires", SMALL["convmixer"]]
    protocol = {"batch_sizes": [8], "warmup": 0, "repeats": 4}
    first, tired, last = plan_trials(tmp_path, models=models, plugins=[str(plugin)], throughput=protocol)
    touched: list[str] = []
    failures: list[tuple[str, str]] = []
    closed: list[str] = []
    close = TimedModel.close

    def noting_close(timed: TimedModel) -> None:
        closed.append(timed.trial.id)
        close(timed)

    monkeypatch.setattr(TimedModel, "close", noting_close)
    outcomes = list(
        measure(
            [first, tired, last],
            world,
            lambda trial, *_: touched.append(trial.id),
            lambda trial, error: failures.append((trial.id, str(error))),
        )
    )
    assert failures == [(tired.id, "too tired for a third step")]
    everyone, rest = [first.id, tired.id, last.id], [first.id, last.id]
    assert sorted(touched[3:9]) == sorted(2 * everyone) and tired.id not in touched[9:], "it was built, and tried twice"
    assert touched[:3] == everyone and len(touched) == 3 + 2 * 3 + 2 * 2 + 2 * 2
    assert [trial.id for trial, _ in outcomes] == rest
    for _, samples in outcomes:
        assert len(samples.infer_step_ms) == len(samples.train_step_ms) == 4 and samples.interleaved_with == 1
    assert closed == [tired.id, *rest]


Clock = Callable[[Trial, str, int], float]


@pytest.fixture
def under_a_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[Clock], None]:
    """Fake the clock: it advances in a trial's steps only, by a function of (trial, kind, number of the step)."""

    def use(milliseconds: Clock) -> None:
        seconds = 1000.0
        calls: dict[tuple[str, str], int] = {}

        def taking(kind: str) -> Callable[[TimedModel], None]:
            def act(timed: TimedModel) -> None:
                nonlocal seconds
                key = (kind, timed.trial.id)
                calls[key] = calls.get(key, 0) + 1
                seconds += milliseconds(timed.trial, kind, calls[key]) / 1000

            return act

        monkeypatch.setattr(
            throughput, "time", SimpleNamespace(perf_counter=lambda: seconds, monotonic=lambda: seconds)
        )
        monkeypatch.setattr(TimedModel, "infer", taking("inference"))
        monkeypatch.setattr(TimedModel, "train", taking("training"))

    return use


def test_a_sample_is_the_milliseconds_of_its_own_action_alone(
    tmp_path: Path, world: World, under_a_clock: Callable[[Clock], None]
) -> None:
    protocol = {"batch_sizes": [8], "warmup": 0, "repeats": 3}
    trials = plan_trials(tmp_path, models=[SMALL["mixer"], SMALL["convmixer"]], throughput=protocol)
    under_a_clock(lambda trial, kind, call: call * (1 + trials.index(trial)) * (10 if kind == "training" else 1))
    (_, one), (_, other) = measure(trials, world, lambda *_: None, never)
    # the first call of each is the constructor's
    assert one.infer_step_ms == pytest.approx([2, 3, 4]) and one.train_step_ms == pytest.approx([20, 30, 40])
    assert other.infer_step_ms == pytest.approx([4, 6, 8]) and other.train_step_ms == pytest.approx([40, 60, 80])


def test_warm_up_ends_when_each_trials_medians_have_agreed_once(
    tmp_path: Path, world: World, under_a_clock: Callable[[Clock], None]
) -> None:
    protocol = {"batch_sizes": [8], "warmup": 3, "warmup_cap": 40, "repeats": 2}
    trials = plan_trials(tmp_path, models=[SMALL["mixer"], SMALL["convmixer"]], throughput=protocol)
    slow = trials[1].id

    def falling(trial: Trial, kind: str, call: int) -> float:
        """10 ms when warm: one trial from the start, the other after 8 training steps."""
        return 10 + (max(0, 9 - call) if trial.id == slow and kind == "training" else 0)

    under_a_clock(falling)
    for _, samples in measure(trials, world, lambda *_: None, never):
        assert samples.train_step_ms == pytest.approx([10, 10])
        assert samples.settled and samples.flags == flags_of(samples.conditions)
        # calls 2, 3, … are those of the rounds: the medians of the last six agree from call 8 + 1 + 4 on
        assert samples.warmup == 12


def test_a_warm_up_that_never_becomes_stable_ends_at_its_cap_and_is_flagged(
    tmp_path: Path, world: World, under_a_clock: Callable[[Clock], None]
) -> None:
    protocol = {"batch_sizes": [8], "warmup": 3, "warmup_cap": 11, "repeats": 2}
    trials = plan_trials(tmp_path, models=[SMALL["mixer"], SMALL["convmixer"]], throughput=protocol)
    under_a_clock(lambda trial, kind, call: 1.1**call if trial is trials[0] else 5.0)
    (_, restless), (_, calm) = measure(trials, world, lambda *_: None, never)
    assert not restless.settled and calm.settled and restless.warmup == calm.warmup == 11
    assert Flag(Kind.SPEED_STILL_MOVED, "11 rounds of warm-up") in restless.flags


def flags_of(conditions: Conditions | None) -> list[Flag]:
    """What the machine that the tests run on is flagged for just now."""
    return ThroughputSamples(
        infer_step_ms=[], train_step_ms=[], warmup=0, interleaved_with=0, conditions=conditions
    ).flags


def test_a_visit_of_many_steps_counts_as_one(tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps within a visit resemble each other even if the machine drifts: they do not prove a stable speed."""
    protocol = {"batch_sizes": [8], "warmup": 2, "warmup_cap": 9, "repeats": 1}
    [trial] = plan_trials(tmp_path, throughput=protocol)
    visits = iter(range(1000))

    def milliseconds(action: Callable[[], None], world: World, count: int = 1) -> list[float]:
        return [1.2 ** (next(visits) // 2)] * count

    monkeypatch.setattr(throughput, "_milliseconds", milliseconds)
    monkeypatch.setattr(throughput, "VISIT_MS", {"cpu": 100.0})
    [(_, samples)] = measure([trial], world, lambda *_: None, never)
    assert not samples.settled and samples.warmup == 9
    assert len(samples.infer_step_ms) == 20, "as many steps as a visit may have"


@pytest.mark.parametrize(
    ("times", "window", "agrees"),
    [
        ([10, 10.2], 1, True),
        ([10, 10.21], 1, False),
        ([10.3, 10], 1, False),
        ([99, 10, 10, 50, 10, 10, 1], 3, True),  # medians, of the last six
        ([10, 10, 10], 2, False),
        ([1, 1, 1, 2, 2, 2], 3, False),
    ],
)
def test_medians_agree_within_two_percent(times: list[float], window: int, agrees: bool) -> None:
    assert throughput.medians_agree(times, window) is agrees


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_each_step_gets_other_images_until_more_than_the_cache_was_used(
    memory_format: str, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timed_model, "cache_bytes", lambda device: 3 * 32 * 32 * 4 * 50)
    small, large, other = plan_trials(
        tmp_path,
        models=[SMALL["mixer"], SMALL["splitmixer"]],
        memory_format=[memory_format],
        datasets=["cifar10"],
        throughput={"batch_sizes": [30, 64], "warmup": 0},
    )[:3]
    pools = ImagePools(world)
    timed = TimedModel(small, world, pools)
    pool = timed.images["inference"]
    assert len(pool) == 100, "two caches of 50 images"
    assert pools.images(large, 64) is pools.images(other, 30) is pool is timed.images["training"]
    timed.next_image = 0
    batches = [timed.batch("inference") for _ in range(4)]
    assert torch.equal(torch.cat(batches[:3]), pool[:90]) and torch.equal(batches[3], batches[0])
    layout = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[memory_format]
    assert batches[1].is_contiguous(memory_format=layout)
    assert abs(pool.mean()) < 0.05 and abs(pool.std() - 1) < 0.05
    timed.close()
    assert len(pools.images(small, 130)) == 130


def test_a_training_batch_that_does_not_fit_in_memory_is_flagged_and_inference_still_measured(
    tmp_path: Path, world: World
) -> None:
    plugin = Path(__file__).with_name("faulty.py")
    load_plugin(plugin)
    trials = plan_trials(tmp_path, models=["hoards", SMALL["mixer"]], plugins=[str(plugin)])
    (_, hoards), (_, fine) = measure(trials, world, lambda *_: None, never)
    assert hoards.out_of_memory == ["training at batch 70"] and hoards.train_step_ms == []
    assert len(hoards.infer_step_ms) == len(fine.infer_step_ms) == len(fine.train_step_ms) == 3
    record = Record.pending(trials[0])
    record.add_throughput(hoards)
    assert record.train_samples_per_sec is None and record.infer_samples_per_sec
    assert Flag(Kind.OUT_OF_MEMORY, "training at batch 70") in record.flags
    assert "throughput" not in record.missing(trials[0].measure), "it is known, and not tried again"


def test_images_that_do_not_fit_in_memory_are_noted_too(tmp_path: Path, world: World) -> None:
    [trial] = plan_trials(tmp_path)
    more_than_any_address = 2**40  # 2^48 bytes
    timed = TimedModel(trial, world, ImagePools(world), more_than_any_address)
    assert timed.out_of_memory == {"inference": f"inference at batch {more_than_any_address:,}"}
    assert timed.kinds == ["training"] and len(timed.batch("training")) == 70
    assert timed.input_bytes == 70 * 64 * 4
    timed.close()
    few = TimedModel(trial, world, ImagePools(world), 5)
    assert few.input_bytes == 70 * 64 * 4, "the larger batch of the two"
    few.attempt("training", lambda: [torch.zeros(2**50)].clear())
    assert few.input_bytes == 5 * 64 * 4, "of those there is room for"
    few.close()


@pytest.mark.parametrize("what", ["_joules_per_image", "_communication"])
def test_a_failure_to_measure_energy_or_communication_is_flagged_and_keeps_the_timings(
    what: str, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = plan_trials(tmp_path, models=[SMALL["mixer"], SMALL["convmixer"]])
    blamed: list[str] = []
    touched: list[str] = []

    def fails(timed: TimedModel, *_: object) -> float | None:
        if timed.trial is not trials[1]:
            return None
        blamed.append(touched[-1])
        raise RuntimeError("the meter; is out\nof order")

    monkeypatch.setattr(throughput, what, fails)
    (_, fine), (_, other) = measure(trials, world, lambda trial, *_: touched.append(trial.id), never)
    assert blamed == [trials[1].id], "progress names the trial, in case the process dies"
    assert len(other.infer_step_ms) == len(other.train_step_ms) == 3
    thing = {"_joules_per_image": "energy", "_communication": "communication"}[what]
    assert Flag(Kind.NOT_MEASURED, f"{thing}: RuntimeError: the meter, is out") in other.flags
    assert not [flag for flag in fine.flags if flag.kind == Kind.NOT_MEASURED]


@given(st.integers(1, 3_000_000))
def test_the_largest_batch_is_found_within_a_thirtysecond(room: int) -> None:
    tried: list[int] = []

    def fits(count: int) -> bool:
        tried.append(count)
        return count <= room

    found = largest_batch._largest(fits)
    assert found <= room and (room - found <= found / 32 or found == largest_batch.MAX_BATCH)
    assert max(tried) <= largest_batch.MAX_BATCH, "no suite may ask for more"
    assert len(tried) <= 26


def test_batch_size_max_is_the_largest_that_fits_in_memory(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(largest_batch, "CPU_BYTES", 16 << 20)
    [trial, one] = plan_trials(tmp_path, throughput={"batch_sizes": ["max", 8], "warmup": 0, "repeats": 1})
    assert trial.infer_batch_size == "max" and Record.pending(trial).infer_batch_size is None
    assert [len(group) for group in groups([one, trial, one], {trial.id: 1, one.id: 1})] == [1, 1, 1]
    [(_, samples)] = measure([trial], world, lambda *_: None, never)
    # an image and its patches: 16 patches of 16 channels, of 4 bytes, several of them at once
    assert samples.infer_batch_size and 1_000 < samples.infer_batch_size < (16 << 20) / (64 * 4 + 16 * 16 * 4)
    record = Record.pending(trial)
    record.add_throughput(samples)
    assert record.infer_batch_size == samples.infer_batch_size
    step = samples.infer_step_ms[0]
    assert record.infer_samples_per_sec == pytest.approx(1000 * samples.infer_batch_size / step)


def test_the_peak_of_an_action_is_what_its_tensors_held_at_once() -> None:
    def action() -> None:
        one = torch.empty(5 << 20)
        del one
        two, three = torch.empty(2 << 20), torch.empty(4 << 20)
        del two, three

    assert largest_batch._peak_bytes(action) == 24 << 20


def test_groups_fit_on_the_device_and_hold_every_trial_once(tmp_path: Path) -> None:
    trials = plan_trials(tmp_path, seeds=list(range(5)))
    third = INTERLEAVED_BYTES // 16 // 3
    sizes = [third, third, third, 10 * third, 1]
    found = list(groups(trials, {trial.id: size for trial, size in zip(trials, sizes, strict=True)}))
    assert [[trial.seed for trial in group] for group in found] == [[0, 1, 2], [3], [4]]
    assert list(groups([], {})) == []


def test_a_group_has_at_most_24_trials_so_that_a_crash_loses_no_more(tmp_path: Path) -> None:
    trials = plan_trials(tmp_path, seeds=list(range(50)))
    found = list(groups(trials, dict.fromkeys((trial.id for trial in trials), 1000)))
    assert [len(group) for group in found] == [24, 24, 2] and [trial for group in found for trial in group] == trials
