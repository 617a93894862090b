"""Raw timings of a trial, the state of the machine meanwhile, and the flags that warn a reader about either."""

from statistics import fmean, median, quantiles, stdev

from pydantic import Field

from mixbench.run.flags import Flag, Kind
from mixbench.run.parts import Frozen
from mixbench.system.words import plural

BUSY_SHARE = 0.1
"""Share of the cores that other processes may keep busy before the timings are flagged."""

THROTTLED_SHARE = 0.01
"""Share of the periods in which a CPU quota may be used up before the timings are flagged."""


class Spread(Frozen):
    """Minimum, median and maximum of a value sampled during the timing."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread | None":
        return cls(low=min(values), median=median(values), high=max(values)) if values else None


class GpuConditions(Frozen):
    """State of the main process's GPU during the timing.  None: not available from its driver.

    `throttled`: reasons for which it lowered its clocks.
    """

    sm_mhz: Spread | None = None
    watts: Spread | None = None
    celsius: Spread | None = None
    throttled: list[str] = Field(default_factory=list)
    foreign_processes: int | None = None


class Conditions(Frozen):
    """State of the main process's machine while a group of trials was timed.  None: not available.

    `others`: how many of the `cores` that this process may run on other processes kept busy, on average.  `cpu_quota`:
    the CPU time that its control groups allow, in cores; in `throttled_periods` of `quota_periods` it was used up.
    """

    seconds: float
    cores: int
    others: float | None = None
    cpu_quota: float | None = None
    quota_periods: int | None = None
    throttled_periods: int | None = None
    load: float | None = None
    mhz: Spread | None = None
    gpu: GpuConditions | None = None


class Communication(Frozen):
    """Bytes that a process of a trial sends in a training step, and raw timings of a lone all-reduce, in milliseconds.

    `step_bytes`: of one process, by kind of collective.  `allreduce_ms`: of `gradient_bytes`; `latency_ms`: of
    `single_bytes`, a single number.
    """

    gradient_bytes: int
    step_bytes: dict[str, int]
    single_bytes: int
    allreduce_ms: list[float]
    latency_ms: list[float]


class ThroughputSamples(Frozen):
    """Raw timings: milliseconds a step, in the order of measurement; empty for a step that did not fit in memory.

    `warmup`: rounds before them; `settled`: the medians of the step times agreed in one of these.
    `joules_per_image`: of inference, by the GPU's own counter.  `device_memory_bytes`: in use on the whole device after
    timing, by all trials timed together and by other programs.  `unmeasured`: other measurements that failed, and why.
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
        """Warnings about these timings, for `flags` of results.csv."""
        found = [Flag(Kind.OUT_OF_MEMORY, what) for what in self.out_of_memory]
        found += [Flag(Kind.NOT_MEASURED, what) for what in self.unmeasured]
        if not self.settled:
            found.append(Flag(Kind.SPEED_STILL_MOVED, f"{plural(self.warmup, 'round')} of warm-up"))
        return found + (_machine_flags(self.conditions) if self.conditions else [])


def _machine_flags(conditions: Conditions) -> list[Flag]:
    found = []
    if conditions.others is not None and conditions.others > BUSY_SHARE * conditions.cores:
        detail = f"others kept {conditions.others:.1f} of {plural(conditions.cores, 'core')} busy"
        found.append(Flag(Kind.BUSY_NEIGHBOURS, detail))
    throttled, periods = conditions.throttled_periods or 0, conditions.quota_periods or 0
    if conditions.cpu_quota and throttled > THROTTLED_SHARE * periods:
        detail = f"in {throttled:,} of {periods:,} periods of its CPU quota ({conditions.cpu_quota:.2f} cores)"
        found.append(Flag(Kind.THROTTLED_CPU, detail))
    if conditions.gpu and conditions.gpu.throttled:
        found.append(Flag(Kind.THROTTLED_GPU, ", ".join(conditions.gpu.throttled)))
    if conditions.gpu and conditions.gpu.foreign_processes:
        detail = f"{plural(conditions.gpu.foreign_processes, 'other process')} on the GPU"
        found.append(Flag(Kind.BUSY_NEIGHBOURS, detail))
    return found


def percentile(values: list[float], percent: int) -> float:
    """Percentile with linear interpolation between the values.  `percent` must be a multiple of 5."""
    return quantiles(values, n=20, method="inclusive")[percent // 5 - 1] if len(values) > 1 else values[0]


def variation(values: list[float]) -> float | None:
    """Coefficient of variation: standard deviation over mean; None for a single value."""
    return stdev(values) / fmean(values) if len(values) > 1 else None
