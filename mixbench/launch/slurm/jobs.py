"""A run's SLURM jobs as its folder describes them: each array.json is one call of sbatch, an array of jobs.

Their files are in mixbench.launch.job.
"""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from mixbench.errors import RequestError
from mixbench.launch.job import JobFolder, backlog_file, job_folders
from mixbench.launch.outcome import final_record
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.system.files import to_json, write_atomically

AGAIN = 75
"""The exit code of mixbench.launch.slurm.after where a job is to run again: a container may print what it likes."""


TAKEN = ".waiting-"
"""The beginning of the name of a backlog that a process submits now; Run.sweep removes what it leaves if it dies."""


class Array(BaseModel):
    """Jobs that one sbatch call submits, each a tuple of trial ids.  `name` is the name of all of them in SLURM.

    No other array has that name: the queue tells what was submitted even if the process that called sbatch died before
    it wrote down `slurm_id`.
    """

    name: str
    profile: Profile
    nodes: int
    processes_per_node: int
    jobs: tuple[tuple[str, ...], ...]
    user: int = Field(default_factory=os.getuid)
    slurm_id: str = ""

    @property
    def cluster(self) -> str:
        """The cluster that its jobs are in; empty for the one that SLURM's commands speak of here."""
        return self.profile.clusters or ""

    def split(self, count: int) -> "tuple[Array, Array | None]":
        """An array of its first jobs, and one of the others, if there are any, under names of their own."""
        if count >= len(self.jobs):
            return self, None
        prefix = self.name.rpartition("-")[0]
        parts = [self.jobs[:count], self.jobs[count:]]
        first, rest = (self.model_copy(update={"name": new_name(prefix), "jobs": part}) for part in parts)
        return first, rest


def new_name(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


class Backlog(BaseModel):
    """Arrays that SLURM has no room for yet.  `most`: as many jobs of the run as there was room for in its queue."""

    arrays: tuple[Array, ...] = ()
    most: int = 0

    @property
    def trials(self) -> set[str]:
        return {trial_id for array in self.arrays for job in array.jobs for trial_id in job}


class Counts(BaseModel):
    """The number of times that a job was requeued while one trial was being measured."""

    time_limits: int = 0
    failures: int = 0


class State(BaseModel):
    """The state of a job.  `ended`: empty while it may still run again, else the reason why it does not."""

    counts: dict[str, Counts] = {}
    ended: str = ""


class RankStatus(BaseModel):
    """A rank's own account of one attempt.  `signal`: the one that told it to end.

    `lost`: it failed as it lost the connection to other ranks.  `printed`: bytes of its log from earlier attempts.
    """

    rank: int
    host: str
    pid: int
    state: Literal["runs", "done", "stopped", "failed"] = "runs"
    signal: str = ""
    error: str = ""
    traceback: str = ""
    lost: bool = False
    printed: int = 0
    at: float = 0.0


@dataclass(frozen=True)
class SlurmJob:
    """One element of an array of a run."""

    run: Run
    array_folder: JobFolder
    index: int
    array: Array

    @property
    def folder(self) -> JobFolder:
        return self.array_folder.element(self.index)

    @property
    def name(self) -> str:
        return f"{self.array_folder.path.name}/{self.index}"

    @property
    def key(self) -> tuple[str, int]:
        """The job in the queue: its array's name, and its index there."""
        return self.array.name, self.index

    @property
    def slurm_id(self) -> str:
        return f"{self.array.slurm_id}_{self.index}" if self.array.slurm_id else f"{self.array.name}_{self.index}"

    @property
    def trials(self) -> tuple[str, ...]:
        return self.array.jobs[self.index]

    @property
    def world_size(self) -> int:
        return self.array.nodes * self.array.processes_per_node

    def unfinished(self, inventory: Inventory | None = None) -> list[str]:
        """The job's trials that have neither a good record nor one that says that they failed.

        Not those that a later job was given: a trial that failed may run again while the job's others still go on.
        """
        later = {trial_id for job in jobs(self.run, after=self.array_folder.number) for trial_id in job.trials}
        later |= waiting_for_room(self.run)
        of = inventory or Inventory(self.run)
        return [each for each in self.trials if each not in later and not final_record(of, self.run.trial(each))]

    def log(self, rank: int | Literal["batch"]) -> Path:
        return self.array_folder.slurm_log(self.index, rank, self.array.slurm_id)

    def state(self) -> State:
        with suppress(OSError, ValidationError):
            return State.model_validate_json(self.folder.state_file.read_bytes())
        return State()

    def write_state(self, state: State) -> None:
        write_atomically(self.folder.state_file, to_json(state))

    def end(self, why: str) -> None:
        self.write_state(self.state().model_copy(update={"ended": why}))


def find(run: Run, trial_id: str) -> "SlurmJob | None":
    """The job that was given this trial last; None where no job of SLURM was."""
    return next((job for job in reversed(list(jobs(run))) if trial_id in job.trials), None)


def read_array(folder: JobFolder) -> Array:
    """Raises RequestError where array.json is missing or damaged."""
    path = folder.array_file
    try:
        return Array.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{folder.path} holds no jobs of SLURM: it has no {path.name}") from None
    except (ValidationError, OSError) as error:
        raise RequestError(f"{path} is damaged: {' '.join(str(error).split())}") from None


def jobs(run: Run, after: int = 0) -> Iterator[SlurmJob]:
    """The run's jobs, or those after an array, in the order in which they were submitted.

    Damaged arrays are passed over.
    """
    for folder in job_folders(run):
        if folder.number > after:
            with suppress(RequestError):
                array = read_array(folder)
                for index in range(len(array.jobs)):
                    yield SlurmJob(run, folder, index, array)


def open_jobs(run: Run) -> list[SlurmJob]:
    """The jobs that may still run, as far as the run folder knows."""
    return [job for job in jobs(run) if not job.state().ended]


def read_backlog(run: Run) -> Backlog:
    """What waits for room."""
    with suppress(OSError, ValidationError):
        return Backlog.model_validate_json(backlog_file(run).read_bytes())
    return Backlog()


@contextmanager
def taken_backlog(run: Run) -> Iterator[Backlog]:
    """What waits for room, for the caller alone to submit: launcher and jobs may try at the same time, and the others
    find nothing meanwhile.  The arrays that the caller leaves in it go on waiting.
    """
    file, mine = backlog_file(run), backlog_file(run).with_name(f"{TAKEN}{uuid.uuid4().hex}.tmp")
    backlog = Backlog()
    with suppress(OSError, ValidationError):
        file.rename(mine)
        backlog = Backlog.model_validate_json(mine.read_bytes())
    try:
        yield backlog
    finally:
        if backlog.arrays:
            backlog.arrays = (*read_backlog(run).arrays, *backlog.arrays)
            write_atomically(file, to_json(backlog))
        mine.unlink(missing_ok=True)


def is_waiting(run: Run) -> bool:
    """True if jobs wait for room, also while another process tries to submit them."""
    return backlog_file(run).exists() or any(run.jobs.glob(f"{TAKEN}*"))


def waiting_for_room(run: Run) -> set[str]:
    """The ids of the trials that wait for room."""
    return read_backlog(run).trials


def refuse_others(found: list[SlurmJob]) -> None:
    """Raises RequestError where jobs are another user's: only that user can see and end them on every cluster."""
    for job in found:
        if job.array.user != os.getuid():
            raise RequestError(
                f"{job.run.folder} has jobs in SLURM of the user with number {job.array.user}: only they can"
            )


def rank_statuses(attempt: JobFolder) -> list[RankStatus]:
    """The statuses of an attempt's ranks, in their order."""
    found = []
    for path in attempt.status_files():
        with suppress(OSError, ValidationError):
            found.append(RankStatus.model_validate_json(path.read_bytes()))
    return sorted(found, key=lambda status: status.rank)


def write_rank_status(attempt: JobFolder, status: RankStatus) -> None:
    write_atomically(attempt.status_file(status.rank), to_json(status.model_copy(update={"at": time.time()})))
