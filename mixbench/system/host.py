"""The machine and the software that a measurement ran with: processor, cores, versions, git commit, time."""

import math
import os
import platform
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mixbench.system.cpu_quota import cpu_quota


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """The number of cores that this process may use: fewer than the machine has under SLURM, taskset or a CPU quota.

    A quota of 1.5 cores counts as one: two threads would use it up, and both stand still for a part of each period.
    """
    return max(1, int(min(len(core_numbers()), cpu_quota() or math.inf)))


def core_numbers() -> set[int]:
    """The numbers of the cores that this process may use, whatever its CPU quota."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def installed(package: str) -> str:
    """The version of an installed package, empty where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@cache
def git_state() -> tuple[str, bool]:
    """The commit of the checkout that mixbench runs from, and whether engine or models were changed or added to since.

    ("", False) in a wheel.
    """
    checkout = Path(__file__).resolve().parents[2]
    if not (checkout / ".git").exists():
        return "", False
    commit = _output("git", "-C", str(checkout), "rev-parse", "HEAD")
    return commit, bool(_output("git", "-C", str(checkout), "status", "--porcelain", "--", "mixbench", "models"))


def nvidia_driver() -> str:
    lines = _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").splitlines()
    return lines[0] if lines else ""


def _output(*command: str) -> str:
    """A command's output; "" if it is missing or fails."""
    import subprocess  # not with the others: most verbs run no command

    # in a git hook, GIT_DIR and its like name another repository
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10, env=clean)
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
