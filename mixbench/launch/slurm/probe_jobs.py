"""The doctor's probe jobs, seen from the login node: submitted, waited for, cancelled after a while, their checks read.

They are submitted like a run's jobs, by `submit.executor`, with another command.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from submitit.core.utils import FailedJobError

from mixbench.errors import Unavailable, printable
from mixbench.launch.checks import Check
from mixbench.launch.job import JobFolder
from mixbench.launch.slurm.batch_script import command, executor, surroundings
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Array
from mixbench.launch.slurm.probe import ProbeRequest, read_checks, request_file
from mixbench.launch.slurm.queue import Queued, ask, job_facts, queued
from mixbench.system.files import text_of, to_json, write_atomically
from mixbench.system.polling import polls

PROBE_MINUTES = 10
POLL_SECONDS = 1.0
RUNNING_SECONDS = 240.0
"""A probe that runs for longer hangs: its checks take seconds, a minute on a busy node."""
GONE_SECONDS = 60.0
Say = Callable[[str], None]


@dataclass
class Probe:
    """A job that checks one node, or that several can meet.  `seen`: its last entry in the queue."""

    check: str
    folder: JobFolder
    array: Array
    slurm_id: str
    begun: float = field(default_factory=time.monotonic)
    seen: Queued | None = None
    gone: bool = False
    given_up: str = ""

    @property
    def key(self) -> tuple[str, int]:
        return self.array.name, 0


def probe_array(profile: Profile, nodes: int, processes_per_node: int) -> Array:
    name = f"mixbench-doctor-{uuid.uuid4().hex[:8]}"
    return Array(name=name, profile=profile, nodes=nodes, processes_per_node=processes_per_node, jobs=(("probe",),))


def run_probes(request: ProbeRequest, folder: Path, several: bool, wait: float, say: Say) -> Iterator[Check]:
    """The checks of one node, and of a meeting of two where there are `several`.  Leaves no job behind."""
    probes: list[Probe] = []
    try:
        for check, nodes in (("compute node", 1), ("rendezvous", 2))[: 1 + several]:
            probes.append(_submit(check, nodes, request, JobFolder(folder / check.replace(" ", "-"))))
        _await(probes, wait, say)
        for probe in probes:
            yield from _checks_of(probe)
    except (FailedJobError, Unavailable) as error:
        yield Check("compute node", False, " ".join(str(error).split()))
    finally:
        _cancel(probes)


def _submit(check: str, nodes: int, request: ProbeRequest, folder: JobFolder) -> Probe:
    """Raises FailedJobError."""
    profile, array = request.profile, probe_array(request.profile, nodes, 1)
    folder.path.mkdir()
    write_atomically(request_file(folder.path), to_json(request))
    made = executor(array, folder.path)
    made.update_parameters(setup=surroundings(profile), time=min(profile.time, PROBE_MINUTES))
    job = made._submit_command(command(profile, "mixbench.launch.slurm.probe"))
    return Probe(check, folder, array, f"{job.job_id}_0")


def _await(probes: list[Probe], wait: float, say: Say) -> None:
    """Return when each probe has left the queue, or has taken too long.  Raises Unavailable."""
    shown: dict[str, str] = {}
    for _ in polls(POLL_SECONDS):
        waiting = [probe for probe in probes if not probe.gone and not probe.given_up]
        if not waiting:
            return
        queue, now = queued(probe.array for probe in waiting), time.monotonic()
        for probe in waiting:
            found = queue.get(probe.key)
            if found is None:
                probe.gone = True
                continue
            if found.state == "RUNNING" and (probe.seen is None or probe.seen.state != "RUNNING"):
                probe.begun = now
            probe.seen = found
            pending = found.state == "PENDING"
            what = f"{found.state} ({printable(found.reason)})" if pending else f"{found.state} on {found.nodes}"
            if shown.get(probe.check) != (shown := shown | {probe.check: what})[probe.check]:
                say(f"{probe.check}: job {probe.slurm_id} is {what}")
            if now - probe.begun > (wait if pending else RUNNING_SECONDS):
                longer = "; --wait has it wait longer" if pending else ""
                probe.given_up = f"was still {what} after {now - probe.begun:.0f} s, and was cancelled{longer}"


def _cancel(probes: list[Probe]) -> None:
    """Cancel the probes, and return when none is in the queue or writes into its folder."""
    left = [probe.array for probe in probes if not probe.gone]
    with suppress(Unavailable):
        for array in left:
            ask("scancel", f"--name={array.name}", f"--user={os.getuid()}", cluster=array.cluster)
        for _ in polls(POLL_SECONDS, GONE_SECONDS):
            if not queued(left):
                break


def _checks_of(probe: Probe) -> Iterator[Check]:
    """The checks of a probe, or the reason why there are none."""
    ranks = [_checks_of_rank(probe, rank) for rank in range(probe.array.nodes)]
    found = next((checks for checks in ranks if any(not check.ok for check in checks)), ranks[0])
    if probe.given_up or not all(ranks):
        yield Check(
            probe.check, False, _why_incomplete(probe, next((rank for rank, each in enumerate(ranks) if not each), 0))
        )
    elif probe.array.nodes == 1:
        where = f" on {probe.seen.nodes}" if probe.seen and probe.seen.nodes else ""
        yield Check(probe.check, True, f"job {probe.slurm_id} ran{where}")
    yield from found


def _checks_of_rank(probe: Probe, rank: int) -> list[Check]:
    with suppress(FileNotFoundError):
        return read_checks(probe.folder.path, rank)
    return []


def _why_incomplete(probe: Probe, rank: int) -> str:
    """The end of a job some of whose checks are missing, and the last line that it printed."""
    how = probe.given_up or _ended(probe)
    logs = [text_of(probe.folder.slurm_log(0, who, probe.array.slurm_id)) for who in (rank, "batch")]
    said = [line for text in logs for line in text.strip().splitlines()[-1:]]
    if not said and not probe.given_up:
        said = [f"it left nothing in {probe.folder.path.parent.parent}: do compute nodes see that folder?"]
    return ": ".join([f"job {probe.slurm_id} {how}", *said[:1]])


def _ended(probe: Probe) -> str:
    try:
        facts = job_facts(probe.slurm_id, probe.array.cluster)
    except Unavailable:
        return "has ended"
    return f"ended on {facts.get('NodeList')} as {facts.get('JobState')}, exit code {facts.get('ExitCode')}"
