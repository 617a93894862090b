"""Throughput in inference and training, images per second, of a group of trials in interleaved rounds.

A round visits each trial once and times a step of it, or a few.  Each round has its own order, so that a drifting
machine affects all trials alike, and no trial always follows the same other.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from statistics import fmean, median
from typing import Any, TypeVar

import torch

from mixbench.measure import communication
from mixbench.measure.conditions import MachineMonitor
from mixbench.measure.largest_batch import largest_batch
from mixbench.measure.timed_model import (
    ImagePools,
    Kind,
    TimedModel,
    allocated,
    free_memory,
    prepare_cublas,
)
from mixbench.run.progress import WARM_UP
from mixbench.run.timings import Communication, Conditions, ThroughputSamples
from mixbench.suite.trial import Trial
from mixbench.train.distributed import World

INTERLEAVED_BYTES = 2 << 30
"""Limit for the models of a group on the device: weights, gradients and AdamW's two moments, 4 bytes each."""
MAX_INTERLEAVED = 24
"""Trials in a group: results are written when the whole group is done, so a crash loses up to a group."""
MAX_DIFFERENCE = 0.02
"""Relative difference of two medians up to which the speed counts as stable."""
VISIT_MS = {"cuda": 20.0, "cpu": 0.0}
"""Duration of a visit, of at least one step; each is timed.  On a GPU one short step would vary with its launch."""
MAX_STEPS_IN_VISIT = 20
ENERGY_SECONDS = 2.0
"""Duration of inference for measuring energy: the GPU's energy counter is updated every 20 to 100 ms."""
OnProgress = Callable[[Trial, str, int, int, float | None], None]
"""Progress callback: (trial, `warm-up` or `throughput`, present round, number of rounds, seconds left if known)."""
OnFailure = Callable[[Trial, Exception], None]
Measured = TypeVar("Measured")


def groups(trials: list[Trial], params: dict[str, int]) -> Iterator[list[Trial]]:
    """Split trials into groups whose models fit in INTERLEAVED_BYTES; a larger one, or batch size `max`, is alone."""
    group: list[Trial] = []
    used = 0
    for trial in trials:
        need = 16 * params[trial.id] if trial.infer_batch_size != "max" else INTERLEAVED_BYTES + 1
        if group and (used + need > INTERLEAVED_BYTES or len(group) == MAX_INTERLEAVED):
            yield group
            group, used = [], 0
        group.append(trial)
        used += need
    if group:
        yield group


def measure(
    trials: list[Trial], world: World, on_progress: OnProgress, on_failure: OnFailure
) -> Iterator[tuple[Trial, ThroughputSamples]]:
    """Time a group of trials in interleaved rounds; collective.  Trials that raise go to `on_failure` and drop out.

    `on_progress` is called before each trial's turn, so that a crash can be attributed to a trial.
    """
    with _cudnn_benchmark():
        group = _Group(trials, world, on_progress, on_failure)
        warmup = group.warm_up()
        monitor = MachineMonitor(world)
        for round_ in range(max(trial.throughput.repeats for trial in trials)):
            group.round(round_)
            monitor.sample()
        joules = {
            timed.trial.id: group.measure_extra(timed, "energy", partial(_joules_per_image, timed, monitor))
            for timed in group
        }
        device_memory = monitor.gpu.memory_bytes() if monitor.gpu else None
        conditions = monitor.summary()
        for timed in group:
            communicated = group.measure_extra(timed, "communication", partial(_communication, timed))
            timed.close()
            samples = group.samples(timed, warmup, conditions)
            extras: dict[str, Any] = {"device_memory_bytes": device_memory, "communication": communicated}
            yield timed.trial, samples.model_copy(update=extras | {"joules_per_image": joules[timed.trial.id]})


class _Group:
    """Trials that are timed in interleaved rounds, with their models."""

    def __init__(self, trials: list[Trial], world: World, on_progress: OnProgress, on_failure: OnFailure):
        self.world, self.on_progress, self.on_failure = world, on_progress, on_failure
        self.timed_models: list[TimedModel] = []
        self.settled = {trial.id for trial in trials if trial.throughput.warmup == 0}
        self.unmeasured: dict[str, list[str]] = {}
        self._round_seconds: list[float] = []
        free_memory(world)
        prepare_cublas(world)
        pools = ImagePools(world)
        for trial in trials:
            on_progress(trial, WARM_UP, 0, 0, None)
            try:
                largest = largest_batch(trial, world) if trial.infer_batch_size == "max" else None
                self.timed_models.append(TimedModel(trial, world, pools, largest))
            except Exception as error:
                on_failure(trial, error)
                free_memory(world)

    def __iter__(self) -> Iterator[TimedModel]:
        return iter(self.timed_models)

    def warm_up(self) -> int:
        """Run rounds until each trial has been stable once, or reached its cap; return their number.

        Not until all are stable at the same time, which noise would delay forever.
        """
        rounds = 0
        while any(self._is_warming_up(timed, rounds) for timed in self.timed_models):
            self.round(rounds, WARM_UP)
            rounds += 1
            self.settled |= {timed.trial.id for timed in self.timed_models if _is_stable(timed)}
        for timed in self.timed_models:
            for times in timed.times.values():
                times.clear()
        return rounds

    def _is_warming_up(self, timed: TimedModel, rounds: int) -> bool:
        return timed.trial.id not in self.settled and rounds < _warmup_cap(timed)

    def round(self, done: int, part: str = "throughput") -> None:
        """Visit each trial, in round number `done` + 1 of the warm-up, or if it needs so many repeats.

        The order is the same on every rank.
        """
        repeats = max((timed.trial.throughput.repeats for timed in self.timed_models), default=0)
        total, later = (max(map(_warmup_cap, self.timed_models)), repeats) if part == WARM_UP else (repeats, 0)
        usual = self._round_seconds[1:]  # kernels are chosen in the first
        rounds_left = fmean(usual) * (total - done + later) if usual else None
        order = random.Random(len(self._round_seconds) + 1).sample(self.timed_models, len(self.timed_models))
        began = time.monotonic()
        for timed in [each for each in order if part == WARM_UP or done < each.trial.throughput.repeats]:
            left = None if rounds_left is None else max(0.0, rounds_left - (time.monotonic() - began))
            self.on_progress(timed.trial, part, done + 1, total, left)
            try:
                _visit(timed)
            except Exception as error:
                self.on_failure(timed.trial, error)
                self.timed_models.remove(timed)
                timed.close()
                free_memory(self.world)
        self._round_seconds.append(time.monotonic() - began)

    def measure_extra(self, timed: TimedModel, name: str, action: Callable[[], Measured | None]) -> Measured | None:
        """Measure something beside the speed.  An error is noted in the samples, gives None, and keeps the timings.

        With several ranks, which must stay in step, the error is raised.
        """
        repeats = timed.trial.throughput.repeats
        self.on_progress(timed.trial, "throughput", repeats, repeats, 0.0)
        try:
            return action()
        except Exception as error:
            if self.world.size > 1:
                raise
            message = f"{name}: {type(error).__name__}: {error}".splitlines()[0].replace(";", ",")
            self.unmeasured.setdefault(timed.trial.id, []).append(message)
            return None

    def samples(self, timed: TimedModel, warmup: int, conditions: Conditions) -> ThroughputSamples:
        return ThroughputSamples(
            infer_step_ms=timed.times["inference"],
            train_step_ms=timed.times["training"],
            warmup=warmup,
            interleaved_with=len(self.timed_models) - 1,
            infer_batch_size=timed.infer_batch,
            settled=timed.trial.id in self.settled,
            out_of_memory=list(timed.out_of_memory.values()),
            unmeasured=self.unmeasured.get(timed.trial.id, []),
            peak_memory_bytes=timed.peak_memory,
            conditions=conditions,
        )


@contextmanager
def _cudnn_benchmark() -> Iterator[None]:
    """Let cuDNN choose its fastest kernels at the first step of each shape, which is not timed."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _warmup_cap(timed: TimedModel) -> int:
    """The largest number of warm-up rounds."""
    return max(timed.trial.throughput.warmup_cap, 2 * timed.trial.throughput.warmup)


def _is_stable(timed: TimedModel) -> bool:
    """Return True if, for each kind of step, the medians of the last visits and of as many before them agree."""
    return all(medians_agree(timed.visits[kind], timed.trial.throughput.warmup) for kind in timed.kinds)


def medians_agree(times: list[float], window: int) -> bool:
    """Return True if the medians of the last `window` values and of the `window` before them differ by at most 2 %."""
    if len(times) < 2 * window:
        return False
    before, last = median(times[-2 * window : -window]), median(times[-window:])
    return abs(last - before) <= MAX_DIFFERENCE * before


def _visit(timed: TimedModel) -> None:
    """Time a visit's steps of each kind, and update the trial's own peak memory."""
    on_gpu = timed.world.device.type == "cuda"
    before = allocated(timed.world)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for kind in timed.kinds:
        timed.attempt(kind, partial(_time_steps, timed, kind))
    if on_gpu:
        own = torch.cuda.max_memory_allocated() - before + timed.model_bytes + timed.input_bytes
        timed.peak_memory = max(timed.peak_memory or 0, own)


def _time_steps(timed: TimedModel, kind: Kind) -> None:
    visits = timed.visits[kind]
    wanted = VISIT_MS[timed.world.device.type] / max(visits[-1], 0.01) if visits else 1
    count = max(1, min(MAX_STEPS_IN_VISIT, math.ceil(wanted)))
    step_ms = _milliseconds(partial(timed.step, kind), timed.world, count)
    timed.times[kind] += step_ms
    visits.append(median(step_ms))


def _milliseconds(action: Callable[[], None], world: World, count: int = 1) -> list[float]:
    """Run an action `count` times; return each run's milliseconds on the slowest rank.  Collective.

    Times with CUDA events on a GPU, with the wall clock on a CPU.  A GPU first runs the action once untimed, so that
    the first timed run does not start on an idle device, and never synchronises in between.
    """
    world.barrier()
    if world.device.type == "cuda":
        events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        action()
        for event in events[:-1]:
            event.record()
            action()
        events[-1].record()
        events[-1].synchronize()
        elapsed = [begin.elapsed_time(end) for begin, end in pairwise(events)]
    else:
        instants = [time.perf_counter()]
        for _ in range(count):
            action()
            instants.append(time.perf_counter())
        elapsed = [1000 * (end - begin) for begin, end in pairwise(instants)]
    slowest: list[float] = world.max(torch.tensor(elapsed, dtype=torch.float64, device=world.device)).tolist()
    return slowest


def _communication(timed: TimedModel) -> Communication | None:
    """Measure the communication between the ranks of a trial; None if a training step does not fit in memory."""
    if "training" not in timed.kinds:
        return None

    def clock(action: Callable[[], None]) -> float:
        return _milliseconds(action, timed.world)[0]

    timed.set_mode("training")
    return communication.measure(timed.engine, timed.train, clock, timed.trial.throughput, timed.world)


def _joules_per_image(timed: TimedModel, monitor: MachineMonitor) -> float | None:
    """Measure the energy of continuous inference, while the monitor samples the GPU's clocks and throttling.

    None if the GPU does not count energy, and on a CPU.
    """
    if not timed.times["inference"] or timed.world.device.type != "cuda":
        return None
    timed.set_mode("inference")
    steps = max(1, round(1000 * ENERGY_SECONDS / median(timed.times["inference"])))
    before = monitor.gpu.joules() if monitor.gpu else None
    for _ in range(steps):
        timed.infer()
        monitor.sample()
    torch.cuda.synchronize()
    after = monitor.gpu.joules() if monitor.gpu else None
    return (after - before) / (steps * timed.infer_batch) if before and after and after > before else None
