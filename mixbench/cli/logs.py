"""What the processes of a trial print: `mixbench logs`.  Imports neither torch nor pandas."""

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
    """Reads what was appended to files since it last did; a file that was replaced or cut, from its beginning."""

    def __init__(self) -> None:
        self._at: dict[Path, tuple[int, int]] = {}

    def new(self, path: Path) -> Iterator[bytes]:
        with open(path, "rb", buffering=0) as file:  # opened anew each time: NFS asks its server then
            found = Path(path).stat()
            inode, position = self._at.get(path, (found.st_ino, 0))
            if inode != found.st_ino or found.st_size < position:
                position = 0
            file.seek(position)
            while some := file.read(1 << 20):
                yield some
            self._at[path] = (found.st_ino, file.tell())


def print_logs(run: Run, named: str, rank: str, follow: bool) -> None:
    """What this rank of the trial printed, and why it failed.  `follow`: also what it will, until the trial has ended.

    Raises RequestError where no trial is meant, or nothing was printed yet and it is not followed.
    """
    trial_id = find_trial(run, named)
    tail, printed, said = Tail(), False, ""
    for _ in polls(POLL_SECONDS):
        end = _end(run, trial_id)  # before the last look
        files = logs(run, trial_id, rank)
        for path in files:
            for some in tail.new(path):
                sys.stdout.buffer.write(some)
                printed = True
        sys.stdout.flush()
        if not files and not follow:
            raise RequestError(why_silent(run, trial_id))
        if end or not follow:
            break
        if not files and said != (said := why_silent(run, trial_id)):
            print(f"mixbench: {said}", file=sys.stderr, flush=True)
    if not printed:
        print("mixbench: it has printed nothing" + " yet" * (not end), file=sys.stderr)
    if follow and end:
        print(f"mixbench: {trial_id}: {end}", file=sys.stderr)
    if (record := run.readable(trial_id)) and record.status == "failed":  # of which a process alone prints nothing
        print(f"mixbench: {trial_id} failed: {record.error}\n{record.details.traceback}".rstrip(), file=sys.stderr)


def find_trial(run: Run, named: str) -> str:
    """The trial of this id, of an id that begins so, or of one that matches a pattern.  Raises RequestError."""
    known = run.trial_ids()
    if named in known:
        return named
    found = [each for each in known if each.startswith(named)] or [each for each in known if fnmatchcase(each, named)]
    if not found:
        raise RequestError(f"{run.folder} has no trial {shown(named)}{nearest(named, known)}")
    if len(found) > 1:
        more = [f"and {len(found) - MOST_NAMED} more"] * (len(found) > MOST_NAMED)
        raise RequestError("\n  ".join([f"{shown(named)} may be any of:", *found[:MOST_NAMED], *more]))
    return found[0]


def logs(run: Run, trial_id: str, rank: str) -> list[Path]:
    """The files that hold what this rank of the trial's last job printed; none where there are none yet.

    Raises RequestError where the job cannot have such a rank.
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
    there = local.local_ranks()
    if there and rank not in there:
        raise RequestError(f"--rank {shown(rank)}: the trial's processes are {', '.join(there)}")
    return [*local.local_logs("out", rank), *local.local_logs("err", rank)] if there else []


def why_silent(run: Run, trial_id: str) -> str:
    """Why there is no log."""
    local = _local(run, trial_id)
    if job := _in_slurm(run, trial_id, local):
        return f"nothing was printed for {trial_id} yet: {_of_queue(job)}"
    if local:
        return f"nothing was printed for {trial_id} yet in {local.path}"
    return f"{trial_id} has not been started: no job was given it"


def _local(run: Run, trial_id: str) -> JobFolder | None:
    """The folder of the last job outside of SLURM that was given this trial."""
    return next((each for each in reversed(job_folders(run)) if f'"{trial_id}"' in text_of(each.trials_file)), None)


def _in_slurm(run: Run, trial_id: str, local: JobFolder | None) -> SlurmJob | None:
    """The job of SLURM's that was given this trial, unless one on a machine of its own has been since."""
    job = find(run, trial_id)
    return job if job and (local is None or job.array_folder.number > local.number) else None


def _of_queue(job: SlurmJob) -> str:
    if ended := job.state().ended:
        return f"job {job.slurm_id} has ended: {ended}"
    try:
        found = queued([job.array.name]).get((job.array.name, job.index))
    except Unavailable as error:
        return f"what SLURM does with job {job.slurm_id} is not known now: {error}"
    if found is None:
        return f"job {job.slurm_id} is no longer in the queue"
    where = f"on {found.nodes}" if found.nodes else f"({printable(found.reason)})"
    return f"job {found.slurm_id} is {found.state} {where}"


def _end(run: Run, trial_id: str) -> str:
    """How the trial came to an end; empty while it may go on."""
    record = run.readable(trial_id)
    if record is not None and (record.status == "failed" or record.holds(run.trial(trial_id).measure)):
        return f"it is {record.status}"
    if job := _in_slurm(run, trial_id, _local(run, trial_id)):
        return f"job {job.slurm_id} has ended: {job.state().ended}" if job.state().ended else ""
    who = claim.holder(run.lock)
    return "nobody runs it now" if who is None or who.lives() is False else ""
