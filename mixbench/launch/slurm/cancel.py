"""`mixbench cancel`: take a run's jobs out of SLURM, and nothing else."""

import os
import time
from collections import Counter
from pathlib import Path

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.slurm.jobs import jobs, read_array
from mixbench.launch.slurm.queue import Queued, ask, queued
from mixbench.run import claim
from mixbench.run.folder import Run
from mixbench.system.words import plural

POLL_SECONDS = 1.0
GONE_SECONDS = 60.0
"""In which a cancelled job leaves the queue: SLURM gives it 30 s to end, by default, before it kills."""


def cancel(run: Run) -> list[Queued]:
    """The jobs that were in the queue and no longer are.  Records and checkpoints stay.

    They are found by their arrays' names, which are there before anything is submitted.  Asked for until none is left:
    one that was about to be put back into the queue may come up again.

    Raises RequestError where SLURM cannot be asked, or does not obey; where the run is not in SLURM, but runs here.
    """
    found = list(jobs(run))
    if not found:
        run.planned()  # raises where this is no run folder
    names = {job.array.name for job in found}
    cancelled: dict[tuple[str, int], Queued] = {}
    deadline = time.monotonic() + GONE_SECONDS
    try:
        while queue := queued(names):
            cancelled = queue | cancelled
            for name in {name for name, _ in queue}:
                ask("scancel", f"--name={name}", f"--user={os.getuid()}")
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_SECONDS)
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
            claim.seize(job.lock)  # a node that nobody reaches may still be at work: it writes no more
            job.end("cancelled")
            for trial_id in job.trials:
                run.clear_progress(trial_id)
    _refuse_damaged(run)
    if not cancelled:
        _refuse_local(run)
    return list(cancelled.values())


def told(cancelled: list[Queued], folder: Path) -> str:
    if not cancelled:
        return f"no job of {folder} is in the queue: there was nothing to cancel"
    states = Counter(each.state.lower() for each in cancelled)
    said = ", ".join(f"{count} {state}" for state, count in states.items())
    kept = "records and checkpoints are kept, `mixbench run` goes on from them"
    return f"{plural(len(cancelled), 'job')} cancelled ({said}); {kept}"


def _refuse_local(run: Run) -> None:
    """Raises RequestError where a process outside of SLURM is at work on the run."""
    who, numbered = claim.holder(run.lock), sorted(run.jobs.glob("[0-9]*"), key=lambda path: int(path.name))
    if who and who.lives() is not False and not any((path / "array.json").exists() for path in numbered[-1:]):
        raise RequestError(
            f"{run.folder} is not in SLURM; it is run by {who}: end it there with Ctrl-C, or with: kill {who.pid}"
        )


def _refuse_damaged(run: Run) -> None:
    """Raises RequestError where jobs may be left whose array can't be read."""
    bad = []
    for path in run.jobs.glob("[0-9]*/array.json"):
        try:
            read_array(path.parent)
        except RequestError as error:
            bad.append(f"{error}; should it have jobs in the queue, cancel them with scancel")
    if bad:
        raise RequestError("\n".join(bad))
