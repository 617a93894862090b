"""Cluster profiles: the bundled ones load; each key refuses what it cannot hold, at its line, saying what is wanted."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from mixbench.errors import RequestError
from mixbench.launch.slurm.cluster_profile import OURS, OURS_OF_SRUN, Profile, find_profile, load
from mixbench.system.content import content
from tests.test_bad_values import keys_of, named

BUNDLED = sorted(content("slurm").glob("*.yaml"))
WHEN = 'minutes, "hours:minutes:seconds" or "days-hours:minutes:seconds" are wanted'
CASES = [
    # what is not a key
    ("partiton: gpu", "'partiton'", "did you mean partition?"),
    ("gpus: 8", "'gpus'", "did you mean gpus_per_node?"),
    ("network_interfaces: ib0", "'network_interfaces'", "did you mean network_interface?"),
    # text
    ("description: 5", "description", "text is wanted (in quotes), not 5"),
    ("partition: ''", "partition", "a name is wanted, not an empty text"),
    ("partition: [a, b]", "partition", "text is wanted"),
    ('partition: "a\\nb"', "partition", "one line without control characters is wanted"),
    ("account: 1234", "account", "text is wanted (in quotes), not 1234"),
    ("qos: on", "qos", "text is wanted (in quotes), not true"),
    ("constraint: [a100]", "constraint", "text is wanted"),
    # sizes
    ("nodes: 0", "nodes", "it must be at least 1"),
    ("nodes: 1-4", "nodes", 'a whole number is wanted, not "1-4"'),
    ("processes_per_node: auto", "processes_per_node", "a whole number is wanted"),
    ("gpus_per_node: -1", "gpus_per_node", "it must be at least 0"),
    (
        "gpus_per_node: 'a100:'",
        "gpus_per_node",
        'a number, or a kind and a number such as a100:8, is wanted, not "a100:"',
    ),
    ("gpus_per_node: '8'", "gpus_per_node", "such as a100:8"),
    ("gpus_per_node: a100:65", "gpus_per_node", "it must be at most 64"),
    ("gpus_per_node: [8]", "gpus_per_node", "a whole number, or a kind and a number"),
    ("dependency: 1234", "dependency", "text is wanted (in quotes), not 1234"),
    ("dependency: after 1234", "dependency", 'what sbatch takes is wanted, such as "afterok:1234"'),
    ("clusters: [a, b]", "clusters", "text is wanted"),
    ("clusters: a,b", "clusters", "the name of one cluster"),
    ("srun: [mpi]", "srun", "a mapping (key: value) is wanted"),
    ("srun: {--mpi: pmix}", "srun.--mpi", "is not a long option of srun without its dashes, such as mpi"),
    ('srun: {mpi: "a\\nb"}', "srun.mpi", "one line is wanted"),
    ("gpus_per_node: 65", "gpus_per_node", "it must be at most 64"),
    ("cpus_per_task: 1.5", "cpus_per_task", "a whole number is wanted"),
    ("memory: 64GB", "memory", 'a size such as "64G" or "8000M" is wanted, not \'64GB\''),
    ("memory: 0", "memory", 'a size such as "64G"'),
    ("memory: 1.5T", "memory", 'a size such as "64G"'),
    ("memory: all", "memory", 'a size such as "64G"'),
    ("array_parallelism: 0", "array_parallelism", "it must be at least 1"),
    ("trials_per_job: many", "trials_per_job", "a whole number is wanted"),
    ("macs_per_job: 0", "macs_per_job", "it must be above 0"),
    ("macs_per_job: .inf", "macs_per_job", "a finite number is wanted"),
    # time
    ("time: 0", "time", "it must be at least 1"),
    ("time: 00:00:00", "time", "it must be at least 1"),
    ("time: 1:30", "time", "which counts in sixties"),
    ('time: "1:30"', "time", WHEN),
    ("time: 2 hours", "time", WHEN),
    ("time: UNLIMITED", "time", WHEN),
    ("time: 366-00:00:00", "time", "it must be at most 525,600"),
    ("time: null", "time", "a whole number is wanted"),
    ("signal_seconds: 2m", "signal_seconds", "a whole number is wanted"),
    ("signal_seconds: 0", "signal_seconds", "it must be at least 1"),
    ("requeue: 3", "requeue", "a mapping (key: value) is wanted"),
    ("requeue: {number: 3}", "'number'", "choose from time_limits, failures"),
    ("requeue: {time_limits: often}", "requeue.time_limits", "a whole number is wanted"),
    ("requeue: {failures: -1}", "requeue.failures", "it must be at least 0"),
    ("requeue: {failures: 5000}", "requeue.failures", "it must be at most 1000"),
    # what is written into the script
    ("setup: 5", "setup", "text is wanted"),
    ("setup: {module: cuda}", "setup", "text is wanted"),
    ('setup: ["module load a\\nmodule load b"]', "setup.0", "one line is wanted; a list may have several"),
    ("environment: [A=1]", "environment", "a mapping (key: value) is wanted"),
    ("environment: {1A: x}", "environment.1A", "'1A' is not the name of an environment variable"),
    ('environment: {"A; rm": x}', "environment", "is not the name of an environment variable"),
    ("environment: {A: true}", "environment.A", "text is wanted (in quotes), not true"),
    ('environment: {A: "x\\ny"}', "environment.A", "one line is wanted"),
    ("python: 3.11", "python", "text is wanted (in quotes), not 3.11"),
    ("python: ''", "python", "a path is wanted"),
    ("container: image.sqsh", "container", "a mapping (key: value) is wanted"),
    ("container: {mounts: [/a]}", "container", "key 'image' is missing"),
    ("container: {image: ''}", "container.image", "a name or a path is wanted"),
    ("container: {image: a, mounts: ['/a:/b,/c:/d']}", "container.mounts.0", "without comma"),
    ("network_interface: ib 0", "network_interface", "the name of a network interface such as ib0 is wanted"),
    ("scratch: ''", "scratch", "a path is wanted"),
    ("sbatch: [exclusive]", "sbatch", "a mapping (key: value) is wanted"),
    ("sbatch: {--exclusive: true}", "sbatch.--exclusive", "is not a long option of sbatch without its dashes"),
    ("sbatch: {mail_type: END}", "sbatch.mail_type", "is not a long option of sbatch without its dashes"),
    ("sbatch: {exclusive: null}", "sbatch.exclusive", "text, a number, true or false is wanted, not null"),
    ("sbatch: {exclude: [n1, n2]}", "sbatch.exclude", "text, a number, true or false is wanted"),
    ('sbatch: {exclude: "n1\\n#SBATCH --uid=0"}', "sbatch.exclude", "one line is wanted"),
    *((f"sbatch: {{{key}: 1}}", f"sbatch.{key}", f"{key} is set by mixbench") for key in sorted(OURS)),
    *((f"srun: {{{key}: 1}}", f"srun.{key}", f"{key} is set by mixbench") for key in sorted(OURS_OF_SRUN)),
]


def refused(folder: Path, text: str) -> str:
    (folder / "p.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as error:
        load(str(folder / "p.yaml"))
    return str(error.value)


def with_line(line: str) -> str:
    return line if line.startswith("time") else f"time: 60\n{line}"


@pytest.mark.parametrize(("line", "key", "said"), CASES, ids=[case[0][:60] for case in CASES])
def test_a_value_that_cannot_be_is_refused_at_its_line(tmp_path: Path, line: str, key: str, said: str) -> None:
    text = with_line(line)
    message = refused(tmp_path, text)
    assert message.startswith(f"{tmp_path}/p.yaml:{1 + text.count(chr(10))}: "), message
    assert key in message and said in message
    assert "\n" not in message, "one thing is wrong, and one is said"


def test_every_key_of_a_profile_has_a_value_that_it_refuses() -> None:
    tried = {named(key) for _, key, _ in CASES}
    assert sorted(set(keys_of(Profile)) - tried) == [], "give each new key its cases"


@pytest.mark.parametrize("value", ["{surprise: [1]}", "[[[]]]", '"\\x01"'])
@pytest.mark.parametrize("key", list(keys_of(Profile)))
def test_no_key_takes_just_anything(tmp_path: Path, key: str, value: str) -> None:
    first, *inner = key.split(".")
    for part in reversed(inner):
        value = f"{{{'image: a, ' if part == 'mounts' else ''}{part}: {value}}}"
    message = refused(tmp_path, with_line(f"{first}: {value}"))
    assert (inner or [first])[-1] in message


def test_a_profile_says_how_long_a_job_may_run(tmp_path: Path) -> None:
    assert "key 'time' is missing" in refused(tmp_path, "partition: gpu\n")


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("8:00:00", 480), ('"8:00:00"', 480), ("1-12:00:00", 2160), ("2-06:30", 3270), ("00:00:01", 1)],
)
def test_a_time_is_read_as_slurm_reads_it(tmp_path: Path, text: str, minutes: int) -> None:
    (tmp_path / "p.yaml").write_text(f"time: {text}\n")
    assert load(str(tmp_path / "p.yaml")).time == minutes


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_a_bundled_profile_loads_and_begins_with_what_it_is_and_a_command(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    head = re.match(r"(#.*\n)+", text)
    assert head and re.match(r"# [A-Z].*[.:,;\w]$", head[0].splitlines()[0])
    assert re.search(rf"^#   mixbench run \S+ --cluster slurm/{path.name}", head[0], re.MULTILINE)
    assert load(str(path)).description
    assert find_profile(path.stem).samefile(path) and find_profile(f"slurm/{path.name}").samefile(path)


@pytest.mark.parametrize("path", BUNDLED, ids=lambda path: path.stem)
def test_each_line_that_may_be_needed_is_good_too(tmp_path: Path, path: Path) -> None:
    """Those that begin with # and a key: one after the other, as a second value of a key is refused."""
    lines = path.read_text(encoding="utf-8").splitlines()
    optional = [index for index, line in enumerate(lines) if re.match(r"#\w", line)]
    for index in optional:
        end = index + 1
        while end < len(lines) and lines[end].startswith("#  "):
            end += 1
        block = "\n".join(line[1:] for line in lines[index:end])
        key = block.partition(":")[0]
        others = [line for line in lines if not line.startswith((f"{key}:", "#"))]
        (tmp_path / "p.yaml").write_text("\n".join([*others, block]), encoding="utf-8")
        assert key in load(str(tmp_path / "p.yaml")).model_fields_set


def test_a_key_that_a_profile_gets_later_is_missed_by_these_tests() -> None:
    class Later(Profile):
        later: BaseModel | None = None

    assert set(keys_of(Later)) - set(keys_of(Profile)) == {"later"}
