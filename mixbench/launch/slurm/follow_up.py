"""A job that has ended does this for its run: it submits what waited for room in SLURM's queue, and writes the report
if it is the last one.
"""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.slurm.jobs import Array, SlurmJob, is_waiting, jobs, new_name, open_jobs
from mixbench.launch.slurm.queue import queued
from mixbench.launch.slurm.submit import submit, top_up
from mixbench.run.claim import latest
from mixbench.run.folder import Run
from mixbench.system.polling import polls

LAST_SECONDS = 120
"""The time for which the last job tries to submit others: those that ended just before it soon leave the queue."""
LOOKS = 3
"""Looks at the queue, 5 seconds apart, for which a job stays that is not the last in order."""
REPORT_MINUTES = 30
REPORT_SIGNAL_SECONDS = 60


def follow_up(job: SlurmJob) -> None:
    """To be called once the job's own trials have ended.  What goes wrong is printed."""
    can_submit = shutil.which("sbatch") is not None  # not so in a container
    if can_submit:
        with _printed_errors():
            _submit_waiting(job)
    if _others(job):
        return
    if job.array.nodes > 1 and can_submit:
        with _printed_errors():
            _have_reported(job)
        return
    from mixbench.report.write import write

    write(job.run)


@contextmanager
def _printed_errors() -> Iterator[None]:
    try:
        yield
    except (Unavailable, RequestError) as error:
        print(f"mixbench: {error}", file=sys.stderr, flush=True)


def _submit_waiting(job: SlurmJob) -> None:
    """Submit what waits for room.  The last of the run's jobs tries for a while, as nobody does after it.

    Of those that end together one stays, so that the others' room is free: the last in order.  The others leave only
    after a few looks, as it may have left when they had not ended.  Raises Unavailable, RequestError.
    """
    for look, _ in enumerate(polls(5, LAST_SECONDS)):
        if not is_waiting(job.run) or top_up(job.run):
            return
        found = list(jobs(job.run))
        queue = queued(each.array for each in found)
        there = [each for each in found if each.key in queue]
        if any(not each.state().ended for each in there):
            return
        if there and there[-1].key != job.key and look >= LOOKS:
            return


def _others(job: SlurmJob) -> list[SlurmJob]:
    """The jobs of the run that have not ended and are in the queue, as far as that can be asked: not in a container."""
    found = open_jobs(job.run)
    with suppress(Unavailable):
        queue = queued(each.array for each in found)
        found = [each for each in found if each.key in queue]
    return found


def _have_reported(job: SlurmJob) -> None:
    """Have the report made without keeping several nodes for it: by the process that waits for the run, else by a job
    of one node, which has no trials and so is the last one.

    Raises Unavailable, RequestError.
    """
    if _is_watched(job.run):
        return
    changes = {"time": min(job.array.profile.time, REPORT_MINUTES), "dependency": None}
    changes["signal_seconds"] = min(job.array.profile.signal_seconds, REPORT_SIGNAL_SECONDS)
    name = new_name(job.array.name.rpartition("-")[0])
    profile = job.array.profile.model_copy(update=changes)
    done = submit([Array(name=name, profile=profile, nodes=1, processes_per_node=1, jobs=((),))], job.run)
    if done.full:
        raise done.full


def _is_watched(run: Run) -> bool:
    """True if a process holds the run and gives signs of life: it waits for the jobs, and makes the report itself."""
    claim = latest(run.lock)
    try:
        if claim is None or not (who := claim.holder()) or who.ended:
            return False
        first = claim.pulse()
        return any(claim.pulse() != first for _ in polls(1, 2 * who.heartbeat_seconds))
    except OSError:
        return False
