"""CPU quota of the control groups (cgroup v1 or v2) that hold this process, as `docker run --cpus 1` sets one.

A quota is so much CPU time in each period, of 100 ms by default.  A group that has used it up is throttled: all its
threads stand still until the period ends.  Neither os.cpu_count() nor the affinity knows of it.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

PROC = Path("/proc/self")


def cpu_quota(proc: Path = PROC) -> float | None:
    """The CPU time that this process may use, in cores; None without a quota."""
    return min(filter(None, map(_quota_of, _groups(proc))), default=None)


def quota_periods(proc: Path = PROC) -> dict[Path, tuple[int, int]]:
    """For each group with a quota: (throttled periods, periods in which it ran), so far."""
    return {group: _periods_of(group) for group in _groups(proc) if _quota_of(group)}


def throttled_since(before: dict[Path, tuple[int, int]], proc: Path = PROC) -> tuple[int, int] | None:
    """(throttled periods, periods) since `before`, of the group that was throttled most often; None without a quota."""
    pairs = [(then, now) for group, now in quota_periods(proc).items() if (then := before.get(group))]
    return max(((now[0] - then[0], now[1] - then[1]) for then, now in pairs), default=None)


def _groups(proc: Path) -> Iterator[Path]:
    """The folders of this process's groups and of those above them, as far as they are visible in a container."""
    try:
        names = [line.split(":", 2)[1:] for line in (proc / "cgroup").read_text(encoding="utf-8").splitlines()]
        mounts = [line.split() for line in (proc / "mountinfo").read_text(encoding="utf-8").splitlines()]
    except OSError:
        return
    of_controller = {controller: PurePosixPath(name) for listed, name in names for controller in listed.split(",")}
    for _, _, _, root, folder, *_, kind, _, options in mounts:
        controller = "cpu" if kind == "cgroup" and "cpu" in options.split(",") else "" if kind == "cgroup2" else None
        if controller in of_controller:
            own = of_controller[controller]
            below = own.relative_to(root) if own.is_relative_to(root) else PurePosixPath()
            yield from (Path(folder) / each for each in (below, *below.parents))


def _quota_of(group: Path) -> float | None:
    """The quota in cores; None if the group has none ("max", -1)."""
    try:
        if (file := group / "cpu.max").exists():
            quota, period = map(int, file.read_text(encoding="ascii").split())
        else:
            quota, period = (int((group / f"cpu.cfs_{name}_us").read_bytes()) for name in ("quota", "period"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None


def _periods_of(group: Path) -> tuple[int, int]:
    try:
        counts = dict(line.split() for line in (group / "cpu.stat").read_text(encoding="ascii").splitlines())
        return int(counts["nr_throttled"]), int(counts["nr_periods"])
    except (OSError, ValueError, KeyError):
        return 0, 0
