"""Throughput: images a second, inference and training, of several trials in interleaved rounds.

A round takes one step of every trial, so that a drifting machine hits all of them alike.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import median

import torch

from mixbench.measure import communication
from mixbench.measure.conditions import Watch
from mixbench.measure.largest import largest_batch
from mixbench.measure.subject import Kind, Pools, Subject, allocated
from mixbench.precision import set_products
from mixbench.samples import Communication, Conditions, ThroughputSamples
from mixbench.trial import Trial
from mixbench.world import World

# weights, gradients and two moments of AdamW, 4 bytes each: what may lie on the device at once
INTERLEAVED_BYTES = 2 << 30
AGREE = 0.02
ENERGY_SECONDS = 2.0
"""Of inference at one stretch: the GPU's counter of energy moves every 20 to 100 ms."""
Now = Callable[[Trial, int, int], None]
Failed = Callable[[Trial, Exception], None]


def groups(trials: list[Trial], params: dict[str, int]) -> Iterator[list[Trial]]:
    """Trials in lots whose models fit on the device together; one that fills it has it to itself."""
    lot: list[Trial] = []
    used = 0
    for trial in trials:
        need = 16 * params[trial.id] if trial.infer_batch_size != "max" else INTERLEAVED_BYTES + 1
        if lot and used + need > INTERLEAVED_BYTES:
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
        conditions = watch.sum_up()
        for subject in lot.subjects:
            joules = _joules_per_image(subject, watch) if watch.gpu else None
            device = watch.gpu.memory_bytes() if watch.gpu else None
            sent = _sent(subject)
            subject.close()
            samples = lot.samples(subject, warmup, conditions)
            more = {"joules_per_image": joules, "device_memory_bytes": device, "communication": sent}
            yield subject.trial, samples.model_copy(update=more)


class _Lot:
    """Trials that are timed against each other, and how far they are."""

    def __init__(self, trials: list[Trial], world: World, now: Now, failed: Failed):
        self.world, self.now, self.failed = world, now, failed
        self.subjects: list[Subject] = []
        self.settled = {trial.id for trial in trials if trial.throughput.warmup == 0}
        pools = Pools(world)
        for trial in trials:
            now(trial, 0, trial.throughput.repeats)
            try:
                largest = largest_batch(trial, world) if trial.infer_batch_size == "max" else None
                self.subjects.append(Subject(trial, world, pools, largest))
            except Exception as error:
                failed(trial, error)

    def warm_up(self) -> int:
        """Rounds until every trial's medians have agreed, or its cap is reached.  Returns their number."""
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
        """One step of each trial that has not been timed often enough: `done` times so far."""
        for subject in [each for each in self.subjects if done < each.trial.throughput.repeats]:
            self.now(subject.trial, done, subject.trial.throughput.repeats)
            try:
                _time(subject)
            except Exception as error:
                self.failed(subject.trial, error)
                self.subjects.remove(subject)
                subject.close()

    def samples(self, subject: Subject, warmup: int, conditions: Conditions) -> ThroughputSamples:
        return ThroughputSamples(
            infer_step_ms=subject.times["inference"],
            train_step_ms=subject.times["training"],
            warmup=warmup,
            interleaved_with=len(self.subjects) - 1,
            infer_batch_size=subject.infer_batch,
            settled=subject.trial.id in self.settled,
            out_of_memory=list(subject.out_of_memory.values()),
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
    """Whether the medians of the last steps and of as many before them agree, of all that is timed."""
    return all(agree(subject.times[kind], subject.trial.throughput.warmup) for kind in subject.kinds)


def agree(times: list[float], window: int) -> bool:
    """Whether the medians of the last `window` values and of the `window` before them differ by 2 % at most."""
    if len(times) < 2 * window:
        return False
    before, last = median(times[-2 * window : -window]), median(times[-window:])
    return abs(last - before) <= AGREE * before


def _time(subject: Subject) -> None:
    """A step of each kind, and the most memory that the trial took for itself."""
    on_gpu = subject.world.device.type == "cuda"
    set_products("tf32" if subject.trial.precision == "tf32" else "ieee")
    before = allocated(subject.world)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for kind in subject.kinds:
        subject.attempt(kind, partial(_time_one, subject, kind))
    if on_gpu:
        inputs = max(subject.infer_batch, subject.train_batch) * subject.pool[:1].nbytes
        own = torch.cuda.max_memory_allocated() - before + subject.resident + inputs
        subject.peak_memory = max(subject.peak_memory or 0, own)


def _time_one(subject: Subject, kind: Kind) -> None:
    subject.times[kind].append(_milliseconds(partial(subject.step, kind), subject.world))


def _milliseconds(action: Callable[[], None], world: World) -> float:
    """How long an action takes on the slowest rank: CUDA events on a GPU, the wall clock on a CPU.

    On a GPU a step that is not timed goes before, so that the timed one does not begin on an idle device; nothing
    waits in between.
    """
    world.barrier()
    if world.device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        action()
        start.record()
        action()
        end.record()
        end.synchronize()
        elapsed = start.elapsed_time(end)
    else:
        began = time.perf_counter()
        action()
        elapsed = 1000 * (time.perf_counter() - began)
    return float(world.max(torch.tensor(elapsed, dtype=torch.float64, device=world.device)))


def _sent(subject: Subject) -> Communication | None:
    """What the ranks of a trial say to each other; not where there was no room for a step of training."""
    if "training" not in subject.kinds:
        return None
    clock = partial(_milliseconds, world=subject.world)
    return communication.measure(subject.engine, subject.train, clock, subject.trial.throughput, subject.world)


def _joules_per_image(subject: Subject, watch: Watch) -> float | None:
    """Of inference, for a while at one stretch on this rank's GPU; None where the card does not count."""
    if not subject.times["inference"] or watch.gpu is None or (before := watch.gpu.joules()) is None:
        return None
    steps = max(1, round(1000 * ENERGY_SECONDS / median(subject.times["inference"])))
    for _ in range(steps):
        subject.infer()
    torch.cuda.synchronize()
    after = watch.gpu.joules()
    return (after - before) / (steps * subject.infer_batch) if after and after > before else None
