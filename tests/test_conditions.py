"""The monitor of the machine while timing: load by other processes, clocks, throttling, and their flags."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from mixbench.measure import conditions
from mixbench.measure.conditions import Gpu, MachineMonitor, own_cpu_seconds, slowed_by
from mixbench.measure.timed_model import cache_bytes
from mixbench.run.timings import Conditions, GpuConditions, ThroughputSamples
from mixbench.train.distributed import World

# prints its PID; ends after 100 s if nothing stops it
BUSY = """
import os, time
end = time.monotonic() + 100
print(os.getpid(), flush=True)
os.close(1)
while time.monotonic() < end:
    pass
"""
WORKED = """
import time
while time.process_time() < 0.3:
    pass
print(flush=True)
input()
"""


def flags(**told: object) -> list[str]:
    known = Conditions.model_validate({"seconds": 1.0, "cores": 8} | told)
    samples = ThroughputSamples(infer_step_ms=[], train_step_ms=[], warmup=0, interleaved_with=0, conditions=known)
    return [str(flag) for flag in samples.flags]


def burn(seconds: float) -> float:
    """Compute for so long; return the share of a core that this process got."""
    begun, end = time.process_time(), time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return (time.process_time() - begun) / seconds


@pytest.fixture
def one_core() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.mark.usefixtures("one_core")
def test_own_work_does_not_count_as_a_neighbours(world: World) -> None:
    monitor = MachineMonitor(world)
    own = burn(1.0)
    known = monitor.summary()
    assert own > 0.15, "the test needs some work of its own"
    assert known.cores == 1 and known.others is not None
    assert known.others + own < 1.1, "both together are all that one core can do"


@pytest.mark.usefixtures("one_core")
@pytest.mark.parametrize(
    "parents", [(), (sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:])")]
)
def test_a_working_child_or_grandchild_does_not_count_as_a_neighbour(parents: tuple[str, ...], world: World) -> None:
    """Such as workers of torch.compile, which run before and after the measurement."""
    with subprocess.Popen([*parents, sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        worker = psutil.Process(int(child.stdout.readline()))
        try:
            monitor, before, began = MachineMonitor(world), worker.cpu_times().user, time.monotonic()
            while (worked := worker.cpu_times().user - before) < 0.5:
                assert time.monotonic() < began + 60
                time.sleep(0.05)
            share = worked / (time.monotonic() - began)
            others = monitor.summary().others
        finally:
            worker.kill()
    assert others is not None and others + share < 1.1, "both together are all that one core can do"


def test_a_childs_time_is_counted_once_whether_it_runs_or_has_ended() -> None:
    begun = own_cpu_seconds()
    with subprocess.Popen([sys.executable, "-c", WORKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        runs = own_cpu_seconds()
        child.communicate(b"\n")
    ended = own_cpu_seconds()
    assert runs - begun >= 0.27 and 0 <= ended - runs < 0.2


def test_a_child_that_ends_while_times_are_read_is_counted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ask = own_cpu_seconds(), psutil.Process.cpu_times
    with subprocess.Popen([sys.executable, "-c", WORKED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()

        def ends(process: psutil.Process) -> Any:
            """Let the child end after this process's times are read, and before its own are."""
            times = ask(process)
            if child.poll() is None:
                child.communicate(b"\n")
            return times

        monkeypatch.setattr(psutil.Process, "cpu_times", ends)
        assert 0.27 <= own_cpu_seconds() - begun < 0.5
        assert child.poll() == 0


def test_cpu_time_lost_with_a_child_does_not_make_the_share_negative(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A child's time is lost if nobody waits for its end (SIGCHLD is ignored)."""
    monitor = MachineMonitor(world)
    monitor.own, monitor.busy = 1e9, 0.0
    monkeypatch.setattr(conditions, "_busy_cpu_seconds", lambda: 0.0)
    assert monitor.summary().others == 0


def test_a_busy_neighbour_is_seen(world: World) -> None:
    starter = "import subprocess, sys; subprocess.Popen(sys.argv[1:])"  # ends: its child is no descendant of ours
    command = [sys.executable, "-c", starter, sys.executable, "-c", BUSY]
    started = [subprocess.run(command, stdout=subprocess.PIPE, check=True) for _ in range(2)]
    neighbours = [psutil.Process(int(each.stdout)) for each in started]
    try:
        monitor = MachineMonitor(world)
        burn(1.0)
        others = monitor.summary().others
    finally:
        for neighbour in neighbours:
            neighbour.kill()
    assert others is not None and others > 0.5


def test_clocks_and_load_are_sampled_at_intervals(world: World) -> None:
    monitor = MachineMonitor(world)
    for _ in range(100):
        monitor.sample()
    known = monitor.summary()
    assert len(monitor.load) == 2, "at the beginning and the end, not a hundred times in a moment"
    assert known.cores >= 1 and known.load is not None and known.load >= 0
    assert known.mhz is None or known.mhz.low <= known.mhz.median <= known.mhz.high
    assert known.gpu is None and cache_bytes(world.device) > 2**19


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"others": 0.8}, []),
        ({"others": 0.81}, ["busy neighbours: others kept 0.8 of 8 cores busy"]),
        ({"others": None}, []),
        ({"gpu": GpuConditions(throttled=["power cap", "heat"])}, ["throttled GPU: power cap, heat"]),
        ({"gpu": GpuConditions(foreign_processes=2)}, ["busy neighbours: 2 other processes on the GPU"]),
        ({"gpu": GpuConditions(foreign_processes=0)}, []),
    ],
)
def test_busy_neighbours_and_throttling_are_flagged(fields: dict[str, object], expected: list[str]) -> None:
    assert flags(**fields) == expected


def test_nvmls_reasons_are_given_in_words() -> None:
    idle, cap = pynvml.nvmlClocksEventReasonGpuIdle, pynvml.nvmlClocksEventReasonSwPowerCap
    assert slowed_by(idle, pynvml) == [] and slowed_by(idle | cap, pynvml) == ["power cap"]
    assert len(slowed_by(0xFFFF, pynvml)) == 5, "each is known to this NVML by its name"


@pytest.mark.parametrize(
    ("pids", "others"),
    [
        ([], None),  # a container shows none, not even ours
        (["own"], 0),
        (["own", 1], 1),
        ([1], 0),  # ours, under the number that it has outside of the container
        ([1, 2], 1),
    ],
)
def test_other_processes_on_the_gpu_are_counted_if_processes_are_visible(
    pids: list[object], others: int | None
) -> None:
    class Nvml:
        """NVML of a GPU that reports its processes only."""

        NVML_CLOCK_SM = NVML_TEMPERATURE_GPU = 0
        NVMLError = pynvml.NVMLError

        def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
            return [SimpleNamespace(pid=os.getpid() if pid == "own" else pid) for pid in pids]

        def __getattr__(self, name: str) -> Callable[..., None]:
            def unsupported(*_: object) -> None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

            return unsupported

    gpu = Gpu(Nvml(), None)
    gpu.sample()
    assert gpu.summary() == GpuConditions(foreign_processes=others)
