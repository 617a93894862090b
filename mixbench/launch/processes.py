"""The processes of a run's jobs on this machine: which are alive, and how they are ended."""

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from mixbench.launch.job import JobFolder
from mixbench.system.polling import polls

POLL_SECONDS = 0.25
STOP_SECONDS = 20


def end_ranks(jobs: Iterable[JobFolder]) -> None:
    """Wait for the ranks of these jobs, which were told to end or have lost their launcher; kill those that stay."""
    found = [(pid, job) for job in jobs for file in job.pid_files().values() if (pid := _pid_in(file))]
    wait_until(lambda: not any(_is_alive(*rank) for rank in found), STOP_SECONDS)
    for pid, job in found:
        if _is_alive(pid, job):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def crashed_ranks(job: JobFolder) -> list[int]:
    """The ranks of a job that have ended and left neither an error nor a result: killed, or crashed."""
    return sorted(
        rank
        for rank, file in job.pid_files().items()
        if (pid := _pid_in(file)) and not _is_alive(pid, job)
        if not job.error_file(rank).exists() and not job.has_result(rank)
    )


def oom_kills() -> int:
    """The number of processes that the kernel has killed as memory ran out, since the boot; 0 where that is unknown."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines())
        return int(counts.get("oom_kill", 0))
    except OSError:
        return 0


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when the condition is true, or the time is up."""
    any(condition() for _ in polls(POLL_SECONDS, seconds))


def _pid_in(file: Path) -> int | None:
    """The process id in a file; None where it is damaged."""
    try:
        return int(file.read_bytes())
    except (OSError, ValueError):
        return None


def _is_alive(pid: int, job: JobFolder) -> bool:
    """True if the process is one of the job's, not a later one that was given the same number."""
    try:
        *command, folder, _ = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return any(b"submitit" in word for word in command) and os.path.samefile(folder, job.path)
    except (OSError, ValueError):
        return False
