"""A run's jobs in SLURM: the queue's answer combined with what the run folder says."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from mixbench.errors import Unavailable
from mixbench.launch.slurm.jobs import SlurmJob, open_jobs
from mixbench.launch.slurm.jobs import jobs as all_jobs
from mixbench.launch.slurm.queue import Queued, last_state, queued
from mixbench.results.collect import Collected
from mixbench.run.inventory import Inventory
from mixbench.run.record import Record
from mixbench.system.files import text_of
from mixbench.system.words import plural

MOST_SHOWN = 8
AT_WORK = ("RUNNING", "COMPLETING")


@dataclass
class InQueue:
    """The run's jobs that may still run, each with its entry in the queue.  `silent`: why SLURM cannot be asked."""

    inventory: Inventory
    jobs: list[tuple[SlurmJob, Queued | None]] = field(default_factory=list)
    silent: str = ""

    def facts(self) -> dict[str, Any]:
        """The jobs as JSON data; empty for a run that has no jobs in SLURM."""
        if not self.jobs:
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
        return {"slurm": {"cannot_be_asked": self.silent or None, "jobs": rows}}

    def lines(self) -> list[str]:
        """The jobs in words, a line each."""
        if self.silent:
            return [f"SLURM cannot be asked: {self.silent}; what runs is as the run folder last said"]
        there = [(job, found) for job, found in self.jobs if found]
        at_work = [(job, found) for job, found in there if found.state in AT_WORK]
        lines = [f"job {job.slurm_id} runs on {found.nodes}: {_current(job)}" for job, found in at_work[:MOST_SHOWN]]
        if more := len(at_work) - MOST_SHOWN:
            lines += [f"and {plural(more, 'more job')} {'runs' if more == 1 else 'run'}"] * (more > 0)
        waiting = Counter((found.state, found.reason) for _, found in there if found.state not in AT_WORK)
        for (state, reason), count in waiting.items():
            lines.append(f"{plural(count, 'job')} {'is' if count == 1 else 'are'} {state} ({reason})")
        gone = [job for job, found in self.jobs if found is None and job.unfinished(self.inventory)]
        for job in gone[:MOST_SHOWN]:
            how = last_state(job.slurm_id) or "SLURM's accounts do not say how"
            left = plural(len(job.unfinished(self.inventory)), "trial")
            lines.append(
                f"job {job.slurm_id} has left the queue ({how}) with {left} unfinished: "
                "the same command submits them again"
            )
        return lines


def in_queue(inventory: Inventory, collected: Collected) -> tuple[Collected, InQueue]:
    """The records, whose status is `running` or `pending` as the queue says, and the jobs.

    If SLURM cannot be asked, the status that is in the run folder stays.
    """
    run = inventory.run
    found = open_jobs(run)
    if not found:
        return collected, InQueue(inventory)
    try:
        queue = queued(job.array.name for job in found)
    except Unavailable as error:
        return collected, InQueue(inventory, [(job, None) for job in found], str(error))
    jobs = [(job, queue.get(job.key)) for job in found]
    current = {_current(job) for job, entry in jobs if entry and entry.state in AT_WORK}
    theirs = {trial_id for job in all_jobs(run) for trial_id in job.trials}
    records = [
        _as_queued(each, each.trial_id in current) if each.trial_id in theirs else each for each in collected.records
    ]
    return replace(collected, records=records), InQueue(inventory, jobs)


def _as_queued(record: Record, at_work: bool) -> Record:
    if record.status not in ("running", "pending"):
        return record
    return record.model_copy(update={"status": "running" if at_work else "pending"})


def _current(job: SlurmJob) -> str:
    return text_of(job.folder.current_file)
