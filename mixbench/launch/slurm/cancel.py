"""`mixbench cancel`: take a run's jobs out of SLURM, and nothing else."""

import os
from collections import Counter
from pathlib import Path

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.job import job_folders
from mixbench.launch.slurm.jobs import jobs, read_array, refuse_others, taken_backlog
from mixbench.launch.slurm.queue import Queued, ask, queued
from mixbench.run import claim
from mixbench.run.folder import Run
from mixbench.system.polling import polls
from mixbench.system.words import plural

POLL_SECONDS, SLOWEST_SECONDS = 1.0, 10.0
GONE_SECONDS = 60.0
"""The time in which a cancelled job leaves the queue: by default SLURM gives it 30 s to end, and then kills it."""


def cancel(run: Run) -> list[Queued]:
    """The jobs that were in the queue and no longer are.  Records and checkpoints stay.

    They are found by their arrays' names, which are written down before anything is submitted.  The queue is asked
    until none is left, ever less often: a job that was just about to be requeued would be there again.

    Raises RequestError where SLURM cannot be asked, or does not obey; where the jobs are another user's; where the run
    is not in SLURM, but runs here.
    """
    found = list(jobs(run))
    if not found:
        run.planned()  # raises where this is no run folder
    refuse_others([job for job in found if not job.state().ended])
    with taken_backlog(run) as backlog:
        backlog.arrays = ()  # else a job that ends would submit them
    cancelled: dict[tuple[str, int], Queued] = {}
    queue: dict[tuple[str, int], Queued] = {}
    try:
        for _ in polls(POLL_SECONDS, GONE_SECONDS, SLOWEST_SECONDS):
            if not (queue := queued(job.array for job in found)):
                break
            refuse_others([job for job in found if job.key in queue])
            cancelled = queue | cancelled
            live = {name for (name, _), each in queue.items() if each.state != "COMPLETING"}
            for array in {job.array.name: job.array for job in found if job.array.name in live}.values():
                ask("scancel", f"--name={array.name}", f"--user={os.getuid()}", cluster=array.cluster)
    except Unavailable as error:
        done = "what was cancelled is not known" if cancelled else "nothing was done"
        raise RequestError(f"{error}; {done}, the same command tries again") from None
    if left := [each for each in queue.values() if each.state != "COMPLETING"]:
        raise RequestError(
            f"{plural(len(left), 'job')} still in the queue after {GONE_SECONDS:.0f} s, such as {left[0].slurm_id} "
            f"({left[0].state}); the same command tries again"
        )
    for job in found:
        if not job.state().ended:
            claim.seize(job.folder.lock)  # a node that nobody reaches may still be at work: it writes no more
            job.end("cancelled")
            for trial_id in job.trials:
                run.clear_progress(trial_id)
    _refuse_damaged(run)
    if not cancelled:
        _refuse_local(run)
    return list(cancelled.values())


def summary(cancelled: list[Queued], folder: Path) -> str:
    if not cancelled:
        return f"no job of {folder} is in the queue: there was nothing to cancel"
    states = Counter(each.state.lower() for each in cancelled)
    said = ", ".join(f"{count} {state}" for state, count in states.items())
    kept = "records and checkpoints are kept, `mixbench run` goes on from them"
    return f"{plural(len(cancelled), 'job')} cancelled ({said}); {kept}"


def _refuse_local(run: Run) -> None:
    """Raises RequestError where a process outside of SLURM runs the trials."""
    who, last = claim.holder(run.lock), job_folders(run)[-1:]
    if who and who.lives() is not False and not any(folder.array_file.exists() for folder in last):
        raise RequestError(
            f"{run.folder} is not in SLURM; it is run by {who}: end it there with Ctrl-C, or with: kill {who.pid}"
        )


def _refuse_damaged(run: Run) -> None:
    """Raises RequestError where an array cannot be read, whose jobs may still be in the queue."""
    bad = []
    for folder in job_folders(run):
        if not folder.array_file.exists():
            continue
        try:
            read_array(folder)
        except RequestError as error:
            bad.append(f"{error}; should it have jobs in the queue, cancel them with scancel")
    if bad:
        raise RequestError("\n".join(bad))
