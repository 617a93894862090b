"""The script that sbatch gets: a profile's options, the ranks, and around them what decides if the job runs again.

submitit writes it and calls sbatch.  Its pickles, results and requeueing are not used.
"""

import os
import re
import shlex
import sys
from pathlib import Path

import submitit
from submitit.core.utils import FailedSubmissionError

from mixbench.errors import printable
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import AGAIN, Array
from mixbench.launch.slurm.rank import CACHES

NUMBER = re.compile(r"^(?:Submitted batch job )?(\d+)(?:;\S*| on cluster \S+)?\s*$", re.MULTILINE)
COMMENT_BYTES = 1000
"""SLURM refuses a comment of more than 1024."""
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
    code=$?
    if [ $code = {again} ]; then
        for attempt in {{1..30}}; do
            scontrol requeue "$SLURM_JOB_ID" && break
            sleep 10
        done
    fi
    exit $code
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

    options: tuple[str, ...] = ()

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
        options = ("--parsable", f"--chdir={self.folder}", *self.options)
        return ["env", *clean, "sbatch", *options, str(submission_file_path)]

    @staticmethod
    def _get_job_id_from_submission_command(string: bytes | str) -> str:
        """The job's number, from the last line that is one: a site's own sbatch may print others, with numbers in them.

        `string` is 1234, 1234;cluster, or "Submitted batch job 1234" of an sbatch that passes no options on.
        """
        text = string if isinstance(string, str) else string.decode(errors="replace")
        if not (found := NUMBER.findall(text)):
            raise FailedSubmissionError(f"could not make sense of sbatch's output: {text!r}")
        return str(found[-1])


def executor(array: Array, folder: Path) -> Executor:
    """submitit's executor with the profile's options.  Its script is `_make_submission_file_text(command, "")`."""
    profile = array.profile
    made = Executor(folder=folder, python=python(profile))
    made.options = (f"--comment={comment(array, folder)}",)  # here, as it may hold anything that a path may
    gpus = f"{profile.gpu_kind}:{array.processes_per_node}".lstrip(":") if profile.gpu_count else None
    where = {"clusters": profile.clusters} if profile.clusters else {}
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
        dependency=profile.dependency,
        signal_delay_s=profile.signal_seconds,
        array_parallelism=profile.array_parallelism,
        wckey=None,
        stderr_to_stdout=True,
        setup=setup(profile),
        srun_args=srun_arguments(profile),
        additional_parameters={"output": "%A_%a_batch.log", "requeue": True, **where, **profile.sbatch_options},
    )
    made.parameters["map_count"] = len(array.jobs)
    return made


def comment(array: Array, folder: Path) -> str:
    """What squeue and sacct show of the jobs beside their name: the run, and each job's trials by its index."""
    jobs = (f"{index}: {', '.join(trials)}" for index, trials in enumerate(array.jobs))
    text = printable(f"{folder.parent.parent}; {'; '.join(jobs)}")
    shortened = text.encode("utf-8", "replace")[:COMMENT_BYTES].decode("utf-8", "ignore")
    return text if shortened == text else f"{shortened} …"


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
        *(f"--{key}" if value is True else f"--{key}={value}" for key, value in profile.srun_options.items()),
    ]


def _container(profile: Profile) -> list[str]:
    if profile.container is None:
        return []
    mounts = [f"--container-mounts={','.join(profile.container.mounts)}"] if profile.container.mounts else []
    return [f"--container-image={profile.container.image}", *mounts]
