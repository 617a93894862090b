"""A real CPU quota, by a control group (v1 or v2), where this machine lets the tests make one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mixbench.system.cpu_quota import PROC, _groups
from mixbench.system.polling import polls

PERIOD = 100_000  # µs


@contextmanager
def cpu_quota(cores: float) -> Iterator[None]:
    """This process may use so much CPU time; a skip where no group can be made: not as root, or in some containers."""
    groups, why = list(_groups(PROC)), "no control group can be seen here"
    for parent in groups:
        group = parent / f"mixbench-test-{os.getpid()}"
        try:
            group.mkdir()
            _limit(group, round(cores * PERIOD))
            (group / "cgroup.procs").write_text(str(os.getpid()))
        except OSError as error:
            why = f"no control group with a CPU quota can be made here: {error}"
            with suppress(OSError):
                group.rmdir()
            continue
        try:
            yield
        finally:
            (groups[0] / "cgroup.procs").write_text(str(os.getpid()))
            assert any(_removed(group) for _ in polls(0.05, 20)), f"{group} has processes that have not ended"
        return
    pytest.skip(why)


def _limit(group: Path, quota: int) -> None:
    if (group / "cgroup.controllers").exists():
        (group / "cpu.max").write_text(f"{quota} {PERIOD}")  # there if the group above passes the controller on
    else:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD))
        (group / "cpu.cfs_quota_us").write_text(str(quota))


def _removed(group: Path) -> bool:
    with suppress(OSError):
        group.rmdir()
    return not group.exists()
