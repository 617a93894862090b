"""Raw timings of a trial, what the machine was at while they were taken, and what a reader must know of both."""

from statistics import fmean, median, quantiles, stdev

from pydantic import Field

from mixbench.run.flags import Flag, Kind
from mixbench.run.parts import Frozen

BUSY_SHARE = 0.1
"""Of the cores: kept busy by others, they are a neighbour that is told of."""


class Spread(Frozen):
    """The least, the median and the most of what was looked at now and then."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread | None":
        return cls(low=min(values), median=median(values), high=max(values)) if values else None


class GpuConditions(Frozen):
    """The main process's GPU.  `throttled`: why it ran slower than it could; None: it would not tell."""

    sm_mhz: Spread | None = None
    watts: Spread | None = None
    celsius: Spread | None = None
    throttled: list[str] = Field(default_factory=list)
    foreign_processes: int | None = None


class Conditions(Frozen):
    """The main process's machine while a lot of trials was timed.  None: it would not tell.

    `others`: how many of the `cores` that may be used were kept busy by other processes, in the mean.
    """

    seconds: float
    cores: int
    others: float | None = None
    load: float | None = None
    mhz: Spread | None = None
    gpu: GpuConditions | None = None


class Communication(Frozen):
    """What the processes of a trial send in a training step, and raw timings of an all-reduce alone, in milliseconds.

    `step_bytes`: of one process, by the kind of collective.  `allreduce_ms`: of `gradient_bytes`; `latency_ms`: of
    `single_bytes`, one number.
    """

    gradient_bytes: int
    step_bytes: dict[str, int]
    single_bytes: int
    allreduce_ms: list[float]
    latency_ms: list[float]


class ThroughputSamples(Frozen):
    """Raw timings: milliseconds a step, in the order they were taken; none of what found no room in memory.

    `warmup`: the rounds before them; `settled`: whether its medians agreed in some of these.  `joules_per_image`: of
    inference, by the GPU's own counter.  `device_memory_bytes`: taken on the whole device when all was timed, by all
    that was timed together and by whomever else.  `unmeasured`: what else was tried, and why it failed.
    """

    infer_step_ms: list[float]
    train_step_ms: list[float]
    warmup: int
    interleaved_with: int
    infer_batch_size: int | None = None
    settled: bool = True
    out_of_memory: list[str] = Field(default_factory=list)
    unmeasured: list[str] = Field(default_factory=list)
    peak_memory_bytes: int | None = None
    device_memory_bytes: int | None = None
    joules_per_image: float | None = None
    conditions: Conditions | None = None
    communication: Communication | None = None

    @property
    def flags(self) -> list[Flag]:
        """What a reader of these figures must know."""
        found = [Flag(Kind.OUT_OF_MEMORY, what) for what in self.out_of_memory]
        found += [Flag(Kind.NOT_MEASURED, what) for what in self.unmeasured]
        if not self.settled:
            found.append(Flag(Kind.SPEED_STILL_MOVED, f"{self.warmup} rounds of warm-up"))
        return found + (_told_by(self.conditions) if self.conditions else [])


def _told_by(conditions: Conditions) -> list[Flag]:
    found = []
    if conditions.others is not None and conditions.others > BUSY_SHARE * conditions.cores:
        said = f"others kept {conditions.others:.1f} of {conditions.cores} cores busy"
        found.append(Flag(Kind.BUSY_NEIGHBOURS, said))
    if conditions.gpu and conditions.gpu.throttled:
        found.append(Flag(Kind.THROTTLED_GPU, ", ".join(conditions.gpu.throttled)))
    if conditions.gpu and conditions.gpu.foreign_processes:
        said = f"{conditions.gpu.foreign_processes} other processes on the GPU"
        found.append(Flag(Kind.BUSY_NEIGHBOURS, said))
    return found


def percentile(values: list[float], percent: int) -> float:
    """Linear between the values.  `percent` is a multiple of 5."""
    return quantiles(values, n=20, method="inclusive")[percent // 5 - 1] if len(values) > 1 else values[0]


def variation(values: list[float]) -> float | None:
    """The coefficient of variation: standard deviation over mean; None of a single value."""
    return stdev(values) / fmean(values) if len(values) > 1 else None
