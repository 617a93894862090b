"""Asks SLURM about its queue (squeue), a job and limits (scontrol), and ended jobs (sacct).  Each may be missing."""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from mixbench.errors import Unavailable

ASK_SECONDS = 30
FILTERS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SLURM_CLUSTERS")
"""Beginnings of environment variables that a user may have set, and that would hide jobs."""
NAMES_A_CALL = 200
DEFAULT_MAX_ARRAY_SIZE = 1000
"""SLURM's own default for MaxArraySize is 1001, of which the largest index is one less."""


@dataclass(frozen=True)
class Queued:
    """A job in the queue: PENDING with its reason, RUNNING on its nodes, or about to be either again."""

    slurm_id: str
    state: str
    reason: str
    nodes: str


def ask(*command: str, seconds: float = ASK_SECONDS) -> str:
    """The output of one of SLURM's commands.  Raises Unavailable with its error message."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(FILTERS)}
    try:
        done = subprocess.run(command, env=clean, capture_output=True, text=True, errors="replace", timeout=seconds)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not on this machine's PATH") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} did not answer in {seconds:.0f} s") from None
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Unavailable(f"{command[0]}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def queued(names: Iterable[str]) -> dict[tuple[str, int], Queued]:
    """The jobs of these arrays that are in the queue, by (the array's name, index in it).

    Raises Unavailable.
    """
    wanted, found = sorted(set(names)), {}
    for start in range(0, len(wanted), NAMES_A_CALL):
        some = ",".join(wanted[start : start + NAMES_A_CALL])
        # all: in hidden partitions too
        lines = ask("squeue", "--all", "--noheader", "--array", f"--name={some}", "--format=%j|%K|%F|%T|%N|%r")
        for line in lines.splitlines():
            name, index, array_id, state, nodes, reason = line.split("|", 5)
            if index.isdecimal():
                found[name, int(index)] = Queued(f"{array_id}_{index}", state, reason, nodes)
    return found


def parse_facts(line: str) -> dict[str, str]:
    """The output of `scontrol --oneliner show job` as a dict: JobState, Reason, Restarts, TimeLimit, NodeList …"""
    return dict(re.findall(r"(\w+)=(\S*)", line))


def job_facts(job_id: str) -> dict[str, str]:
    """A job's state and settings, from slurmctld.  Raises Unavailable."""
    return parse_facts(ask("scontrol", "--oneliner", "show", "job", job_id))


def parse_seconds(text: str) -> float:
    """A time as SLURM prints it, days-hours:minutes:seconds or a part of that; infinite for UNLIMITED or no time."""
    if not re.fullmatch(r"(\d+-)?[\d:]+", text):
        return float("inf")
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return int(days or 0) * 86400 + seconds


def last_state(job_id: str) -> str:
    """A job's last state in SLURM's accounting, such as CANCELLED by 0, NODE_FAIL; empty where unknown."""
    try:
        lines = ask("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job_id}", "--format=State")
    except Unavailable:
        return ""
    return lines.strip().splitlines()[-1] if lines.strip() else ""


def max_array_size() -> int:
    """The number of jobs that an array may have."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    except Unavailable:
        found = None
    return max(1, int(found[1]) - 1) if found else DEFAULT_MAX_ARRAY_SIZE
