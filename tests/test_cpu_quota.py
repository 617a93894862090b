"""CPU quotas of control groups: read in every form, counted as cores, and flagged where timings were throttled."""

import os
from pathlib import Path

import pytest

from mixbench.measure.conditions import MachineMonitor
from mixbench.measure.recorder import environment
from mixbench.system.cpu_quota import cpu_quota, quota_periods, throttled_since
from mixbench.system.host import usable_cores
from mixbench.train.distributed import World
from tests import cgroups
from tests.test_conditions import burn, flags


def machine(folder: Path, groups: str, mounts: list[str], files: dict[str, str]) -> Path:
    """The /proc/self of a process in these groups; a mount is `root point kind options`, its point beneath `folder`."""
    proc = folder / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    lines = ["22 27 0:21 / /proc rw,relatime - proc proc rw"]
    for root, point, kind, options in map(str.split, mounts):
        lines.append(f"32 31 0:29 {root} {folder}/{point} rw,relatime shared:9 master:3 - {kind} cgroup rw,{options}")
    (proc / "mountinfo").write_text("\n".join(lines) + "\n")
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return proc


V1 = {"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "quota"),
    [
        pytest.param("0::/\n", ["/ sys cgroup2 nsdelegate"], {"sys/cpu.max": "150000 100000\n"}, 1.5, id="docker, v2"),
        pytest.param("0::/\n", ["/ sys cgroup2 nsdelegate"], {"sys/cpu.max": "max 100000\n"}, None, id="no quota, v2"),
        pytest.param(
            "0::/a.slice/b.scope\n",
            ["/ sys cgroup2 nsdelegate"],
            {"sys/a.slice/cpu.max": "50000 100000\n", "sys/a.slice/b.scope/cpu.max": "400000 100000\n"},
            0.5,
            id="the group above has less, v2",
        ),
        pytest.param(
            "4:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n0::/x\n",
            ["/docker/1f sys/cpu,cpuacct cgroup cpu,cpuacct", "/docker/1f sys/systemd cgroup name=systemd"],
            {f"sys/cpu,cpuacct/{name}": text for name, text in (V1 | {"cpu.cfs_quota_us": "200000\n"}).items()},
            2.0,
            id="docker, v1",
        ),
        pytest.param(
            "4:cpu:/a:b/c\n",
            ["/ sys/cpu cgroup cpu", "/ sys/cpuset cgroup cpuset"],
            {f"sys/cpu/a:b/{name}": text for name, text in (V1 | {"cpu.cfs_quota_us": "100000\n"}).items()},
            1.0,
            id="the group above alone, v1",
        ),
        pytest.param(
            "1:cpu:/a\n0::/\n",
            ["/ sys/cpu cgroup cpu", "/ sys/unified cgroup2 rw"],
            {f"sys/cpu/a/{name}": text for name, text in V1.items()},
            None,
            id="no quota, both",
        ),
        pytest.param("0::/../other\n", ["/ sys cgroup2 rw"], {"sys/cpu.max": "100000 100000\n"}, 1.0, id="outside"),
        pytest.param("0::/\n", ["/ sys cgroup2 rw"], {"sys/cpu.max": "\n"}, None, id="damaged"),
        pytest.param("", [], {}, None, id="no groups"),
    ],
)
def test_the_least_quota_of_a_process_s_groups_is_found(
    groups: str, mounts: list[str], files: dict[str, str], quota: float | None, tmp_path: Path
) -> None:
    assert cpu_quota(machine(tmp_path, groups, mounts, files)) == quota
    assert cpu_quota(tmp_path / "none") is None, "not Linux"


def test_throttled_periods_are_those_since_of_the_group_throttled_most(tmp_path: Path) -> None:
    stat = "usage_usec 9\nnr_periods {}\nnr_throttled {}\nthrottled_usec 7\n"
    files = {"sys/cpu.stat": stat.format(0, 0), "sys/a/cpu.max": "100000 100000", "sys/a/cpu.stat": stat.format(50, 5)}
    files |= {"sys/a/b/cpu.max": "max 100000", "sys/a/b/c/cpu.max": "300000 100000", "sys/a/b/c/cpu.stat": "odd\n"}
    proc = machine(tmp_path, "0::/a/b/c\n", ["/ sys cgroup2 rw"], files)
    before = quota_periods(proc)
    assert throttled_since(before, proc) == (0, 0) and len(before) == 2
    (tmp_path / "sys/a/cpu.stat").write_text(stat.format(90, 25))
    assert throttled_since(before, proc) == (20, 40)
    assert throttled_since({}, proc) is None


def test_a_quota_counts_as_so_many_whole_cores_and_stands_in_the_record() -> None:
    here = usable_cores()
    with cgroups.cpu_quota(1.5):
        found = environment()
        assert usable_cores() == found.cores == 1 and found.cpu_quota == 1.5
        assert f"({found.cores} cores)" in found.device
    with cgroups.cpu_quota(here + 2.0):
        assert usable_cores() == here
    with cgroups.cpu_quota(0.5):
        assert usable_cores() == 1
    assert usable_cores() == here and cpu_quota() is None


def test_timings_are_flagged_where_the_quota_was_used_up(world: World) -> None:
    with cgroups.cpu_quota(0.05):
        monitor = MachineMonitor(world)
        burn(1.0)
        known = monitor.summary()
    assert known.cpu_quota == 0.05 and known.cores == len(os.sched_getaffinity(0))
    assert known.throttled_periods and known.quota_periods and known.throttled_periods <= known.quota_periods
    detail = f"in {known.throttled_periods} of {known.quota_periods} periods of its CPU quota (0.05 cores)"
    assert f"throttled CPU: {detail}" in flags(**known.model_dump())


@pytest.mark.parametrize(("throttled", "flagged"), [(0, False), (4, False), (5, True), (400, True)])
def test_a_quota_that_was_hardly_ever_used_up_is_no_flag(throttled: int, flagged: bool) -> None:
    found = flags(cpu_quota=1.0, quota_periods=400, throttled_periods=throttled)
    assert bool(found) == flagged
