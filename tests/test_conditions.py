"""What is said of the machine that something was timed on: neighbours, clocks, throttling."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pynvml
import pytest

from mixbench.measure.conditions import Gpu, Watch, slowed_by
from mixbench.measure.subject import cache_bytes
from mixbench.samples import Conditions, GpuConditions, ThroughputSamples
from mixbench.world import World


def flags(**conditions: object) -> list[str]:
    known = Conditions.model_validate({"seconds": 1.0, "cores": 8} | conditions)
    return ThroughputSamples(infer_step_ms=[], train_step_ms=[], warmup=0, interleaved_with=0, conditions=known).flags


def burn(seconds: float) -> float:
    """Returns the share of a core that this process got."""
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
def test_own_work_is_none_of_a_neighbours(world: World) -> None:
    watch = Watch(world)
    own = burn(1.0)
    known = watch.sum_up()
    assert own > 0.2, "else nothing is shown"
    assert known.cores == 1 and known.others is not None
    assert known.others + own < 1.1, "both together are all that one core can do"


def test_a_busy_neighbour_is_seen(world: World) -> None:
    neighbours = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        watch = Watch(world)
        burn(1.0)
        others = watch.sum_up().others
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
    assert others is not None and others > 0.5


def test_clocks_and_load_are_looked_at_now_and_then(world: World) -> None:
    watch = Watch(world)
    for _ in range(100):
        watch.look()
    known = watch.sum_up()
    assert len(watch.load) == 2, "at the beginning and the end, not a hundred times in a moment"
    assert known.cores >= 1 and known.load is not None and known.load >= 0
    assert known.mhz is None or known.mhz.low <= known.mhz.median <= known.mhz.high
    assert known.gpu is None and cache_bytes(world.device) > 2**19


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"others": 0.8}, []),
        ({"others": 0.81}, ["busy neighbours: others kept 0.8 of 8 cores busy"]),
        ({"others": None}, []),
        ({"gpu": GpuConditions(throttled=["power cap", "heat"])}, ["throttled GPU: power cap, heat"]),
        ({"gpu": GpuConditions(foreign_processes=2)}, ["busy neighbours: 2 other processes on the GPU"]),
        ({"gpu": GpuConditions(foreign_processes=0)}, []),
    ],
)
def test_what_a_reader_must_know_is_flagged(conditions: dict[str, object], said: list[str]) -> None:
    assert flags(**conditions) == said


def test_nvmls_reasons_are_told_in_words() -> None:
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
def test_other_processes_on_the_gpu_are_counted_where_ours_is_seen(pids: list[object], others: int | None) -> None:
    class Nvml:
        """NVML of a card that tells of its processes alone."""

        NVML_CLOCK_SM = NVML_TEMPERATURE_GPU = 0
        NVMLError = pynvml.NVMLError

        def nvmlDeviceGetComputeRunningProcesses(self, handle: object) -> list[SimpleNamespace]:
            return [SimpleNamespace(pid=os.getpid() if pid == "own" else pid) for pid in pids]

        def __getattr__(self, name: str) -> Callable[..., None]:
            def untold(*_: object) -> None:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

            return untold

    gpu = Gpu(Nvml(), None)
    gpu.look()
    assert gpu.sum_up() == GpuConditions(foreign_processes=others)
