"""Submits trials as SLURM job arrays: an array for each size of job, in which small trials share a job.

submitit writes the script and calls sbatch.  Its pickles, results and requeueing are not used: array.json describes the
jobs before sbatch is called, and records say how the trials ended.
"""

import math
import os
import re
import shlex
import shutil
import sys
import uuid
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.cost import macs_of, training_macs
from mixbench.launch.job import JobFolder, next_job_folder
from mixbench.launch.outcome import reset_failed
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import AGAIN, Array
from mixbench.launch.slurm.queue import max_array_size, queued
from mixbench.launch.slurm.rank import CACHES
from mixbench.run.folder import Run
from mixbench.suite.trial import Trial
from mixbench.system.files import to_json, write_atomically
from mixbench.system.polling import polls

UNSURE = re.compile(r"tim(ed? ?|e-)out|contact|communicat|connect|sense of sbatch|zero bytes", re.IGNORECASE)
"""In sbatch's messages when slurmctld may have accepted the jobs all the same."""
LOOK_SECONDS = 60
AROUND = """\
mixbench_after() {{
    status=$?
    trap - EXIT
    set +eu
    for attempt in {{1..60}}; do
        MIXBENCH_JOB=$(scontrol --oneliner show job "$SLURM_JOB_ID") && break
        sleep 2
    done
    MIXBENCH_TIME_LEFT=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%L)
    export MIXBENCH_JOB MIXBENCH_TIME_LEFT
    {after} "$status"
    if [ $? = {again} ]; then
        for attempt in {{1..30}}; do
            scontrol requeue "$SLURM_JOB_ID" && break
            sleep 10
        done
    fi
}}
trap : TERM
trap mixbench_after EXIT"""
"""Shell code around the ranks: after they have ended for any reason, the job's first node decides if it runs again.

It comes before the profile's lines, one of which may end the script.  scontrol and squeue are called here, as a
container has neither; they are tried again, as slurmctld may be restarting.
"""

STEPS = """\
for ((step = 0; step < ${SLURM_RESTART_COUNT:-0} % 8; step++)); do
    srun --overlap --nodes=1 --ntasks=1 true > /dev/null 2>&1 || true
done"""
"""Gives the ranks' step another number than those of the seven attempts before, whose srun may wake up on a node that
hung and end the step of that number, wherever it runs."""


class Executor(submitit.SlurmExecutor):
    """submitit's executor, which calls sbatch in the array's folder here: the script then needs no path of the run."""

    @classmethod
    def affinity(cls) -> int:
        return 2  # that SLURM's commands are here is checked before anything is written

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        # what a shell sets for sbatch would win over the script, and what a job's shell has would leak into the new one
        ours = {name for name in os.environ if name.startswith(("SBATCH_", "SLURM_")) and name != "SLURM_CONF"}
        # torch names the login node's cache to whatever this process starts; what the user named is meant for the jobs
        given = {entry.split(b"=")[0].decode() for entry in Path("/proc/self/environ").read_bytes().split(b"\0")}
        ours |= CACHES.keys() & os.environ.keys() - given
        clean = [word for name in sorted(ours) for word in ("-u", name)]
        return ["env", *clean, "sbatch", f"--chdir={self.folder}", str(submission_file_path)]


def check(trials: list[Trial], profile: Profile, folder: Path) -> None:
    """Raises RequestError where these trials cannot be submitted from here."""
    for program in ("sbatch", "squeue", "scontrol", "scancel"):
        if shutil.which(program) is None:
            raise RequestError(f"{program} is not on this machine's PATH: submit from a login node of the cluster")
    if "%" in str(folder.absolute()) or "\\" in str(folder.absolute()):
        raise RequestError(f"{folder}: SLURM reads % and \\ in paths in its own way; choose another with --out")
    processes = max((trial.processes_per_node for trial in trials), default=1)
    if 0 < profile.gpus_per_node < processes:
        raise RequestError(
            f"the suite asks for {processes} processes a node; the cluster's profile says {profile.gpus_per_node} GPUs"
        )


def submit(trials: list[Trial], profile: Profile, run: Run) -> list[Array]:
    """Submit these trials, including those that failed earlier, and return the arrays.

    Raises RequestError where sbatch refuses.
    """
    known = {trial.id: trial for trial in trials}
    return [_submit(array, known, run) for array in arrays(trials, profile, max_array_size())]


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
                name=f"mixbench-{trials[0].suite[:40]}-{uuid.uuid4().hex[:8]}",
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


def _submit(array: Array, trials: dict[str, Trial], run: Run) -> Array:
    """Write array.json, call sbatch, write the number that SLURM gave the array into array.json."""
    folder = JobFolder(next_job_folder(run).path.absolute())
    for index in range(len(array.jobs)):
        folder.element(index).path.mkdir(parents=True)
    write_atomically(folder.array_file, to_json(array))  # first: an earlier job leaves these trials alone from now on
    for trial_id in (trial_id for job in array.jobs for trial_id in job):
        reset_failed(trials[trial_id], run)
    try:
        script = command(array.profile, "mixbench.launch.slurm.rank")
        slurm_id = executor(array, folder.path)._submit_command(script).job_id
    except (FailedJobError, FailedSubmissionError) as error:
        said = " ".join(str(error).split())
        if (found := _accepted_all_the_same(array, said)) is None:
            shutil.rmtree(folder.path)
            what = f"none of these {len(array.jobs)} was submitted"
            raise RequestError(f"sbatch refused the jobs, {what}: {said}") from None
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
            if found := queued([array.name]):
                return next(iter(found.values())).slurm_id.partition("_")[0]
            unknown = ""
        except Unavailable as error:
            unknown = f"whether SLURM took the jobs cannot be known now ({error}); the same command will see"
    if unknown:
        raise RequestError(f"sbatch: {said}; {unknown}")
    return None


def executor(array: Array, folder: Path) -> Executor:
    """submitit's executor with the profile's options.  Its script is `_make_submission_file_text(command, "")`."""
    profile = array.profile
    made = Executor(folder=folder, python=python(profile))
    gpus = array.processes_per_node if profile.gpus_per_node else None
    made.update_parameters(
        job_name=array.name,
        time=profile.time,
        nodes=array.nodes,
        ntasks_per_node=array.processes_per_node,
        cpus_per_task=profile.cpus_per_task,
        gpus_per_node=gpus,
        mem=profile.memory,
        partition=profile.partition,
        account=profile.account,
        qos=profile.qos,
        constraint=profile.constraint,
        signal_delay_s=profile.signal_seconds,
        array_parallelism=profile.array_parallelism,
        wckey=None,
        stderr_to_stdout=True,
        setup=setup(profile),
        srun_args=srun_arguments(profile),
        additional_parameters={"output": "%A_%a_batch.log", "requeue": True, **_more(profile)},
    )
    made.parameters["map_count"] = len(array.jobs)
    return made


def python(profile: Profile) -> str:
    return shlex.quote(os.path.expandvars(os.path.expanduser(profile.python or sys.executable)))


def command(profile: Profile, module: str) -> str:
    """A shell command that runs a module with the cluster's interpreter; -P: none of the working folder's modules."""
    return f"{python(profile)} -u -P -m {module}"


def setup(profile: Profile) -> list[str]:
    """The script's lines before the ranks start."""
    # a container has our Python, and none of SLURM's commands: the batch script, outside of it, has those
    inside = ["srun", "--overlap", "--nodes=1", "--ntasks=1", *_container(profile)] if profile.container else []
    after = " ".join([*map(shlex.quote, inside), command(profile, "mixbench.launch.slurm.after")])
    around = AROUND.format(after=after, again=AGAIN).splitlines()
    return [*around, *surroundings(profile), *STEPS.splitlines()]


def surroundings(profile: Profile) -> list[str]:
    """The profile's own lines among them.  MIXBENCH_FOLDER: they, or a container, may change the working folder."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in profile.environment.items()]
    return ['export MIXBENCH_FOLDER="$PWD"', *exports, *profile.setup, 'cd "$MIXBENCH_FOLDER"']


def srun_arguments(profile: Profile) -> list[str]:
    return [
        "--kill-on-bad-exit=1",
        f"--cpus-per-task={profile.cpus_per_task}",  # not inherited from SLURM 22.05 on
        "--output=%A_%a_%t.log",  # in place of submitit's, which holds the folder's path
        "--open-mode=append",
        *_container(profile),
    ]


def _container(profile: Profile) -> list[str]:
    if profile.container is None:
        return []
    mounts = [f"--container-mounts={','.join(profile.container.mounts)}"] if profile.container.mounts else []
    return [f"--container-image={profile.container.image}", *mounts]


def _more(profile: Profile) -> dict[str, Any]:
    """The profile's other options of sbatch; one that is false is left out."""
    return {key: value for key, value in profile.sbatch.items() if value is not False}
