"""State of the machine while trials are timed: clocks, power, throttling, load by other processes."""

import os
import socket
import time
from typing import Any

import psutil
import torch

from mixbench.run.timings import Conditions, GpuConditions, Spread
from mixbench.system.cpu_quota import cpu_quota, quota_periods, throttled_since
from mixbench.system.host import core_numbers
from mixbench.train.distributed import World

SAMPLE_SECONDS = 0.5
MAX_ATTEMPTS = 5
"""Attempts at a consistent sum over child processes, which start and end meanwhile."""
SLOWDOWNS = {
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "heat",
    "HwThermalSlowdown": "heat, by the hardware",
    "HwPowerBrakeSlowdown": "power brake",
}
"""NVML's reasons for reduced clocks (nvmlClocksEventReason…) that slow a measurement → words for a flag."""


class MachineMonitor:
    """Samples the machine's state every SAMPLE_SECONDS, from its construction to `summary`."""

    def __init__(self, world: World):
        self.world = world
        self.gpu = Gpu.of(world.device) if world.device.type == "cuda" else None
        self.mhz: list[float] = []
        self.load: list[float] = []
        self.began, self.busy, self.own = time.monotonic(), _busy_cpu_seconds(), own_cpu_seconds()
        self.periods = quota_periods()
        self.sampled_at = 0.0
        self.sample()

    def sample(self) -> None:
        """Take a sample if the last one is SAMPLE_SECONDS old; cheap enough to be called after every step."""
        if time.monotonic() - self.sampled_at < SAMPLE_SECONDS:
            return
        frequency = psutil.cpu_freq()
        if frequency and frequency.current:
            self.mhz.append(frequency.current)
        self.load.append(os.getloadavg()[0])
        if self.gpu:
            self.gpu.sample()
        self.sampled_at = time.monotonic()

    def summary(self) -> Conditions:
        """Take a last sample and summarise all; collective, as ranks on one machine do not count as other processes."""
        self.sampled_at = 0.0
        self.sample()
        seconds = time.monotonic() - self.began
        host = socket.gethostname()
        own = max(0.0, own_cpu_seconds() - self.own)  # negative if a child's time is lost, as nobody waits for its end
        used = sum(seconds for other, seconds in self.world.gather((host, own)) if other == host)
        others = max(0.0, _busy_cpu_seconds() - self.busy - used) / seconds
        throttled, periods = throttled_since(self.periods) or (None, None)
        return Conditions(
            seconds=seconds,
            cores=len(core_numbers()),
            others=others,
            cpu_quota=cpu_quota(),
            quota_periods=periods,
            throttled_periods=throttled,
            load=sum(self.load) / len(self.load),
            mhz=Spread.of(self.mhz),
            gpu=self.gpu.summary() if self.gpu else None,
        )


def _busy_cpu_seconds() -> float:
    """Busy time since boot, steal time included, of the cores that this process may use."""
    cores = core_numbers()
    times = [each for core, each in enumerate(psutil.cpu_times(percpu=True)) if core in cores]
    return sum(each.user + each.nice + each.system + each.irq + each.softirq + each.steal for each in times)


def own_cpu_seconds() -> float:
    """CPU time of this process and all its descendants, running or ended, such as a compiler's workers.

    An ended process's time is in its parent's `children_*`.  If one starts or ends meanwhile, it may be counted twice
    or not at all: then all are read again.  Takes milliseconds.
    """
    own = psutil.Process()
    family = own.children(recursive=True)
    for _ in range(MAX_ATTEMPTS):
        seconds, before = sum(map(_cpu_seconds, [own, *family])), family
        family = own.children(recursive=True)
        if family == before:
            break
    return seconds


def _cpu_seconds(process: psutil.Process) -> float:
    """CPU time of a process and of its ended children; 0 if it has ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:  # or ZombieProcess, its subclass
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


class Gpu:
    """Samples of one GPU by NVML.  Values that it does not support (on a MIG slice, with an old driver) stay empty."""

    def __init__(self, nvml: Any, handle: Any):
        self.nvml, self.handle = nvml, handle
        self.mhz: list[float] = []
        self.watts: list[float] = []
        self.celsius: list[float] = []
        self.throttled: dict[str, None] = {}
        self.foreign: int | None = None

    @classmethod
    def of(cls, device: torch.device) -> "Gpu | None":
        """Find torch's device by its UUID, as CUDA_VISIBLE_DEVICES renumbers devices; None without NVML."""
        import pynvml

        try:
            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        except pynvml.NVMLError:
            return None

    def sample(self) -> None:
        nvml = self.nvml
        self.mhz += self._query(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM)
        self.watts += [milliwatts / 1000 for milliwatts in self._query(nvml.nvmlDeviceGetPowerUsage)]
        self.celsius += self._query(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
        for reasons in self._query(nvml.nvmlDeviceGetCurrentClocksEventReasons):
            self.throttled |= dict.fromkeys(slowed_by(reasons, nvml))
        for processes in self._query(nvml.nvmlDeviceGetComputeRunningProcesses):
            if not processes:  # not even this one is listed: a container hides them all
                continue
            others = sum(process.pid != os.getpid() for process in processes)
            if others == len(processes):  # in a container, where NVML lists this process under its PID outside
                others = max(0, others - 1)
            self.foreign = max(self.foreign or 0, others)

    def joules(self) -> float | None:
        """Energy since the driver was loaded; None if the GPU does not count it."""
        millijoules = self._query(self.nvml.nvmlDeviceGetTotalEnergyConsumption)
        return millijoules[0] / 1000 if millijoules and millijoules[0] else None

    def memory_bytes(self) -> int | None:
        """Memory in use on the whole device, by all processes."""
        info = self._query(self.nvml.nvmlDeviceGetMemoryInfo)
        return info[0].used if info else None

    def summary(self) -> GpuConditions:
        return GpuConditions(
            sm_mhz=Spread.of(self.mhz),
            watts=Spread.of(self.watts),
            celsius=Spread.of(self.celsius),
            throttled=list(self.throttled),
            foreign_processes=self.foreign,
        )

    def _query(self, function: Any, *arguments: Any) -> list[Any]:
        """Call an NVML function for this GPU; return its result in a list, empty if it is not supported."""
        try:
            return [function(self.handle, *arguments)]
        except self.nvml.NVMLError:
            return []


def slowed_by(reasons: int, nvml: Any) -> list[str]:
    """The words of SLOWDOWNS for the bits that are set in NVML's mask of reasons."""
    return [word for name, word in SLOWDOWNS.items() if reasons & getattr(nvml, f"nvmlClocksEventReason{name}", 0)]
