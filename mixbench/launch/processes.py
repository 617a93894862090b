"""The processes of a run's jobs on this machine: whether they live, and their end."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

POLL_SECONDS = 0.25
STOP_SECONDS = 20


def end_ranks(jobs: Iterable[Path]) -> None:
    """Wait for the ranks of these jobs, which have been told to end or have lost their launcher; kill what does not."""
    found = [(pid, job) for job in jobs for file in job.glob("rank-*.pid") if (pid := _number(file))]
    wait_until(lambda: not any(_lives(*rank) for rank in found), STOP_SECONDS)
    for pid, job in found:
        if _lives(pid, job):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def silent_deaths(job: Path) -> list[int]:
    """The ranks of a job that are gone and have left neither an error nor a result: killed, or crashed."""
    return sorted(
        rank
        for file in job.glob("rank-*.pid")
        if (pid := _number(file)) and not _lives(pid, job)
        for rank in [int(file.stem.removeprefix("rank-"))]
        if not (job / f"error-{rank}.json").exists() and not any(job.glob(f"*_{rank}_result.pkl"))
    )


def oom_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory; 0 where it does not say."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
        return int(counts.get("oom_kill", 0))
    except OSError:
        return 0


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Until the condition holds, or the time is up."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _number(file: Path) -> int | None:
    """The process id in a file; None where it is damaged."""
    try:
        return int(file.read_bytes())
    except (OSError, ValueError):
        return None


def _lives(pid: int, job: Path) -> bool:
    """Whether there is such a process of the job's, and not another that was given its number since."""
    try:
        *command, folder, _ = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return any(b"submitit" in word for word in command) and os.path.samefile(folder, job)
    except (OSError, ValueError):
        return False
