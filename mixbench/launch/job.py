"""The folders and files of a run's jobs: every name is in this one place.

jobs/0001/      a job on this machine: trials.json  current  meeting.json  rank-<r>.pid  error-<r>.json  controller.err
                and submitit's <id>_<r>_log.out  <id>_<r>_log.err  <id>_<r>_result.pkl
jobs/0007/      an array of SLURM jobs, submitted together: array.json  <id>_<index>_<r>.log  <id>_<index>_batch.log
jobs/0007/3/    one job of the array: state.json  current  lock/ (the attempt that may write)
jobs/0007/3/0/  its first attempt; 1/ after it was requeued, and so on: meeting.json  rank-<r>.json
jobs/waiting.json  the arrays that SLURM has no room for yet
"""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mixbench.system.files import text_of

if TYPE_CHECKING:
    from mixbench.run.folder import Run

CURRENT = "current"


@dataclass(frozen=True)
class JobFolder:
    """The folder of a job, of an array of SLURM jobs or of one attempt, with the paths of what is in it."""

    path: Path

    @property
    def number(self) -> int:
        return int(self.path.name)

    @property
    def current_file(self) -> Path:
        """Names the trial that is being measured: the one that has failed if the process dies."""
        return self.path / CURRENT

    @property
    def meeting_file(self) -> Path:
        """The address at which rank 0 waits for the other ranks."""
        return self.path / "meeting.json"

    @property
    def trials_file(self) -> Path:
        return self.path / "trials.json"

    @property
    def controller_log(self) -> Path:
        """The standard error of submitit's controller, the parent of the ranks on this machine."""
        return self.path / "controller.err"

    def pid_file(self, rank: int) -> Path:
        return self.path / f"rank-{rank}.pid"

    def pid_files(self) -> dict[int, Path]:
        """By rank."""
        return {int(file.stem.removeprefix("rank-")): file for file in sorted(self.path.glob("rank-*.pid"))}

    def error_file(self, rank: int) -> Path:
        return self.path / f"error-{rank}.json"

    def error_files(self) -> list[Path]:
        """The first error first."""
        return sorted(self.path.glob("error-*.json"), key=lambda path: path.stat().st_mtime_ns)

    def has_result(self, rank: int) -> bool:
        """True if a rank on this machine returned, as submitit then wrote its result."""
        return any(self.path.glob(f"*_{rank}_result.pkl"))

    def local_ranks(self) -> list[str]:
        """The ranks on this machine that have a log."""
        return sorted({path.name.split("_")[-2] for path in self.path.glob("*_*_log.out")})

    def local_logs(self, stream: Literal["out", "err"], rank: int | str = "*") -> list[Path]:
        """A rank's standard output or error, as submitit names it; those of all ranks unless one is named."""
        return sorted(self.path.glob(f"*_{rank}_log.{stream}"))

    @property
    def array_file(self) -> Path:
        return self.path / "array.json"

    def slurm_log(self, index: int, rank: int | Literal["batch"], slurm_id: str) -> Path:
        """The log of a rank, or of the batch script that starts the ranks, of one job of an array in all its attempts.

        Looked for by the end of its name: who submitted the array may have died before `slurm_id` was written down.
        """
        end = f"_{index}_{rank}.log"
        return next(self.path.glob(f"[0-9]*{end}"), self.path / f"{slurm_id}{end}")

    def element(self, index: int) -> "JobFolder":
        """The folder of one job of an array."""
        return JobFolder(self.path / str(index))

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def attempt(self, restarts: int) -> "JobFolder":
        """The folder of a job's attempt after so many requeues."""
        return JobFolder(self.path / str(restarts))

    def status_file(self, rank: int) -> Path:
        return self.path / f"rank-{rank}.json"

    def status_files(self) -> list[Path]:
        return sorted(self.path.glob("rank-*.json"))


def job_folders(run: "Run") -> list[JobFolder]:
    """The folders of a run's jobs, the oldest first."""
    found = (JobFolder(path) for path in run.jobs.glob("[0-9]*") if path.name.isdecimal())
    return sorted(found, key=lambda folder: folder.number)


def backlog_file(run: "Run") -> Path:
    return run.jobs / "waiting.json"


def last_folders(run: "Run") -> dict[str, JobFolder]:
    """The folder of the last job, on this machine or in SLURM, that was given each trial.

    Damaged ones are passed over.
    """
    found: dict[str, JobFolder] = {}
    for folder in job_folders(run):
        with suppress(ValueError, TypeError, KeyError):
            text = text_of(folder.array_file)
            jobs = json.loads(text)["jobs"] if text else [json.loads(text_of(folder.trials_file))]
            found |= {trial_id: folder for job in jobs for trial_id in job}
    return found


def next_job_folder(run: "Run") -> JobFolder:
    """A folder for a new job, not created yet."""
    return JobFolder(run.jobs / f"{max((folder.number for folder in job_folders(run)), default=0) + 1:04d}")


def current_trials(run: "Run") -> set[str]:
    """The ids of the trials that the run's jobs measure now, or measured last."""
    patterns = (f"*/{CURRENT}", f"*/*/{CURRENT}")  # on this machine, in SLURM
    return {text_of(path) for pattern in patterns for path in run.jobs.glob(pattern)}
