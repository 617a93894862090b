"""`mixbench logs`: print the output of a trial's processes.  Imports neither torch nor pandas."""

import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from mixbench.errors import RequestError, Unavailable, nearest, printable, shown
from mixbench.launch.job import JobFolder, job_folders
from mixbench.launch.slurm.jobs import SlurmJob, find
from mixbench.launch.slurm.queue import queued
from mixbench.run import claim
from mixbench.run.folder import Run
from mixbench.system.files import text_of
from mixbench.system.polling import polls

POLL_SECONDS = 1.0
MOST_NAMED = 10


class Tail:
    """Reads what was appended to files since the last read; a file that was replaced or cut, from its beginning."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[int, int]] = {}  # inode, and position up to which it was read

    def new(self, path: Path) -> Iterator[bytes]:
        """Yield the bytes that were appended since the last call."""
        with open(path, "rb", buffering=0) as file:  # opened each time, since NFS then asks its server
            found = Path(path).stat()
            inode, position = self._read.get(path, (found.st_ino, 0))
            if inode != found.st_ino or found.st_size < position:
                position = 0
            file.seek(position)
            while chunk := file.read(1 << 20):
                yield chunk
            self._read[path] = (found.st_ino, file.tell())


def print_logs(run: Run, name: str, rank: str, follow: bool) -> None:
    """Print the output of one rank of a trial, and why the trial failed.  `follow`: go on until the trial has ended.

    Raises RequestError if `name` is not one trial, or if there is no output yet and `follow` is off.
    """
    trial_id = find_trial(run, name)
    tail, printed, last_reason = Tail(), False, ""
    for _ in polls(POLL_SECONDS):
        end = _end(run, trial_id)  # before the last read, so that no output is missed
        files = logs(run, trial_id, rank)
        for path in files:
            for chunk in tail.new(path):
                sys.stdout.buffer.write(chunk)
                printed = True
        sys.stdout.flush()
        if not files and not follow:
            raise RequestError(why_no_output(run, trial_id))
        if end or not follow:
            break
        if not files and last_reason != (last_reason := why_no_output(run, trial_id)):
            print(f"mixbench: {last_reason}", file=sys.stderr, flush=True)
    if not printed:
        print("mixbench: it has printed nothing" + " yet" * (not end), file=sys.stderr)
    if follow and end:
        print(f"mixbench: {trial_id}: {end}", file=sys.stderr)
    if (record := run.readable(trial_id)) and record.status == "failed":  # a single process only records it
        print(f"mixbench: {trial_id} failed: {record.error}\n{record.details.traceback}".rstrip(), file=sys.stderr)


def find_trial(run: Run, name: str) -> str:
    """Return the one trial whose id is `name`, begins with it, or matches it as a pattern.  Raises RequestError."""
    known = run.trial_ids()
    if name in known:
        return name
    found = [each for each in known if each.startswith(name)] or [each for each in known if fnmatchcase(each, name)]
    if not found:
        raise RequestError(f"{run.folder} has no trial {shown(name)}{nearest(name, known)}")
    if len(found) > 1:
        more = [f"and {len(found) - MOST_NAMED} more"] * (len(found) > MOST_NAMED)
        raise RequestError("\n  ".join([f"{shown(name)} may be any of:", *found[:MOST_NAMED], *more]))
    return found[0]


def logs(run: Run, trial_id: str, rank: str) -> list[Path]:
    """Return the log files of one rank of the trial's last job; empty if there are none yet.

    Raises RequestError if the job has no such rank.
    """
    local = _local(run, trial_id)
    if job := _in_slurm(run, trial_id, local):
        if rank != "batch" and not (rank.isdecimal() and int(rank) < job.world_size):
            ranks = f"ranks 0 to {job.world_size - 1}" if job.world_size > 1 else "rank 0"
            raise RequestError(f"--rank {shown(rank)}: job {job.slurm_id} has {ranks}, and batch")
        path = job.log("batch" if rank == "batch" else int(rank))
        return [path] if path.exists() else []
    if local is None:
        return []
    known = local.local_ranks()
    if known and rank not in known:
        raise RequestError(f"--rank {shown(rank)}: the trial's processes are {', '.join(known)}")
    return [*local.local_logs("out", rank), *local.local_logs("err", rank)] if known else []


def why_no_output(run: Run, trial_id: str) -> str:
    """Return the reason why the trial has no output yet."""
    local = _local(run, trial_id)
    if job := _in_slurm(run, trial_id, local):
        return f"nothing was printed for {trial_id} yet: {_queue_state(job)}"
    if local:
        return f"nothing was printed for {trial_id} yet in {local.path}"
    return f"{trial_id} has not been started: it is in no job"


def _local(run: Run, trial_id: str) -> JobFolder | None:
    """Return the folder of the last job outside of SLURM that includes this trial."""
    return next((each for each in reversed(job_folders(run)) if f'"{trial_id}"' in text_of(each.trials_file)), None)


def _in_slurm(run: Run, trial_id: str, local: JobFolder | None) -> SlurmJob | None:
    """Return the SLURM job of this trial, unless `local`, its last job outside of SLURM, is newer."""
    job = find(run, trial_id)
    return job if job and (local is None or job.array_folder.number > local.number) else None


def _queue_state(job: SlurmJob) -> str:
    """Describe the state of a job in SLURM's queue."""
    if ended := job.state().ended:
        return f"job {job.slurm_id} has ended: {ended}"
    try:
        found = queued([job.array]).get((job.array.name, job.index))
    except Unavailable as error:
        return f"the state of job {job.slurm_id} in SLURM is not known now: {error}"
    if found is None:
        return f"job {job.slurm_id} is no longer in the queue"
    where = f"on {found.nodes}" if found.nodes else f"({printable(found.reason)})"
    return f"job {found.slurm_id} is {found.state} {where}"


def _end(run: Run, trial_id: str) -> str:
    """Return how the trial ended; empty while it may still run."""
    record = run.readable(trial_id)
    if record is not None and (record.status == "failed" or record.holds(run.trial(trial_id).measure)):
        return f"it is {record.status}"
    if job := _in_slurm(run, trial_id, _local(run, trial_id)):
        return f"job {job.slurm_id} has ended: {job.state().ended}" if job.state().ended else ""
    who = claim.holder(run.lock)
    return "nobody runs it now" if who is None or who.lives() is False else ""
