"""A cluster's profile, slurm/*.yaml: a job's resources in SLURM, and its set-up on the nodes.

profile = load("slurm/a100.yaml")
"""

import os
import re
from collections.abc import Set
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, ValidationInfo, field_validator

from mixbench.errors import RequestError, nearest, refusal, shown
from mixbench.suite.document import read
from mixbench.suite.fields import AsList, Count, PathText, Positive, Strict, Title
from mixbench.suite.schema import explain
from mixbench.system.content import content

BUILT_IN = ("local", "debug")
OURS = {
    "array", "chdir", "comment", "dependency", "error", "gpus-per-node", "job-name", "nodes", "ntasks", "open-mode",
    "ntasks-per-node", "output", "requeue", "no-requeue", "signal", "wrap", "parsable", "hold", "time", "mem",
    "cpus-per-task", "partition", "account", "qos", "constraint", "input", "export", "wait", "test-only", "clusters",
    "quiet", "no-kill", "mem-per-cpu", "mem-per-gpu", "gpus", "gpus-per-task",
}  # fmt: skip
"""Keys of sbatch that mixbench sets itself, or that would break what it relies on."""
OURS_OF_SRUN = {
    "chdir", "container-image", "container-mounts", "cpus-per-task", "error", "input", "jobid", "kill-on-bad-exit",
    "label", "multi-prog", "nodes", "no-kill", "ntasks", "ntasks-per-node", "open-mode", "output", "pty",
    "quit-on-interrupt", "unbuffered", "wait",
}  # fmt: skip
"""The same of srun."""
MOST_GPUS = 64
TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+):(?P<minutes>\d\d)(?::(?P<seconds>\d\d))?")


def _minutes(value: Any) -> Any:
    """SLURM's "days-hours:minutes:seconds" or "hours:minutes:seconds" as minutes; a number is minutes already."""
    if not isinstance(value, str):
        return value
    match = TIME.fullmatch(value)
    if match is None or (match["seconds"] is None and match["days"] is None):
        raise ValueError(f'minutes, "hours:minutes:seconds" or "days-hours:minutes:seconds" are wanted, not {value!r}')
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes + -(-seconds // 60)


def _a_size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[KMGT]?", text):
        raise ValueError(f'a size such as "64G" or "8000M" is wanted, not {text!r}')
    return text


def _a_variable(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError(f"{text!r} is not the name of an environment variable")
    return text


def _a_key(text: str, program: str = "sbatch", example: str = "mail-type", ours: Set[str] = OURS) -> str:
    if not re.fullmatch(r"[a-z][a-z-]*", text):
        raise ValueError(f"{text!r} is not a long option of {program} without its dashes, such as {example}")
    if text in ours:
        raise ValueError(f"{text} is set by mixbench; the profile has keys of its own for what may be chosen")
    return text


def _gpus(value: Any) -> Any:
    """A number, or a kind and a number as sinfo shows them."""
    if isinstance(value, str):
        if not (match := re.fullmatch(r"[A-Za-z][\w.-]*:(\d{1,9})", value)):
            raise ValueError(f"a number, or a kind and a number such as a100:8, is wanted, not {shown(value)}")
        number = int(match[1])
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        raise ValueError(f"a whole number, or a kind and a number such as a100:8, is wanted, not {shown(value)}")
    if not 0 <= number <= MOST_GPUS:
        raise ValueError(f"it must be at {'least 0' if number < 0 else f'most {MOST_GPUS}'}")
    return value


def _a_dependency(text: str) -> str:
    if not re.fullmatch(r"[a-z]+(:[\w+]+)*([,?][a-z]+(:[\w+]+)*)*", text):
        raise ValueError(f'what sbatch takes is wanted, such as "afterok:1234", not {shown(text)}')
    return text


def _a_cluster(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", text):
        raise ValueError(f"the name of one cluster, as sacctmgr shows it, is wanted, not {shown(text)}")
    return text


def _a_line(text: str) -> str:
    if text.lstrip().startswith("#SBATCH"):
        raise ValueError("options of sbatch are given under the key sbatch, not as lines")
    if "\n" in text:
        raise ValueError("one line is wanted; a list may have several")
    return text


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _an_option(value: Any) -> Any:
    if not isinstance(value, str | int | float):
        raise ValueError(f"text, a number, true or false is wanted, not {shown(value)}")
    return _a_line(value) if isinstance(value, str) else _as_text(value)


def _one_of_several(text: str) -> str:
    if not text.strip() or "," in text or "\n" in text:
        raise ValueError(f"a name or a path is wanted, for pyxis without comma and line break, not {text!r}")
    return text


def _an_interface(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:-]+", text):
        raise ValueError(f"the name of a network interface such as ib0 is wanted, not {text!r}")
    return text


Minutes = Annotated[int, BeforeValidator(_minutes), Field(ge=1, le=525_600)]
Size = Annotated[str, BeforeValidator(_as_text), AfterValidator(_a_size)]
Line = Annotated[str, AfterValidator(_a_line)]
Variable = Annotated[str, AfterValidator(_a_variable)]
SbatchKey = Annotated[str, AfterValidator(_a_key)]
SrunKey = Annotated[str, AfterValidator(partial(_a_key, program="srun", example="mpi", ours=OURS_OF_SRUN))]
OptionValue = Annotated[str | bool, BeforeValidator(_an_option)]
Part = Annotated[str, AfterValidator(_one_of_several)]


class Container(Strict):
    """A container image that the ranks run in, by pyxis: `mounts` as `from:to`; the run folder must be among them."""

    image: Part
    mounts: Annotated[tuple[Part, ...], AsList, Field(strict=False)] = ()


class Requeue(Strict):
    """The number of times that a job is requeued before its trial counts as failed.

    `time_limits`: times that the time limit came while it was at work (a checkpoint is written before).
    `failures`: times that a rank died without a message, or lost the others.  Requeues by SLURM itself, at preemption
    and when a node is lost, are not counted.
    """

    time_limits: Annotated[int, Field(ge=0, le=10_000)] = 50
    failures: Annotated[int, Field(ge=0, le=1000)] = 2


class Profile(Strict):
    """A SLURM cluster.  Only `time` is required: SLURM has defaults for the rest.

    `nodes` and `processes_per_node` are those of suites that say nothing of `resources`; each process has one of the
    `gpus_per_node`, where there are any: 8, or a100:8.  `memory` is a node's.  `time` is a job's limit,
    `signal_seconds` before it a checkpoint is written.  A job takes trials until they are `trials_per_job`, or
    `macs_per_job` of training.
    `setup` are lines of shell before the ranks start; `python` the interpreter on the nodes; `scratch` a folder on each
    node's own disk; `network_interface` the one that ranks meet over; `sbatch` any other options of sbatch, `srun` of
    the srun that starts the ranks.  `clusters` names another cluster that SLURM's commands reach from here.
    """

    description: str = ""
    partition: Title | None = None
    account: Title | None = None
    qos: Title | None = None
    constraint: Title | None = None
    dependency: Annotated[str, AfterValidator(_a_dependency)] | None = None
    clusters: Annotated[str, AfterValidator(_a_cluster)] | None = None
    nodes: Count = 1
    processes_per_node: Count = 1
    gpus_per_node: Annotated[int | str, BeforeValidator(_gpus)] = 0
    cpus_per_task: Count = 1
    memory: Size | None = None
    time: Minutes
    signal_seconds: Annotated[int, Field(ge=1, le=3600)] = 120
    array_parallelism: Count = 256
    trials_per_job: Count = 16
    macs_per_job: Positive = 2e15
    requeue: Requeue = Requeue()
    setup: Annotated[tuple[Line, ...], AsList, Field(strict=False)] = ()
    environment: dict[Variable, Annotated[str, BeforeValidator(_as_text), AfterValidator(_a_line)]] = Field(default={})
    python: PathText | None = None
    container: Container | None = None
    network_interface: Annotated[str, AfterValidator(_an_interface)] | None = None
    scratch: PathText | None = None
    sbatch: dict[SbatchKey, OptionValue] = Field(default={})
    srun: dict[SrunKey, OptionValue] = Field(default={})

    @field_validator("signal_seconds")
    @classmethod
    def _leave_time(cls, seconds: int, info: ValidationInfo) -> int:
        if 3 * seconds > 60 * info.data.get("time", seconds):
            raise ValueError(
                f"a third of the job's time at the most is wanted: {20 * info.data['time']}, not {seconds}"
            )
        return seconds

    @property
    def gpu_count(self) -> int:
        """The number of GPUs of a node."""
        return int(str(self.gpus_per_node).rpartition(":")[2])

    @property
    def gpu_kind(self) -> str:
        """The kind of GPU that is asked for, such as a100; empty for any."""
        return str(self.gpus_per_node).rpartition(":")[0]

    @property
    def sbatch_options(self) -> dict[str, str | bool]:
        """The other options of sbatch; one that is false is left out."""
        return {key: value for key, value in self.sbatch.items() if value is not False}

    @property
    def srun_options(self) -> dict[str, str | bool]:
        return {key: value for key, value in self.srun.items() if value is not False}

    @property
    def resources(self) -> dict[str, int]:
        """The resources that differ from the defaults, for suites that say nothing of their resources."""
        own = {"nodes": self.nodes, "processes_per_node": self.processes_per_node}
        return {key: value for key, value in own.items() if value != 1}


def find_cluster(name: str) -> "str | Profile":
    """`local` or `debug` unchanged, otherwise the profile in a file, or the bundled one of that name.

    Raises RequestError.
    """
    return name if name in BUILT_IN else load(name)


def load(name: str) -> Profile:
    """The profile in a file, or of a bundled name.  Raises RequestError naming every problem, each with file:line."""
    document = read(find_profile(name))
    try:
        return Profile.model_validate(document.data)
    except ValidationError as error:
        errors = [(item, tuple(key for key in item["loc"] if key != "[key]")) for item in error.errors()]
        raise refusal((document.place(path), explain(item, path, Profile)) for item, path in errors) from None


def find_profile(name: str) -> Path:
    """The file that `slurm/x.yaml` or `x` means: a file as it is, else a bundled profile.  Raises RequestError."""
    path = Path(os.path.expanduser(name))
    bundled = content("slurm") / f"{path.stem}.yaml"
    if not path.is_file() and bundled.is_file() and name in (path.stem, bundled.name, f"slurm/{bundled.name}"):
        return bundled
    if path.exists() and path.suffix:
        return path
    known = [*BUILT_IN, *sorted(f"slurm/{file.name}" for file in content("slurm").glob("*.yaml"))]
    raise RequestError(f"no cluster is called {name!r}{nearest(name, known)}")
