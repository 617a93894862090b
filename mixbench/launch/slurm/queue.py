"""What SLURM says: its queue (squeue), a job (scontrol), its accounts (sacct), its limits.  Each may be missing."""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from mixbench.errors import Unavailable

ASK_SECONDS = 30
FILTERS = ("SQUEUE_", "SACCT_", "SCANCEL_", "SLURM_CLUSTERS")
"""Beginnings of what a shell may set that hides jobs from us."""
NAMES_A_CALL = 200
MOST_IN_ARRAY = 1000
"""SLURM's own default for MaxArraySize is 1001, of which the largest index is one less."""


@dataclass(frozen=True)
class Queued:
    """A job in the queue: PENDING with its reason, RUNNING on its nodes, or about to be either again."""

    slurm_id: str
    state: str
    reason: str
    nodes: str


def ask(*command: str, seconds: float = ASK_SECONDS) -> str:
    """What a command of SLURM's prints.  Raises Unavailable with what it says."""
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
    """(an array's name, index) → what the queue says of that job; those that have left it are not there.

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


def facts_in(line: str) -> dict[str, str]:
    """What `scontrol --oneliner show job` prints: JobState, Reason, Restarts, TimeLimit, NodeList …"""
    return dict(re.findall(r"(\w+)=(\S*)", line))


def described(job_id: str) -> dict[str, str]:
    """What slurmctld says of a job.  Raises Unavailable."""
    return facts_in(ask("scontrol", "--oneliner", "show", "job", job_id))


def seconds_in(text: str) -> float:
    """A time of SLURM's, days-hours:minutes:seconds or less of it; infinite where it is UNLIMITED, or no time."""
    if not re.fullmatch(r"(\d+-)?[\d:]+", text):
        return float("inf")
    days, _, clock = text.rpartition("-")
    seconds = 0
    for part in clock.split(":"):
        seconds = 60 * seconds + int(part)
    return int(days or 0) * 86400 + seconds


def last_state(job_id: str) -> str:
    """How the accounts say that a job ended, such as CANCELLED by 0, NODE_FAIL, OUT_OF_MEMORY; empty where unknown."""
    try:
        lines = ask("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job_id}", "--format=State")
    except Unavailable:
        return ""
    return lines.strip().splitlines()[-1] if lines.strip() else ""


def most_in_array() -> int:
    """How many jobs an array may have."""
    try:
        found = re.search(r"^MaxArraySize\s*=\s*(\d+)", ask("scontrol", "show", "config"), re.MULTILINE)
    except Unavailable:
        found = None
    return max(1, int(found[1]) - 1) if found else MOST_IN_ARRAY
