"""Throughput: images a second, inference and training, of several trials in interleaved rounds.

A round takes one step of every trial, in an order of its own, so that a drifting machine hits all of them alike, and
none always comes after the same other.
"""

import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any, TypeVar

import torch

from mixbench.measure import communication
from mixbench.measure.conditions import Watch
from mixbench.measure.largest_batch import largest_batch
from mixbench.measure.timed_model import Kind, Pools, Subject, allocated, give_back_memory, prime
from mixbench.run.timings import Communication, Conditions, ThroughputSamples
from mixbench.suite.trial import Trial
from mixbench.train.distributed import World

# weights, gradients and two moments of AdamW, 4 bytes each: what may lie on the device at once
INTERLEAVED_BYTES = 2 << 30
MOST_INTERLEAVED = 24
"""Trials: what is timed is written when all of a lot are through, so a lot is what a machine that dies takes along."""
AGREE = 0.02
VISIT_MS = {"cuda": 20.0, "cpu": 0.0}
"""Of a trial's steps that a round times one by one, at least one: on a GPU short ones scatter as they are launched."""
MOST_IN_VISIT = 20
LOAD_SECONDS = 2.0
"""Of inference at one stretch: the GPU's counter of energy moves every 20 to 100 ms."""
Now = Callable[[Trial, int, int], None]
Failed = Callable[[Trial, Exception], None]
Measured = TypeVar("Measured")


def groups(trials: list[Trial], params: dict[str, int]) -> Iterator[list[Trial]]:
    """Trials in lots whose models fit on the device together; one that fills it has it to itself."""
    lot: list[Trial] = []
    used = 0
    for trial in trials:
        need = 16 * params[trial.id] if trial.infer_batch_size != "max" else INTERLEAVED_BYTES + 1
        if lot and (used + need > INTERLEAVED_BYTES or len(lot) == MOST_INTERLEAVED):
            yield lot
            lot, used = [], 0
        lot.append(trial)
        used += need
    if lot:
        yield lot


def measure(trials: list[Trial], world: World, now: Now, failed: Failed) -> Iterator[tuple[Trial, ThroughputSamples]]:
    """Time these trials against each other; collective.

    `now` hears which trial is touched, and how far it is; `failed` of one that cannot go on: the rest does.
    """
    with _autotuned():
        lot = _Lot(trials, world, now, failed)
        warmup = lot.warm_up()
        watch = Watch(world)
        for round_ in range(max(trial.throughput.repeats for trial in trials)):
            lot.round(round_)
            watch.look()
        joules = {subject.trial.id: lot.beside(subject, "energy", partial(_joules, subject, watch)) for subject in lot}
        device = watch.gpu.memory_bytes() if watch.gpu else None
        conditions = watch.sum_up()
        for subject in lot:
            sent = lot.beside(subject, "communication", partial(_sent, subject))
            subject.close()
            samples = lot.samples(subject, warmup, conditions)
            more: dict[str, Any] = {"device_memory_bytes": device, "communication": sent}
            yield subject.trial, samples.model_copy(update=more | {"joules_per_image": joules[subject.trial.id]})


class _Lot:
    """Trials that are timed against each other, and how far they are."""

    def __init__(self, trials: list[Trial], world: World, now: Now, failed: Failed):
        self.world, self.now, self.failed = world, now, failed
        self.subjects: list[Subject] = []
        self.settled = {trial.id for trial in trials if trial.throughput.warmup == 0}
        self.unmeasured: dict[str, list[str]] = {}
        self._rounds = 0
        give_back_memory(world)
        prime(world)
        pools = Pools(world)
        for trial in trials:
            now(trial, 0, trial.throughput.repeats)
            try:
                largest = largest_batch(trial, world) if trial.infer_batch_size == "max" else None
                self.subjects.append(Subject(trial, world, pools, largest))
            except Exception as error:
                failed(trial, error)
                give_back_memory(world)

    def __iter__(self) -> Iterator[Subject]:
        return iter(self.subjects)

    def warm_up(self) -> int:
        """Rounds until the medians of every trial have agreed once, or its cap is reached.  Returns their number.

        Once, and not of all at the same time, which noise would put off for ever.
        """
        rounds = 0
        while any(self._is_cold(subject, rounds) for subject in self.subjects):
            self.round()
            rounds += 1
            self.settled |= {subject.trial.id for subject in self.subjects if _has_settled(subject)}
        for subject in self.subjects:
            for times in subject.times.values():
                times.clear()
        return rounds

    def _is_cold(self, subject: Subject, rounds: int) -> bool:
        protocol = subject.trial.throughput
        return subject.trial.id not in self.settled and rounds < max(protocol.warmup_cap, 2 * protocol.warmup)

    def round(self, done: int = 0) -> None:
        """A visit to each trial that has not been timed often enough: `done` times so far."""
        self._rounds += 1
        order = random.Random(self._rounds).sample(self.subjects, len(self.subjects))  # the same on every rank
        for subject in [each for each in order if done < each.trial.throughput.repeats]:
            self.now(subject.trial, done, subject.trial.throughput.repeats)
            try:
                _time(subject)
            except Exception as error:
                self.failed(subject.trial, error)
                self.subjects.remove(subject)
                subject.close()
                give_back_memory(self.world)

    def beside(self, subject: Subject, what: str, action: Callable[[], Measured | None]) -> Measured | None:
        """What is measured beside the speed; None where that fails, for which no timing is given up.

        Of several ranks, which must stay in step, it ends the job.
        """
        repeats = subject.trial.throughput.repeats
        self.now(subject.trial, repeats, repeats)
        try:
            return action()
        except Exception as error:
            if self.world.size > 1:
                raise
            said = f"{what}: {type(error).__name__}: {error}".splitlines()[0].replace(";", ",")
            self.unmeasured.setdefault(subject.trial.id, []).append(said)
            return None

    def samples(self, subject: Subject, warmup: int, conditions: Conditions) -> ThroughputSamples:
        return ThroughputSamples(
            infer_step_ms=subject.times["inference"],
            train_step_ms=subject.times["training"],
            warmup=warmup,
            interleaved_with=len(self.subjects) - 1,
            infer_batch_size=subject.infer_batch,
            settled=subject.trial.id in self.settled,
            out_of_memory=list(subject.out_of_memory.values()),
            unmeasured=self.unmeasured.get(subject.trial.id, []),
            peak_memory_bytes=subject.peak_memory,
            conditions=conditions,
        )


@contextmanager
def _autotuned() -> Iterator[None]:
    """cuDNN chooses its fastest kernels at a shape's first step, which is none of those that are timed."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _has_settled(subject: Subject) -> bool:
    """Whether the medians of the last visits and of as many before them agree, of all that is timed."""
    return all(agree(subject.visits[kind], subject.trial.throughput.warmup) for kind in subject.kinds)


def agree(times: list[float], window: int) -> bool:
    """Whether the medians of the last `window` values and of the `window` before them differ by 2 % at most."""
    if len(times) < 2 * window:
        return False
    before, last = median(times[-2 * window : -window]), median(times[-window:])
    return abs(last - before) <= AGREE * before


def _time(subject: Subject) -> None:
    """A visit's steps of each kind, and the most memory that the trial took for itself."""
    on_gpu = subject.world.device.type == "cuda"
    before = allocated(subject.world)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for kind in subject.kinds:
        subject.attempt(kind, partial(_time_one, subject, kind))
    if on_gpu:
        own = torch.cuda.max_memory_allocated() - before + subject.resident + subject.input_bytes
        subject.peak_memory = max(subject.peak_memory or 0, own)


def _time_one(subject: Subject, kind: Kind) -> None:
    visits = subject.visits[kind]
    wanted = VISIT_MS[subject.world.device.type] / max(visits[-1], 0.01) if visits else 1
    count = max(1, min(MOST_IN_VISIT, math.ceil(wanted)))
    taken = _milliseconds(partial(subject.step, kind), subject.world, count)
    subject.times[kind] += taken
    visits.append(median(taken))


def _milliseconds(action: Callable[[], None], world: World, count: int = 1) -> list[float]:
    """How long each of so many actions takes on the slowest rank: CUDA events on a GPU, the wall clock on a CPU.

    On a GPU an action that is not timed goes before, so that the first timed one does not begin on an idle device;
    nothing waits in between.
    """
    world.barrier()
    if world.device.type == "cuda":
        moments = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        action()
        for moment in moments[:-1]:
            moment.record()
            action()
        moments[-1].record()
        moments[-1].synchronize()
        elapsed = [begin.elapsed_time(end) for begin, end in pairwise(moments)]
    else:
        instants = [time.perf_counter()]
        for _ in range(count):
            action()
            instants.append(time.perf_counter())
        elapsed = [1000 * (end - begin) for begin, end in pairwise(instants)]
    slowest: list[float] = world.max(torch.tensor(elapsed, dtype=torch.float64, device=world.device)).tolist()
    return slowest


def _sent(subject: Subject) -> Communication | None:
    """What the ranks of a trial say to each other; not where there was no room for a step of training."""
    if "training" not in subject.kinds:
        return None

    def clock(action: Callable[[], None]) -> float:
        return _milliseconds(action, subject.world)[0]

    subject.ready("training")
    return communication.measure(subject.engine, subject.train, clock, subject.trial.throughput, subject.world)


def _joules(subject: Subject, watch: Watch) -> float | None:
    """Inference for a while at one stretch, which a GPU's clocks and throttling are looked at in: its joules an image.

    None where the card does not count them, and on a CPU.
    """
    if not subject.times["inference"] or subject.world.device.type != "cuda":
        return None
    subject.ready("inference")
    steps = max(1, round(1000 * LOAD_SECONDS / median(subject.times["inference"])))
    before = watch.gpu.joules() if watch.gpu else None
    for _ in range(steps):
        subject.infer()
        watch.look()
    torch.cuda.synchronize()
    after = watch.gpu.joules() if watch.gpu else None
    return (after - before) / (steps * subject.infer_batch) if before and after and after > before else None
