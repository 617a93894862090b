"""Submits trials as SLURM job arrays: an array for each size of job, in which small trials share a job.

array.json describes the jobs before sbatch is called, and records say how the trials ended.
"""

import math
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from io import StringIO
from itertools import groupby
from pathlib import Path

from submitit.core.utils import FailedJobError, FailedSubmissionError

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.cost import macs_of, training_macs
from mixbench.launch.job import JobFolder, next_job_folder
from mixbench.launch.outcome import reset_failed
from mixbench.launch.slurm.batch_script import command, executor
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Array, SlurmJob, jobs, new_name, taken_backlog
from mixbench.launch.slurm.queue import queued
from mixbench.run.folder import Run
from mixbench.suite.trial import Trial
from mixbench.system.files import to_json, write_atomically
from mixbench.system.polling import polls
from mixbench.system.words import plural

UNSURE = re.compile(r"tim(ed? ?|e-)out|contact|communicat|connect|sense of sbatch|zero bytes", re.IGNORECASE)
"""In sbatch's messages when slurmctld may have accepted the jobs all the same."""
FULL = re.compile(r"\w*Submit\w*Limit\b|temporarily (unable to accept|unavailable)", re.IGNORECASE)
"""In sbatch's messages when there may be room for the jobs later: a limit on jobs in the queue, of a user, account, QOS
or the whole cluster."""
LOOK_SECONDS = 60


class NoRoom(RequestError):
    """SLURM takes no more jobs now, because of the limit `reason`."""

    def __init__(self, text: str, reason: str):
        super().__init__(text)
        self.reason = reason


@dataclass
class Submission:
    """The arrays that were submitted, those left for later, and why: SLURM's queue was full."""

    arrays: list[Array] = field(default_factory=list)
    left: list[Array] = field(default_factory=list)
    full: NoRoom | None = None

    @property
    def jobs(self) -> int:
        """The number of jobs submitted."""
        return sum(len(array.jobs) for array in self.arrays)


def check(trials: list[Trial], profile: Profile, folder: Path) -> None:
    """Raises RequestError where these trials cannot be submitted from here."""
    for program in ("sbatch", "squeue", "scontrol", "scancel"):
        if shutil.which(program) is None:
            raise RequestError(f"{program} is not on this machine's PATH: submit from a login node of the cluster")
    if "%" in str(folder.absolute()) or "\\" in str(folder.absolute()):
        raise RequestError(f"{folder}: SLURM reads % and \\ in paths in its own way; choose another with --out")
    processes = max((trial.processes_per_node for trial in trials), default=1)
    if 0 < profile.gpu_count < processes:
        raise RequestError(
            f"the suite asks for {plural(processes, 'process')} a node; "
            f"the cluster's profile says {plural(profile.gpu_count, 'GPU')}"
        )


def submit(waiting: Sequence[Array], run: Run, room: float = math.inf) -> Submission:
    """Submit these arrays, including the trials that failed earlier, as far as there is room for so many jobs.

    An array that a limit of SLURM's refuses is submitted in parts, until not even one more job is taken.
    Raises RequestError where sbatch refuses for another reason.
    """
    submission = Submission(left=list(waiting))
    size = room
    while submission.left and room >= 1:
        part, rest = submission.left[0].split(int(min(size, room, len(submission.left[0].jobs))))
        try:
            submission.arrays.append(_submit(part, run))
        except NoRoom as full:
            submission.full = submission.full or full
            room = len(part.jobs) - 1
        except RequestError as error:
            if not submission.arrays:
                raise
            raise RequestError(f"{error}; {plural(submission.jobs, 'job')} before them were submitted") from None
        else:
            room -= len(part.jobs)
            submission.left[:1] = [rest] if rest else []
        if submission.full:
            size = (room + 1) // 2
    return submission


def top_up(run: Run) -> int:
    """Submit jobs that wait for room, as far as there is some by now, and return their number.

    No more than may run at a time, since what is split over several arrays is held by no array's own limit.
    Raises Unavailable where SLURM cannot be asked, RequestError where sbatch refuses for another reason.
    """
    with taken_backlog(run) as backlog:
        if not backlog.arrays:
            return 0
        all_jobs = list(jobs(run))
        queue = queued(job.array for job in all_jobs)
        open_ = sum(job.key in queue and not job.state().ended for job in all_jobs)
        room = min(max(1, backlog.most - len(queue)), backlog.arrays[0].profile.array_parallelism - open_)
        done = submit([_begun(array, all_jobs) for array in backlog.arrays], run, room)
        there = len(queue) + done.jobs
        backlog.arrays, backlog.most = tuple(done.left), there if done.full else max(backlog.most, there)
        return done.jobs


def _begun(array: Array, all_jobs: Sequence[SlurmJob]) -> Array:
    """The array without the dependency that let other jobs of the run begin: SLURM forgets jobs that ended long ago."""
    dependency = array.profile.dependency
    if any(job.array.profile.dependency == dependency and job.folder.attempt(0).path.exists() for job in all_jobs):
        return array.model_copy(update={"profile": array.profile.model_copy(update={"dependency": None})})
    return array


def arrays(trials: list[Trial], profile: Profile, most: int) -> Iterator[Array]:
    """The arrays for these trials, of at most `most` jobs each.  Pure, but for their random names."""

    def size(trial: Trial) -> tuple[int, int]:
        return trial.nodes, trial.processes_per_node

    macs = macs_of([trial for trial in trials if "accuracy" in trial.measure])
    work = {trial.id: training_macs(trial, macs.get(trial.id, 0)) for trial in trials}
    for (nodes, processes), group in groupby(sorted(trials, key=size), size):
        packed = pack([(trial.id, work[trial.id]) for trial in group], profile)
        for start in range(0, len(packed), most):
            yield Array(
                name=new_name(f"mixbench-{trials[0].suite[:40]}"),
                profile=profile,
                nodes=nodes,
                processes_per_node=processes,
                jobs=tuple(packed[start : start + most]),
            )


def pack(work: list[tuple[str, float]], profile: Profile) -> list[tuple[str, ...]]:
    """Distribute trials to jobs, in their order: a job is full with `trials_per_job` trials, or with `macs_per_job`."""
    jobs: list[list[str]] = []
    inside = math.inf
    for trial_id, macs in work:
        if not jobs or len(jobs[-1]) == profile.trials_per_job or inside + macs > profile.macs_per_job:
            jobs.append([])
            inside = 0.0
        jobs[-1].append(trial_id)
        inside += macs
    return [tuple(job) for job in jobs]


def _submit(array: Array, run: Run) -> Array:
    """Write array.json, call sbatch, write the number that SLURM gave the array into array.json."""
    folder = JobFolder(next_job_folder(run).path.absolute())
    for index in range(len(array.jobs)):
        folder.element(index).path.mkdir(parents=True)
    write_atomically(folder.array_file, to_json(array))  # first: an earlier job leaves these trials alone from now on
    for trial_id in (trial_id for job in array.jobs for trial_id in job):
        reset_failed(run.trial(trial_id), run)
    try:
        script = command(array.profile, "mixbench.launch.slurm.rank")
        with redirect_stderr(StringIO()):  # submitit prints there what the error says, too
            slurm_id = executor(array, folder.path)._submit_command(script).job_id
    except (FailedJobError, FailedSubmissionError) as error:
        said = " ".join(str(error).split())
        if (found := _accepted_all_the_same(array, said)) is None:
            shutil.rmtree(folder.path)
            text = f"sbatch refused the jobs, none of these {len(array.jobs)} was submitted: {said}"
            raise (NoRoom(text, limit[0]) if (limit := FULL.search(said)) else RequestError(text)) from None
        slurm_id = found
    array = array.model_copy(update={"slurm_id": slurm_id})
    write_atomically(folder.array_file, to_json(array))
    return array


def _accepted_all_the_same(array: Array, said: str) -> str | None:
    """The number of an array that SLURM accepted although sbatch failed; None if it did not accept it.

    Raises RequestError where that cannot be known: its name is in array.json, so the same command finds it later.
    """
    unknown = ""
    for _ in polls(2, LOOK_SECONDS if UNSURE.search(said) else 0):
        try:
            if found := queued([array]):
                return next(iter(found.values())).slurm_id.partition("_")[0]
            unknown = ""
        except Unavailable as error:
            unknown = f"whether SLURM took the jobs cannot be known now ({error}); the same command will see"
    if unknown:
        raise RequestError(f"sbatch: {said}; {unknown}")
    return None
