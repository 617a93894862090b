"""A run's jobs in SLURM: the queue's answer combined with what the run folder says."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from mixbench.errors import Unavailable
from mixbench.launch.job import last_folders
from mixbench.launch.slurm.jobs import SlurmJob, open_jobs, waiting_for_room
from mixbench.launch.slurm.queue import Queued, last_states, queued
from mixbench.results.collect import Collected
from mixbench.run.inventory import Inventory
from mixbench.run.record import Record
from mixbench.system.files import text_of
from mixbench.system.words import plural

MOST_SHOWN = 8
AT_WORK = ("RUNNING", "COMPLETING")


@dataclass
class InQueue:
    """The run's jobs that may still run, each with its entry in the queue.

    `silent`: why SLURM cannot be asked.  `for_room`: the number of trials that wait for room in the queue.
    """

    inventory: Inventory
    jobs: list[tuple[SlurmJob, Queued | None]] = field(default_factory=list)
    silent: str = ""
    for_room: int = 0

    def facts(self) -> dict[str, Any]:
        """The jobs as JSON data; empty for a run that has no jobs in SLURM."""
        if not self.jobs and not self.for_room:
            return {}
        rows = [
            {
                "job": job.slurm_id,
                "state": found.state if found else None,
                "reason": found.reason if found else None,
                "nodes": found.nodes if found else None,
                "trials": job.unfinished(self.inventory),
            }
            for job, found in self.jobs
        ]
        slurm = {"cannot_be_asked": self.silent or None, "jobs": rows, "trials_waiting_for_room": self.for_room}
        return {"slurm": slurm}

    def lines(self) -> list[str]:
        """The jobs in words, a line each."""
        if self.silent:
            return [f"SLURM cannot be asked: {self.silent}; what runs is as the run folder last said"]
        there = [(job, found) for job, found in self.jobs if found]
        at_work = [(job, found) for job, found in there if found.state in AT_WORK]
        lines = [f"job {job.slurm_id} runs on {found.nodes}: {_work(job)}" for job, found in at_work[:MOST_SHOWN]]
        if more := len(at_work) - MOST_SHOWN:
            lines += [f"and {plural(more, 'more job')} {'runs' if more == 1 else 'run'}"] * (more > 0)
        waiting = Counter((found.state, found.reason) for _, found in there if found.state not in AT_WORK)
        for (state, reason), count in waiting.items():
            lines.append(f"{plural(count, 'job')} {'is' if count == 1 else 'are'} {state} ({reason})")
        if self.for_room:
            able = any(job.array.profile.container is None for job, _ in there)  # a container has no sbatch
            who = "a job that ends submits them" if able else "the same command submits them"
            lines.append(f"{plural(self.for_room, 'trial')} not in the queue, for which it had no room: {who}")
        return lines + self._gone()

    def _gone(self) -> list[str]:
        """The jobs that have left the queue before all their trials had ended."""
        gone = [job for job, found in self.jobs if found is None and job.unfinished(self.inventory)]
        states = last_states(gone)
        lines = []
        for job in gone[:MOST_SHOWN]:
            how = states.get(job.key) or "SLURM's accounts do not say how"
            left = plural(len(job.unfinished(self.inventory)), "trial")
            lines.append(
                f"job {job.slurm_id} has left the queue ({how}) with {left} unfinished: "
                "the same command submits them again"
            )
        if (more := len(gone) - MOST_SHOWN) > 0:
            lines.append(f"and {plural(more, 'more job')} {'has' if more == 1 else 'have'}")
        return lines


def in_queue(inventory: Inventory, collected: Collected) -> tuple[Collected, InQueue]:
    """The records, whose status is `running` or `pending` as the queue says, and the jobs.

    If SLURM cannot be asked, the status that is in the run folder stays.
    """
    run = inventory.run
    found, for_room = open_jobs(run), len(waiting_for_room(run))
    try:
        queue = queued(job.array for job in found)
    except Unavailable as error:
        return collected, InQueue(inventory, [(job, None) for job in found], str(error), for_room)
    jobs = [(job, queue.get(job.key)) for job in found]
    current = {_current(job) for job, entry in jobs if entry and entry.state in AT_WORK}
    theirs = {trial_id for trial_id, folder in last_folders(run).items() if folder.array_file.exists()}
    records = [
        _as_queued(each, each.trial_id in current) if each.trial_id in theirs else each for each in collected.records
    ]
    return replace(collected, records=records), InQueue(inventory, jobs, for_room=for_room)


def _as_queued(record: Record, at_work: bool) -> Record:
    if record.status not in ("running", "pending"):
        return record
    return record.model_copy(update={"status": "running" if at_work else "pending"})


def _work(job: SlurmJob) -> str:
    return _current(job) if job.trials else "it writes the report"


def _current(job: SlurmJob) -> str:
    return text_of(job.folder.current_file)
