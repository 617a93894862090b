"""The doctor's probe jobs, from the login node: submitted, awaited, ended where they take too long, their answers read.

They take the way of a run's jobs, `submit.executor`, with another command.
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
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Array
from mixbench.launch.slurm.probe import Asked, answer
from mixbench.launch.slurm.queue import Queued, ask, described, queued
from mixbench.launch.slurm.submit import command, executor, surroundings
from mixbench.system.files import text_of, to_json, write_atomically

PROBE_MINUTES = 10
POLL_SECONDS = 1.0
RUNNING_SECONDS = 240.0
"""A probe that runs for longer hangs: what it does takes seconds, and a minute where a node is busy."""
GONE_SECONDS = 60.0
Say = Callable[[str], None]


@dataclass
class Probe:
    """A job that looks at one node, or meets on several.  `seen`: what the queue said of it last."""

    check: str
    folder: Path
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


def probed(asked: Asked, folder: Path, several: bool, wait: float, say: Say) -> Iterator[Check]:
    """What one node is like, and whether two meet, where there are `several`.  Leaves no job behind."""
    probes: list[Probe] = []
    try:
        for check, nodes in (("compute node", 1), ("rendezvous", 2))[: 1 + several]:
            probes.append(_submit(check, nodes, asked, folder / check.replace(" ", "-")))
        _await(probes, wait, say)
        for probe in probes:
            yield from _told(probe)
    except (FailedJobError, Unavailable) as error:
        yield Check("compute node", False, " ".join(str(error).split()))
    finally:
        _cancel(probes)


def _submit(check: str, nodes: int, asked: Asked, folder: Path) -> Probe:
    """Raises FailedJobError."""
    profile, array = asked.profile, probe_array(asked.profile, nodes, 1)
    folder.mkdir()
    write_atomically(folder / "asked.json", to_json(asked))
    made = executor(array, folder)
    made.update_parameters(setup=surroundings(profile), time=min(profile.time, PROBE_MINUTES))
    job = made._submit_command(command(profile, "mixbench.launch.slurm.probe"))
    return Probe(check, folder, array, f"{job.job_id}_0")


def _await(probes: list[Probe], wait: float, say: Say) -> None:
    """Until each has left the queue, or has been given up.  Raises Unavailable."""
    told: dict[str, str] = {}
    while waiting := [probe for probe in probes if not probe.gone and not probe.given_up]:
        queue, now = queued({probe.array.name for probe in waiting}), time.monotonic()
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
            if told.get(probe.check) != (told := told | {probe.check: what})[probe.check]:
                say(f"{probe.check}: job {probe.slurm_id} is {what}")
            if now - probe.begun > (wait if pending else RUNNING_SECONDS):
                longer = "; --wait has it wait longer" if pending else ""
                probe.given_up = f"was still {what} after {now - probe.begun:.0f} s, and was cancelled{longer}"
        time.sleep(POLL_SECONDS)


def _cancel(probes: list[Probe]) -> None:
    """Return when no probe is in the queue, nor writes into its folder any more."""
    left, deadline = {probe.array.name for probe in probes if not probe.gone}, time.monotonic() + GONE_SECONDS
    with suppress(Unavailable):
        for name in left:
            ask("scancel", f"--name={name}", f"--user={os.getuid()}")
        while queued(left) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)


def _told(probe: Probe) -> Iterator[Check]:
    """What a probe found, or why it did not."""
    ranks = [_answer(probe, rank) for rank in range(probe.array.nodes)]
    found = next((checks for checks in ranks if any(not check.ok for check in checks)), ranks[0])
    if probe.given_up or not all(ranks):
        yield Check(probe.check, False, _silence(probe, next((rank for rank, each in enumerate(ranks) if not each), 0)))
    elif probe.array.nodes == 1:
        where = f" on {probe.seen.nodes}" if probe.seen and probe.seen.nodes else ""
        yield Check(probe.check, True, f"job {probe.slurm_id} ran{where}")
    yield from found


def _answer(probe: Probe, rank: int) -> list[Check]:
    with suppress(FileNotFoundError):
        return answer(probe.folder, rank)
    return []


def _silence(probe: Probe, rank: int) -> str:
    """How a job ended that left no answer, or not all of it, and the last that it printed."""
    how = probe.given_up or _ended(probe.slurm_id)
    logs = [text_of(path) for who in (rank, "batch") for path in probe.folder.glob(f"*_0_{who}.log")]
    said = [line for text in logs for line in text.strip().splitlines()[-1:]]
    if not said and not probe.given_up:
        said = [f"it left nothing in {probe.folder.parent.parent}: do compute nodes see that folder?"]
    return ": ".join([f"job {probe.slurm_id} {how}", *said[:1]])


def _ended(slurm_id: str) -> str:
    try:
        facts = described(slurm_id)
    except Unavailable:
        return "has ended"
    return f"ended on {facts.get('NodeList')} as {facts.get('JobState')}, exit code {facts.get('ExitCode')}"
