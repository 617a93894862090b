"""`mixbench doctor --cluster`: checks from the login node that a cluster can run mixbench."""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from mixbench.errors import RequestError, Unavailable, nearest
from mixbench.launch.checks import Check, data_of, installation, run_check
from mixbench.launch.slurm.batch_script import command, executor
from mixbench.launch.slurm.cluster_profile import Minutes, Profile
from mixbench.launch.slurm.probe import ProbeRequest
from mixbench.launch.slurm.probe_jobs import probe_array, run_probes
from mixbench.launch.slurm.queue import ask, max_array_size
from mixbench.launch.slurm.submit import check
from mixbench.suite.trial import Trial
from mixbench.system.files import nearest_existing
from mixbench.system.polling import polls
from mixbench.system.words import plural

UNITS = {"K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
Size = tuple[int, int]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Node:
    """A node's resources as SLURM lists them.  `memory` in MiB."""

    name: str
    cpus: int
    memory: int
    gpus: int

    def __str__(self) -> str:
        return f"{plural(self.cpus, 'CPU')}, {self.memory}M, {plural(self.gpus, 'GPU')}"


def examine(profile: Profile, suite: str | None, out: Path, wait: float, say: Say) -> list[Check]:
    """All checks; `say` gets messages about the progress.  Raises RequestError where the suite is bad."""
    from mixbench.suite.load import load

    trials = load(suite, (), profile.resources)[1] if suite else []
    return list(checks(profile, trials, out, wait, say))


def checks(profile: Profile, trials: list[Trial], out: Path, wait: float, say: Say) -> Iterator[Check]:
    """The checks, each if those before it make it possible.  Nothing stays in the queue, or in the run folder.

    `trials`: those of a suite, none without one.  `wait`: seconds for which a probe may be pending.
    """
    here = installation()
    yield from here
    sizes = _sizes(profile, trials)
    try:
        check(trials, profile, out)
        yield from _controller(profile.clusters)
        nodes: list[Node] = []
        yield from _partition(profile, sizes, nodes)
    except (RequestError, Unavailable) as error:
        yield Check("SLURM", False, str(error))
        return
    datasets = tuple(dict.fromkeys(trial.data for trial in trials if "accuracy" in trial.measure))
    if datasets:
        looked_at = [run_check("data", partial(data_of, dataset)) for dataset in datasets]
        bad = "; ".join(check.found for check in looked_at if not check.ok)
        yield Check("data", not bad, bad or ", ".join(dataset.name for dataset in datasets))
    try:
        with _folder(out) as folder:
            yield Check("run folder", True, f"{folder.parent} is writable")
            tested = [run_check("sbatch", partial(_test, profile, folder, *size)) for size in sizes]
            yield from tested
            if all(each.ok for each in tested):
                request = ProbeRequest(profile=profile, installed=tuple(here), datasets=datasets)
                yield from run_probes(request, folder, len(nodes) > 1, wait, say)
    except OSError as error:
        yield Check("run folder", False, f"{error.filename}: {error.strerror}")


def _sizes(profile: Profile, trials: list[Trial]) -> list[Size]:
    """(nodes, processes per node) of each array that a run would submit."""
    own = (profile.nodes, profile.processes_per_node)
    return sorted({(trial.nodes, trial.processes_per_node) for trial in trials}) or [own]


@contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """A temporary folder at the place of the run folder.  Raises OSError."""
    folder = Path(tempfile.mkdtemp(prefix=".mixbench-doctor-", dir=nearest_existing(out).absolute()))
    try:
        yield folder
    finally:
        for _ in polls(0.5, 5):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break  # else a job that was just cancelled wrote into it meanwhile


def _controller(cluster: str | None) -> Iterator[Check]:
    """SLURM's version, accounting and largest array.  Raises Unavailable where slurmctld does not answer."""
    config = dict(re.findall(r"^(\w+)\s*=\s*(\S*)", ask("scontrol", "show", "config", cluster=cluster), re.MULTILINE))
    yield Check("SLURM", True, f"{config['SLURM_VERSION']}, cluster {config['ClusterName']}")
    try:
        ask("sacct", "--noheader", "--allocations", "--starttime=now-1minutes", "--format=JobID", cluster=cluster)
        yield Check("accounting", True, "sacct answers")
    except Unavailable as error:
        yield Check("accounting", True, f"warning, of jobs that are gone it won't be known why: {error}")
    yield Check("job arrays", config["MaxArraySize"] != "0", f"of {plural(max_array_size(cluster), 'job')} at the most")


def _partition(profile: Profile, sizes: list[Size], nodes: list[Node]) -> Iterator[Check]:
    """The profile's partition, or SLURM's default, whose nodes are put into `nodes`.  Raises Unavailable."""
    lines = ask("scontrol", "--oneliner", "show", "partition", cluster=profile.clusters).splitlines()
    found = {line["PartitionName"]: line for line in (dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines)}
    default = next((name for name, facts in found.items() if facts["Default"] == "YES"), "")
    name = profile.partition or default
    if name not in found:
        yield Check("partition", False, f"none is called {name!r}{nearest(name, found)}" if name else "no default")
        return
    nodes += _nodes(name, profile)
    state = found[name]["State"]
    yield Check("partition", state == "UP", f"{name} is {state}, {plural(len(nodes), 'node')}")
    yield run_check("time limit", partial(_time, profile, found[name]["MaxTime"]))
    for size in sizes:
        yield run_check("nodes", partial(_fit, profile, nodes, *size))


def _time(profile: Profile, limit: str) -> str:
    """Raises RequestError where jobs may not run for as long as the profile says.  `limit` may be UNLIMITED."""
    with suppress(ValidationError):
        if profile.time > (most := TypeAdapter(Minutes).validate_python(limit)):
            raise RequestError(f"the profile's time is {plural(profile.time, 'minute')}; the partition allows {most}")
    return f"{plural(profile.time, 'minute')} of {limit}"


def _nodes(partition: str, profile: Profile) -> list[Node]:
    """The partition's nodes, with their GPUs of the profile's kind."""
    options = ("--noheader", "--Node", f"--partition={partition}", "--format=%N|%c|%m|%G")
    nodes = []
    for line in ask("sinfo", *options, cluster=profile.clusters).splitlines():
        name, cpus, memory, resources = line.split("|", 3)
        nodes.append(Node(name, int(cpus), int(memory), gpus_of(resources, profile.gpu_kind)))
    return nodes


def gpus_of(resources: str, kind: str) -> int:
    """A node's GPUs of a kind, or of any, in what sinfo lists: gpu:a100:4(S:0-1),gpu:v100:2."""
    found = re.findall(r"(?:^|,)gpu(?::([^,:()]+))?:(\d+)", resources)
    return sum(int(count) for each, count in found if not kind or each == kind)


def _fit(profile: Profile, nodes: list[Node], wanted: int, processes: int) -> str:
    """Raises RequestError where too few nodes have what a job needs of each."""
    number, unit = re.fullmatch(r"(\d+)([KMGT]?)", profile.memory or "0").groups()  # type: ignore[union-attr]
    memory, gpus = int(number) * UNITS[unit or "M"], processes if profile.gpu_count else 0
    cpus = processes * profile.cpus_per_task
    fit = [node for node in nodes if node.cpus >= cpus and node.memory >= memory and node.gpus >= gpus]
    kind = f"{profile.gpu_kind} GPU".strip()
    need = f"{plural(cpus, 'CPU')}, {profile.memory or 'the usual memory'}, {plural(gpus, kind)}"
    if len(fit) < wanted:
        largest = max(nodes, key=lambda node: (node.gpus, node.memory, node.cpus))
        raise RequestError(
            f"a job needs {plural(wanted, 'node')} with {need} each; {len(fit)} of {len(nodes)} in the partition have "
            f"that, {largest.name} has {largest}"
        )
    return f"{len(fit)} of {len(nodes)} have {need}, for {plural(processes, 'process')} each"


def _test(profile: Profile, folder: Path, nodes: int, processes: int) -> str:
    """Have sbatch check the script of a run without submitting it: account, QOS, constraint and other options."""
    made = executor(probe_array(profile, nodes, processes), folder)
    script = folder / "test.sh"
    script.write_text(made._make_submission_file_text(command(profile, "mixbench.launch.slurm.rank"), "test"), "utf-8")
    ask("sbatch", "--test-only", f"--chdir={folder}", str(script))
    who = [f"{key} {value}" for key in ("account", "qos", "constraint") if (value := getattr(profile, key))]
    return ", ".join([f"takes jobs of {nodes} × {processes} processes", *who])
