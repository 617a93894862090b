"""Asks SLURM about its queue (squeue), a job and limits (scontrol), and ended jobs (sacct).  Each may be missing."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter

from mixbench.errors import Unavailable
from mixbench.launch.slurm.jobs import Array, SlurmJob

ASK_SECONDS = 30
FILTERS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SLURM_CLUSTERS")
"""Beginnings of environment variables that a user may have set, and that would hide jobs."""
ARRAYS_A_CALL = 200
DEFAULT_MAX_ARRAY_SIZE = 1000
"""SLURM's own default for MaxArraySize is 1001, of which the largest index is one less."""


@dataclass(frozen=True)
class Queued:
    """A job in the queue: PENDING with its reason, RUNNING on its nodes, or about to be either again."""

    slurm_id: str
    state: str
    reason: str
    nodes: str


def ask(*command: str, seconds: float | None = None, cluster: str | None = None) -> str:
    """The output of one of SLURM's commands, here or on another cluster.  Raises Unavailable with its error message."""
    program, *arguments = command
    clean = {name: value for name, value in os.environ.items() if not name.startswith(FILTERS)}
    clean["SLURM_BITSTR_LEN"] = "0"  # else sacct cuts [0,2,4 …] off at 64 characters
    limit = ASK_SECONDS if seconds is None else seconds
    words = [program, *([f"--clusters={cluster}"] if cluster else []), *arguments]
    try:
        done = subprocess.run(words, env=clean, capture_output=True, text=True, errors="replace", timeout=limit)
    except FileNotFoundError:
        raise Unavailable(f"{program} is not on this machine's PATH") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{program} did not answer in {limit:.0f} s") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Unavailable(f"{program}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def queued(arrays: Iterable[Array]) -> dict[tuple[str, int], Queued]:
    """The jobs of these arrays that are in the queue, by (the array's name, index in it).

    Raises Unavailable.
    """
    found = {}
    for cluster, some in _calls(arrays):
        names = ",".join(array.name for array in some)
        # all: in hidden partitions too
        options = ("--all", "--noheader", "--array", f"--name={names}", "--format=%j|%K|%F|%T|%N|%r")
        for line in ask("squeue", *options, cluster=cluster).splitlines():
            name, index, array_id, state, nodes, reason = line.split("|", 5)
            if index.isdecimal():
                found[name, int(index)] = Queued(f"{array_id}_{index}", state, reason, nodes)
    return found


def _calls(arrays: Iterable[Array]) -> Iterator[tuple[str, list[Array]]]:
    """The arrays of each cluster, each once, as many together as one call may name."""
    once = {array.name: array for array in arrays}.values()
    for cluster, group in groupby(sorted(once, key=attrgetter("cluster", "name")), attrgetter("cluster")):
        while some := list(islice(group, ARRAYS_A_CALL)):
            yield cluster, some


def parse_facts(line: str) -> dict[str, str]:
    """The output of `scontrol --oneliner show job` as a dict: JobState, Reason, Restarts, TimeLimit, NodeList …"""
    return dict(re.findall(r"(\w+)=(\S*)", line))


def job_facts(job_id: str, cluster: str | None = None) -> dict[str, str]:
    """A job's state and settings, from slurmctld.  Raises Unavailable."""
    return parse_facts(ask("scontrol", "--oneliner", "show", "job", job_id, cluster=cluster))


def parse_seconds(text: str) -> float:
    """A time as SLURM prints it, days-hours:minutes:seconds or a part of that; infinite for UNLIMITED or no time."""
    if not re.fullmatch(r"(\d+-)?[\d:]+", text):
        return float("inf")
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return int(days or 0) * 86400 + seconds


def last_states(jobs: Iterable[SlurmJob]) -> dict[tuple[str, int], str]:
    """Jobs' last states in SLURM's accounting, such as CANCELLED by 0, NODE_FAIL, by their keys; some may be unknown.

    sacct is asked once for all, by the arrays' numbers: by its own, it does not know a job that was cancelled before it
    began.  It takes long to fail where slurmdbd hangs, and is then asked no more.
    """
    asked = [job for job in jobs if job.array.slurm_id]
    found: dict[tuple[str, int], str] = {}
    with suppress(Unavailable):
        for cluster, arrays in _calls(job.array for job in asked):
            numbers: dict[str, list[SlurmJob]] = {array.slurm_id: [] for array in arrays}
            for job in asked:
                if job.array.cluster == cluster and job.array.slurm_id in numbers:
                    numbers[job.array.slurm_id].append(job)
            options = ("--allocations", "--noheader", "--parsable2", f"--jobs={','.join(numbers)}")
            for line in ask("sacct", *options, "--format=JobID,State", cluster=cluster).splitlines():
                job_id, _, state = line.partition("|")
                array_id, _, indices = job_id.partition("_")
                named = parse_indices(indices)
                for job in numbers.get(array_id, []):
                    if indices.isdecimal() and job.index in named:
                        found[job.key] = state
                    elif job.index in named or not indices:
                        found.setdefault(job.key, state)  # of all that were still pending, some of which went on
    return found


def parse_indices(text: str) -> set[int]:
    """The indices in an array that SLURM prints as 7, or as [0-39,45%4] for several jobs that are alike."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text.partition("%")[0]):
        found.update(range(int(first), int(last or first) + 1))
    return found


def max_array_size(cluster: str | None = None) -> int:
    """The number of jobs that an array may have."""
    try:
        found = re.search(
            r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config", cluster=cluster), re.MULTILINE
        )
    except Unavailable:
        found = None
    return max(1, int(found[1]) - 1) if found else DEFAULT_MAX_ARRAY_SIZE
