"""Throughput: images a second, inference and training, of several trials in interleaved rounds.

A round takes one step of every trial, so that a drifting machine hits all of them alike.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from mixbench.measure import communication
from mixbench.precision import set_products
from mixbench.record import ThroughputSamples
from mixbench.train import as_input, build_model, make_engine, train_step
from mixbench.trial import Trial
from mixbench.world import World

Outcome = tuple[Trial, ThroughputSamples, int | None]
# weights, gradients and two moments of AdamW, 4 bytes each: what may lie on the device at once
INTERLEAVED_BYTES = 2 << 30


def groups(trials: list[Trial], params: dict[str, int]) -> Iterator[list[Trial]]:
    """Trials in lots whose models fit on the device together."""
    lot: list[Trial] = []
    used = 0
    for trial in trials:
        need = 16 * params[trial.id]
        if lot and used + need > INTERLEAVED_BYTES:
            yield lot
            lot, used = [], 0
        lot.append(trial)
        used += need
    if lot:
        yield lot


class Subject:
    """A trial's model under the clock: inference on its own, training through DeepSpeed's engine."""

    def __init__(self, trial: Trial, world: World):
        self.trial, self.world = trial, world
        others = _allocated(world)
        self.engine = make_engine(build_model(trial, world), trial, world)
        dataset = trial.data
        shape = (dataset.channels, dataset.image_size, dataset.image_size)
        self.pieces = trial.recipe.gradient_accumulation
        self.train_shard = trial.recipe.global_batch_size // (world.size * self.pieces)
        generator = torch.Generator(world.device).manual_seed(trial.seed)

        def images(count: int) -> torch.Tensor:  # of the statistics that normalised images have
            return as_input(torch.randn(count, *shape, generator=generator, device=world.device), trial)

        self.infer_images = images(trial.infer_batch_size)
        self.train_images = images(self.train_shard)
        self.labels = torch.randint(dataset.classes, (self.train_shard,), generator=generator, device=world.device)
        self.infer_ms: list[float] = []
        self.train_ms: list[float] = []
        self.peak_memory: int | None = None
        self.infer()
        self.train()
        self.resident = _allocated(world) - others  # weights, gradients, optimizer's state, inputs

    def infer(self) -> None:
        self.engine.eval()
        with torch.no_grad():
            self.engine(self.infer_images)

    def train(self) -> None:
        self.engine.train()
        for _ in range(self.pieces):
            train_step(self.engine, self.trial, self.train_images, self.labels)

    def close(self) -> None:
        self.engine.destroy()


def measure(
    trials: list[Trial],
    world: World,
    now: Callable[[Trial, int, int], None],
    failed: Callable[[Trial, Exception], None],
) -> Iterator[Outcome]:
    """Time these trials against each other; collective.

    `now` hears which trial is touched, and how far it is; `failed` of one that cannot go on: the rest does.
    """
    subjects: list[Subject] = []
    for trial in trials:
        now(trial, 0, trial.throughput.repeats)
        try:
            subjects.append(Subject(trial, world))
        except Exception as error:
            failed(trial, error)
    for round_ in range(max(trial.throughput.warmup + trial.throughput.repeats for trial in trials)):
        for subject in list(subjects):
            protocol = subject.trial.throughput
            if round_ < protocol.warmup + protocol.repeats:
                now(subject.trial, max(0, round_ - protocol.warmup), protocol.repeats)
                try:
                    _round(subject, timed=round_ >= protocol.warmup)
                except Exception as error:
                    failed(subject.trial, error)
                    subjects.remove(subject)
                    subject.close()
    for subject in subjects:
        clock, protocol = partial(_milliseconds, world=world), subject.trial.throughput
        sent = communication.measure(subject.engine, subject.train, clock, protocol, world)
        subject.close()
        samples = ThroughputSamples(
            infer_step_ms=subject.infer_ms,
            train_step_ms=subject.train_ms,
            warmup=subject.trial.throughput.warmup,
            interleaved_with=len(subjects) - 1,
            communication=sent,
        )
        yield subject.trial, samples, subject.peak_memory


def _round(subject: Subject, timed: bool) -> None:
    on_gpu = subject.world.device.type == "cuda"
    set_products("tf32" if subject.trial.precision == "tf32" else "ieee")
    before = _allocated(subject.world)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    infer, train = _milliseconds(subject.infer, subject.world), _milliseconds(subject.train, subject.world)
    if timed:
        subject.infer_ms.append(infer)
        subject.train_ms.append(train)
        if on_gpu:
            own = torch.cuda.max_memory_allocated() - before + subject.resident
            subject.peak_memory = max(subject.peak_memory or 0, own)


def _allocated(world: World) -> int:
    """Bytes that tensors hold on the GPU; 0 on a CPU, whose memory is not attributed to trials."""
    return torch.cuda.memory_allocated() if world.device.type == "cuda" else 0


def _milliseconds(action: Callable[[], None], world: World) -> float:
    """How long an action takes on the slowest rank: CUDA events on a GPU, the wall clock on a CPU."""
    world.barrier()
    if world.device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
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
