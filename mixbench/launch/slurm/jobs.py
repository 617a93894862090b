"""A run's jobs in SLURM as its folder knows them: jobs/<number>/array.json is one sbatch call, its elements are jobs.

jobs/0007/  array.json  <id>_<index>_<rank>.log  <id>_<index>_batch.log
jobs/0007/3/  state.json  current  lock/ (whose attempt may write)
jobs/0007/3/0/  the attempt after so many requeues: meeting.json  rank-<r>.json
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from mixbench.errors import RequestError
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.run.folder import Run
from mixbench.system.files import to_json, write_atomically

AGAIN = 75
"""The exit code of mixbench.launch.slurm.after where a job is to run again: a container may print what it likes."""


class Array(BaseModel):
    """What one sbatch call submits: for each of its jobs the ids of its trials.  `name` is SLURM's name for all.

    The name is the run's alone, so that the queue says what was submitted even where the process that did so died
    before it could write down `slurm_id`.
    """

    name: str
    profile: Profile
    nodes: int
    processes_per_node: int
    jobs: tuple[tuple[str, ...], ...]
    user: int = Field(default_factory=os.getuid)
    slurm_id: str = ""


class Counts(BaseModel):
    """How often a job was requeued on behalf of one trial."""

    time_limits: int = 0
    failures: int = 0


class State(BaseModel):
    """What became of a job.  `ended`: empty while it may still run again, else why it does not."""

    counts: dict[str, Counts] = {}
    ended: str = ""


class Note(BaseModel):
    """What a rank leaves of one attempt.  `signal`: the one that told it to end.  `lost`: it lost the other ranks.

    `printed`: how much earlier attempts had printed into its log.
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
    number: str
    index: int
    array: Array

    @property
    def name(self) -> str:
        return f"{self.number}/{self.index}"

    @property
    def key(self) -> tuple[str, int]:
        """What the queue knows it by."""
        return self.array.name, self.index

    @property
    def slurm_id(self) -> str:
        return f"{self.array.slurm_id}_{self.index}" if self.array.slurm_id else f"{self.array.name}_{self.index}"

    @property
    def folder(self) -> Path:
        return self.run.jobs / self.number / str(self.index)

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def current_file(self) -> Path:
        """Names the trial that is being measured."""
        return self.folder / "current"

    @property
    def trials(self) -> tuple[str, ...]:
        return self.array.jobs[self.index]

    @property
    def world_size(self) -> int:
        return self.array.nodes * self.array.processes_per_node

    def unfinished(self) -> list[str]:
        """The job's trials that have neither a good record nor one that says that they failed.

        Not those that a later job was given: a trial that failed may run again while the job's others still go on.
        """
        later = {trial_id for job in jobs(self.run, after=int(self.number)) for trial_id in job.trials}
        return [trial_id for trial_id in self.trials if trial_id not in later and not self.is_over(trial_id)]

    def is_over(self, trial_id: str) -> bool:
        trial, record = self.run.trial(trial_id), self.run.readable(trial_id)
        return record is not None and (record.status == "failed" or self.run.is_done(trial))

    def attempt(self, restarts: int) -> Path:
        return self.folder / str(restarts)

    def log(self, rank: int | Literal["batch"]) -> Path:
        """What a rank, or the batch script around them, printed in all attempts.

        Looked for by its end: who submitted the array may have died before its number was written down.
        """
        folder, end = self.run.jobs / self.number, f"_{self.index}_{rank}.log"
        return next(folder.glob(f"[0-9]*{end}"), folder / f"{self.array.slurm_id}{end}")

    def state(self) -> State:
        with suppress(OSError, ValidationError):
            return State.model_validate_json((self.folder / "state.json").read_bytes())
        return State()

    def write_state(self, state: State) -> None:
        write_atomically(self.folder / "state.json", to_json(state))

    def end(self, why: str) -> None:
        self.write_state(self.state().model_copy(update={"ended": why}))


def find(run: Run, trial_id: str) -> "SlurmJob | None":
    """The job that was given this trial last; None where no job of SLURM was."""
    return next((job for job in reversed(list(jobs(run))) if trial_id in job.trials), None)


def read_array(folder: Path) -> Array:
    """Raises RequestError where array.json is missing or damaged."""
    path = folder / "array.json"
    try:
        return Array.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise RequestError(f"{folder} holds no jobs of SLURM: it has no array.json") from None
    except (ValidationError, OSError) as error:
        raise RequestError(f"{path} is damaged: {' '.join(str(error).split())}") from None


def jobs(run: Run, after: int = 0) -> Iterator[SlurmJob]:
    """The run's jobs, or those after an array, in the order in which they were submitted.

    Damaged arrays are passed over.
    """
    numbers = sorted(int(path.parent.name) for path in run.jobs.glob("[0-9]*/array.json"))
    for path in (run.jobs / f"{number:04d}" / "array.json" for number in numbers if number > after):
        with suppress(RequestError):
            array = read_array(path.parent)
            for index in range(len(array.jobs)):
                yield SlurmJob(run, path.parent.name, index, array)


def open_jobs(run: Run) -> list[SlurmJob]:
    """The jobs that may still run, as far as the run folder knows."""
    return [job for job in jobs(run) if not job.state().ended]


def refuse_others(found: list[SlurmJob]) -> None:
    """Raises RequestError where jobs are another user's, who alone can see and end them everywhere."""
    for job in found:
        if job.array.user != os.getuid():
            raise RequestError(
                f"{job.run.folder} has jobs in SLURM of the user with number {job.array.user}: only they can"
            )


def notes(attempt: Path) -> list[Note]:
    """What the ranks of an attempt left, by rank."""
    found = []
    for path in attempt.glob("rank-*.json"):
        with suppress(OSError, ValidationError):
            found.append(Note.model_validate_json(path.read_bytes()))
    return sorted(found, key=lambda note: note.rank)


def write_note(attempt: Path, note: Note) -> None:
    write_atomically(attempt / f"rank-{note.rank}.json", to_json(note.model_copy(update={"at": time.time()})))
