"""What the machine is at while trials are timed, looked at between steps: clocks, power, throttling, neighbours."""

import os
import socket
import time
from typing import Any

import psutil
import torch

from mixbench.run.timings import Conditions, GpuConditions, Spread
from mixbench.system.host import core_numbers, usable_cores
from mixbench.train.distributed import World

LOOK_SECONDS = 0.5
MOST_LOOKS = 5
"""At this process's children, where one came or ended at each."""
SLOWED = {
    "SwPowerCap": "power cap",
    "HwSlowdown": "hardware slowdown",
    "SwThermalSlowdown": "heat",
    "HwThermalSlowdown": "heat, by the hardware",
    "HwPowerBrakeSlowdown": "power brake",
}
"""NVML's reasons for lower clocks that slow what is measured (nvmlClocksEventReason…), in words."""


class Watch:
    """Looks now and then, and sums up.  Made before what it watches."""

    def __init__(self, world: World):
        self.world = world
        self.gpu = Gpu.of(world.device) if world.device.type == "cuda" else None
        self.mhz: list[float] = []
        self.load: list[float] = []
        self.began, self.busy, self.own, self.looked = time.monotonic(), _busy_seconds(), own_seconds(), 0.0
        self.look()

    def look(self) -> None:
        """What it is at now, where the last look was a while ago: cheap enough between any two steps."""
        if time.monotonic() - self.looked < LOOK_SECONDS:
            return
        frequency = psutil.cpu_freq()
        if frequency and frequency.current:
            self.mhz.append(frequency.current)
        self.load.append(os.getloadavg()[0])
        if self.gpu:
            self.gpu.look()
        self.looked = time.monotonic()

    def sum_up(self) -> Conditions:
        """Collective: the ranks of one machine are no neighbours of each other."""
        self.looked = 0.0
        self.look()
        seconds = time.monotonic() - self.began
        host = socket.gethostname()
        own = max(0.0, own_seconds() - self.own)  # a child's time is lost where nobody waits for its end
        used = sum(seconds for other, seconds in self.world.gather((host, own)) if other == host)
        others = max(0.0, _busy_seconds() - self.busy - used) / seconds
        return Conditions(
            seconds=seconds,
            cores=usable_cores(),
            others=others,
            load=sum(self.load) / len(self.load),
            mhz=Spread.of(self.mhz),
            gpu=self.gpu.sum_up() if self.gpu else None,
        )


def _busy_seconds() -> float:
    """Of the cores that this process may use, since the machine started; what a hypervisor took away included."""
    cores = core_numbers()
    times = [each for core, each in enumerate(psutil.cpu_times(percpu=True)) if core in cores]
    return sum(each.user + each.nice + each.system + each.irq + each.softirq + each.steal for each in times)


def own_seconds() -> float:
    """Of this process and of all below it, running or ended, such as a compiler's workers.  Takes milliseconds.

    An ended one's time is its parent's `children_*`: where one ends meanwhile, so that it might be counted twice or not
    at all, all are asked again.
    """
    own = psutil.Process()
    family = own.children(recursive=True)
    for _ in range(MOST_LOOKS):
        seconds, before = sum(map(_spent, [own, *family])), family
        family = own.children(recursive=True)
        if family == before:
            break
    return seconds


def _spent(process: psutil.Process) -> float:
    try:
        spent = process.cpu_times()
    except psutil.NoSuchProcess:  # or a zombie's, which is one
        return 0.0
    return spent.user + spent.system + spent.children_user + spent.children_system


class Gpu:
    """One GPU as NVML sees it.  What a card will not tell (a slice of one, a driver without it) stays empty."""

    def __init__(self, nvml: Any, handle: Any):
        self.nvml, self.handle = nvml, handle
        self.mhz: list[float] = []
        self.watts: list[float] = []
        self.celsius: list[float] = []
        self.throttled: dict[str, None] = {}
        self.foreign: int | None = None

    @classmethod
    def of(cls, device: torch.device) -> "Gpu | None":
        """torch's device, found by its UUID, as CUDA_VISIBLE_DEVICES renumbers them; None without NVML."""
        import pynvml

        try:
            pynvml.nvmlInit()
            uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
            return cls(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid))
        except pynvml.NVMLError:
            return None

    def look(self) -> None:
        nvml = self.nvml
        self.mhz += self._told(nvml.nvmlDeviceGetClockInfo, nvml.NVML_CLOCK_SM)
        self.watts += [milliwatts / 1000 for milliwatts in self._told(nvml.nvmlDeviceGetPowerUsage)]
        self.celsius += self._told(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
        for reasons in self._told(nvml.nvmlDeviceGetCurrentClocksEventReasons):
            self.throttled |= dict.fromkeys(slowed_by(reasons, nvml))
        for processes in self._told(nvml.nvmlDeviceGetComputeRunningProcesses):
            if not processes:  # not even this one, which is on it: what a container hides
                continue
            strangers = sum(process.pid != os.getpid() for process in processes)
            if strangers == len(processes):  # seen from inside a container, where our own has another number
                strangers = max(0, strangers - 1)
            self.foreign = max(self.foreign or 0, strangers)

    def joules(self) -> float | None:
        """Energy since the driver was loaded; None where the card does not count."""
        told = self._told(self.nvml.nvmlDeviceGetTotalEnergyConsumption)
        return told[0] / 1000 if told and told[0] else None

    def memory_bytes(self) -> int | None:
        """Taken on the whole device, by whomever."""
        told = self._told(self.nvml.nvmlDeviceGetMemoryInfo)
        return told[0].used if told else None

    def sum_up(self) -> GpuConditions:
        return GpuConditions(
            sm_mhz=Spread.of(self.mhz),
            watts=Spread.of(self.watts),
            celsius=Spread.of(self.celsius),
            throttled=list(self.throttled),
            foreign_processes=self.foreign,
        )

    def _told(self, ask: Any, *more: Any) -> list[Any]:
        try:
            return [ask(self.handle, *more)]
        except self.nvml.NVMLError:
            return []


def slowed_by(reasons: int, nvml: Any) -> list[str]:
    """The words for the bits of NVML's mask that slow what is measured."""
    return [word for name, word in SLOWED.items() if reasons & getattr(nvml, f"nvmlClocksEventReason{name}", 0)]
