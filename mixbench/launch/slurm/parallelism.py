"""Changes how many jobs of a run's arrays may run at a time, of those that are in the queue and of those to come."""

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.slurm.jobs import Array, jobs, refuse_others, taken_backlog
from mixbench.launch.slurm.queue import ask, queued
from mixbench.run.folder import Run
from mixbench.system.files import to_json, write_atomically


def set_parallelism(run: Run, most: int) -> list[str]:
    """Let so many jobs of each array run at a time, and return the arrays' numbers.  What runs already is not ended.

    Raises RequestError where no job of the run is in the queue, or SLURM cannot be asked or refuses.
    """
    run.planned()  # raises where this is no run folder
    found = [job for job in jobs(run) if not job.state().ended]
    refuse_others(found)
    changed: dict[str, None] = {}
    try:
        queue = queued(job.array for job in found)
        for job in found:
            number = queue[job.key].slurm_id.partition("_")[0] if job.key in queue else ""
            if number and number not in changed:
                words = ("update", f"JobId={number}", f"ArrayTaskThrottle={most}")
                ask("scontrol", *words, cluster=job.array.cluster)
                changed[number] = None
                write_atomically(job.array_folder.array_file, to_json(_with(job.array, most)))
    except Unavailable as error:
        done = f"changed before that: {', '.join(changed)}" if changed else "nothing was changed"
        raise RequestError(f"{error}; {done}") from None
    with taken_backlog(run) as backlog:
        backlog.arrays = tuple(_with(array, most) for array in backlog.arrays)
    if not changed:
        raise RequestError(
            f"no job of {run.folder} is in the queue; for those to come, the profile has array_parallelism"
        )
    return list(changed)


def _with(array: Array, most: int) -> Array:
    return array.model_copy(update={"profile": array.profile.model_copy(update={"array_parallelism": most})})
