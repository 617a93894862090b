"""The testbed is a real SLURM: what the tests of mixbench on a cluster rely on, and that it leaves nothing behind."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.testbed import SCRIPT, START_SECONDS, Slurm, running, start, stop, until

# Prints what it gets and goes on: `started RUN NODE SECOND`, `USR2 SECOND`
TASK = """trap 'echo USR2 $(date +%s)' USR2
echo started ${SLURM_RESTART_COUNT:-0} $(hostname) $(date +%s)
for tick in $(seq 3000); do sleep 0.1; done"""
STUBBORN = f"srun bash -c {shlex.quote(TASK)}"
DEATH_SECONDS = 75  # until SLURM gives a silent node up: 15 to 18 s were seen, more where cores are shared
HUNDRED_MIB = "--mem=100M"
EATS_400_MIB = 'python3 -c "import time; eaten = bytearray(400 << 20); time.sleep(30)"'


def seconds_of(word: str, output: Path) -> list[int]:
    lines = output.read_text().splitlines() if output.exists() else []
    return [int(line.split()[-1]) for line in lines if line.startswith(word)]


def until_started(output: Path, run: int = 0, tasks: int = 1) -> int:
    """When the job's first task of that run (0: the first, 1: after a requeue) started."""
    found = until(lambda: seconds_of(f"started {run}", output), lambda found: found[tasks - 1 :] != [], 60)
    return min(found)


@dataclass(frozen=True)
class Other:
    slurm: Slurm
    timed: str  # a job with a time limit of one minute and a signal ahead of it, on n1
    output: Path


@pytest.fixture(scope="module")
def other(testbed: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Other]:
    """A second testbed beside the first, with the other settings, in a folder whose name holds spaces."""
    folder = tmp_path_factory.mktemp("an other")
    with running(folder / "slurm", 2, preempt="partition", memory="polled", conf="MaxArraySize=11") as slurm:
        timed = slurm.submit(STUBBORN, folder / "timed", "-w", "n1", "--time=1", "--signal=USR2@20")
        yield Other(slurm, timed, folder / "timed")


def test_it_is_ready_soon_with_every_node_idle(testbed: Slurm) -> None:
    assert testbed.nodes() == {"n1": "idle", "n2": "idle", "n3": "idle"}
    assert testbed.seconds_to_start < START_SECONDS


def test_a_job_runs_on_two_nodes_and_is_accounted_for(slurm: Slurm) -> None:
    lines = slurm.run("srun", "-N2", "bash", "-c", "echo $SLURM_JOB_ID $(hostname)").split("\n")
    jobs, names = zip(*(line.split() for line in lines if line), strict=True)
    assert sorted(names) == ["n1", "n2"]
    job, _ = jobs
    until(lambda: slurm.accounts(job), lambda states: states.get(job) == "COMPLETED", 30)


def test_gpus_are_pretended(slurm: Slurm) -> None:
    assert slurm.run("srun", "--gres=gpu:2", "bash", "-c", "echo $CUDA_VISIBLE_DEVICES") == "0,1\n"
    assert "not available" in slurm.attempt("srun", "--gres=gpu:3", "true").stderr


def test_nodes_share_files_but_neither_processes_nor_dev_shm(slurm: Slurm, tmp_path: Path) -> None:
    slurm.run("srun", "-w", "n1", "bash", "-c", f"touch /dev/shm/local {tmp_path}/shared")
    seen = slurm.run("srun", "-w", "n2", "bash", "-c", f"ls {tmp_path}; ls /dev/shm; pgrep --exact --count slurmd")
    assert seen.split() == ["shared", "1"]


def test_more_lines_for_slurm_conf_are_obeyed(testbed: Slurm, other: Other) -> None:
    whole = ("sbatch", "--array=0-11", "--hold", "--wrap=true")
    assert "Invalid job array" in other.slurm.attempt(*whole).stderr
    assert testbed.attempt(*whole).returncode == 0


@pytest.mark.parametrize("batch", [True, False], ids=["the batch script", "a step"])
def test_memory_over_the_limit_is_named_as_such(slurm: Slurm, tmp_path: Path, batch: bool) -> None:
    """Of the step that it happened to: the job around a step ends as its script ends."""
    job = slurm.submit(EATS_400_MIB if batch else f"srun {EATS_400_MIB}", tmp_path / "output", HUNDRED_MIB)
    step = f"{job}.{'batch' if batch else '0'}"
    named = {"cgroup": "OUT_OF_MEMORY", "polled": "FAILED"}[(slurm.folder / "memory").read_text().strip()]
    until(lambda: slurm.accounts(job).get(step), lambda state: state == named, 30)


def test_without_cgroups_memory_over_the_limit_is_seen_within_seconds(other: Other, tmp_path: Path) -> None:
    job = other.slurm.submit(EATS_400_MIB, tmp_path / "output", "-w", "n2", HUNDRED_MIB)
    other.slurm.until_job(job, "FAILED", 30)
    assert "exceeded memory limit" in (tmp_path / "output").read_text()


@pytest.fixture(scope="module")
def preemptions(
    testbed: Slurm, other: Other, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[None]]]:
    """One on each testbed, at the same time: each takes 20 s of waiting."""
    folder = tmp_path_factory.mktemp("preempted")
    with ThreadPoolExecutor() as pool:
        yield {
            "qos": pool.submit(preempted, testbed, folder, "--qos=low", "--qos=high"),
            "partition": pool.submit(preempted, other.slurm, folder, "--partition=main", "--partition=urgent"),
        }


@pytest.mark.parametrize("by", ["qos", "partition"])
def test_a_preempted_job_gets_its_signal_and_runs_again(preemptions: dict[str, Future[None]], by: str) -> None:
    preemptions[by].result()


def preempted(slurm: Slurm, folder: Path, low: str, high: str) -> None:
    output, node = folder / low, ("-w", "n2", "--exclusive")
    first = slurm.submit(STUBBORN, output, low, *node, "--signal=USR2@30", "--time=10")
    until_started(output)
    second = slurm.submit("true", folder / high, high, *node)
    until(lambda: seconds_of("USR2", output), bool, 30)
    slurm.until_job(second, "COMPLETED", 60)
    until_started(output, run=1)
    assert slurm.job(first)["Restarts"] == "1"
    slurm.run("scancel", first)
    until(lambda: slurm.accounts(first, runs=True).get(first), lambda state: state == "PREEMPTED", 30)


def test_nodes_without_power_or_frozen_are_down_and_their_jobs_go_as_slurm_says(slurm: Slurm, tmp_path: Path) -> None:
    """At the same time: it takes SLURM 15 s to give a node up."""
    both = ("-N2", "-w", "n2,n3")
    again = slurm.submit(STUBBORN, tmp_path / "again", *both)
    never = slurm.submit(STUBBORN, tmp_path / "never", *both, "--no-requeue")
    on_frozen = slurm.submit(STUBBORN, tmp_path / "on frozen", "-w", "n1")
    until_started(tmp_path / "again", tasks=2)
    until_started(tmp_path / "never", tasks=2)
    until_started(tmp_path / "on frozen")
    slurm.testbed("kill-node", "n3")
    slurm.testbed("freeze-node", "n1")
    assert states_in(slurm, "n1").items() >= {"slurmd": "T", "slurmstepd": "T", "bash": "T"}.items()
    slurm.until_node("n3", r"down\*", DEATH_SECONDS)
    slurm.until_node("n1", r"down\*", DEATH_SECONDS)
    slurm.until_job(never, "NODE_FAIL", 30)
    assert slurm.until_job(again, "PENDING", 30)["Restarts"] == "1"
    slurm.until_job(on_frozen, "PENDING", 30)
    slurm.testbed("start-node", "n3")
    slurm.testbed("start-node", "n1")
    until_started(tmp_path / "again", run=1, tasks=2)
    until_started(tmp_path / "on frozen", run=1)
    slurm.run("scancel", again, on_frozen)
    slurm.until_idle()


def test_a_thawed_node_goes_on_as_if_nothing_had_been(slurm: Slurm, tmp_path: Path) -> None:
    slurm.testbed("freeze-node", "n1")
    with subprocess.Popen(["srun", "-w", "n1", "hostname"], env=slurm.environment, stdout=subprocess.PIPE) as waiting:
        until(lambda: slurm.nodes()["n1"], lambda state: state.startswith(("alloc", "mix")), 30)
        slurm.testbed("thaw-node", "n1")
        assert waiting.communicate(timeout=60)[0] == b"n1\n"


def test_a_job_outlives_the_controller(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(STUBBORN, tmp_path / "output", "-N2")
    slurm.until_job(job, "RUNNING", 30)
    # it writes down what it knows every 5 s: what was since then, a job's start too, a power cut makes it forget
    slurm.run("scontrol", "update", f"job={job}", "comment=written")
    changed = time.time()
    until(lambda: (slurm.folder / "controller/job_state").stat().st_mtime, lambda written: written > changed, 30)
    slurm.testbed("kill-node", "controller")
    assert slurm.attempt("scontrol", "ping").returncode != 0
    slurm.testbed("start-node", "controller")
    until(lambda: slurm.attempt("scontrol", "ping").returncode, lambda code: code == 0, 30)
    assert slurm.job(job)["JobState"] == "RUNNING"
    assert slurm.job(job)["Restarts"] == "0"
    slurm.run("scancel", job)
    slurm.until_job(job, "CANCELLED", 60)


def test_a_time_limit_is_announced_by_a_signal_and_kept(other: Other) -> None:
    started = until_started(other.output)
    announced = until(lambda: seconds_of("USR2", other.output), bool, 90)[0]
    assert announced < started + 60
    assert other.slurm.until_job(other.timed, "TIMEOUT", 90)["Restarts"] == "0"


def test_a_start_while_it_runs_changes_nothing(testbed: Slurm) -> None:
    pids = {path.name: path.read_text() for path in (testbed.folder / "machines").glob("*/pid")}
    assert testbed.attempt(SCRIPT, "start").returncode == 0
    assert {path.name: path.read_text() for path in (testbed.folder / "machines").glob("*/pid")} == pids
    refused = testbed.attempt(SCRIPT, "start", "2")
    assert (refused.returncode, "stop it first" in refused.stderr) == (2, True)


def test_status_tells_what_runs(testbed: Slurm, tmp_path: Path) -> None:
    assert "n3: on" in testbed.testbed("status")
    nothing = subprocess.run([SCRIPT, "status"], env=os.environ | {"MIXBENCH_TESTBED": str(tmp_path / "none")})
    assert nothing.returncode == 3


def test_an_unknown_node_is_refused_with_the_names_there_are(testbed: Slurm) -> None:
    refused = testbed.attempt(SCRIPT, "kill-node", "../n1")
    assert (refused.returncode, "n1 n2 n3 controller" in refused.stderr) == (2, True)


@pytest.fixture
def short(testbed: Slurm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder whose path leaves room for sockets, as tmp_path with a test's name may not; its `slurm` is stopped."""
    folder = tmp_path_factory.mktemp("own")
    yield folder
    stop(folder / "slurm")


def traces(folder: Path) -> dict[str, list[str]]:
    """What a testbed in this folder has left: processes that name it, or see a mount that does; its files."""
    found: dict[str, list[str]] = {"processes": [], "mounts": [], "files": [*map(str, folder.glob("**/*"))]}
    text = str(folder).encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, environment, mounts = ((process / f).read_bytes() for f in ("cmdline", "environ", "mountinfo"))
        except OSError:
            continue  # it has ended
        if text in command + environment and int(process.name) != os.getpid():
            found["processes"].append(command.replace(b"\0", b" ").decode())
        if text.replace(b" ", b"\\040") in mounts:
            found["mounts"].append(process.name)
    return found


def test_stop_leaves_no_process_no_mount_and_no_file(short: Path) -> None:
    before = machine_files()
    with running(short / "slurm", 2) as slurm:
        slurm.submit("setsid sleep 1000 & setsid nohup sleep 1001 & wait", short / "output", "-w", "n1")
        until(lambda: states_in(slurm, "n1").get("sleep"), bool, 30)
        slurm.testbed("freeze-node", "n2")
        cgroups = [Path(line) for line in (slurm.folder / "cgroups").read_text().splitlines()]
        there = traces(slurm.folder)
        assert all([*there.values(), *(cgroup.exists() for cgroup in cgroups)]), there
    assert traces(slurm.folder) == {"processes": [], "mounts": [], "files": []}
    assert not any(path.exists() for path in [slurm.folder, *cgroups])
    assert machine_files() == before
    stop(slurm.folder)  # nothing runs: nothing to do


def machine_files() -> dict[str, tuple[int, int]]:
    """The machine's own files that SLURM and its services would write to if left alone: name → modified, size."""
    folders = ("/run", "/var/lib", "/var/log", "/var/spool", "/etc")
    names = ["/etc/passwd", "/etc/group", "/etc/hosts"]
    names += [f"{folder}/{name}" for folder in folders for name in ("munge", "mysql", "slurm", "slurmctld", "slurmd")]
    stats = {name: Path(name).stat() for name in names if Path(name).exists()}
    return {name: (stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}


def test_a_start_cleans_up_after_one_that_crashed(short: Path) -> None:
    folder = short / "slurm"
    environment = os.environ | {"MIXBENCH_TESTBED": str(folder)}
    with subprocess.Popen([SCRIPT, "start"], env=environment, stderr=subprocess.DEVNULL) as crashing:
        until(lambda: (folder / "machines/n3/pid").exists(), bool, 30)
        second = start(folder)
        crashing.kill()
    assert (second.returncode, "another start or stop is at work" in second.stderr) == (2, True)
    assert traces(folder)["processes"]
    with running(folder, 1) as slurm:
        assert slurm.nodes() == {"n1": "idle"}
        [first_pid] = [path.read_text() for path in folder.glob("machines/controller/pid")]
        os.kill(int(first_pid), signal.SIGKILL)
        assert start(folder, "2").returncode == 0
        assert slurm.nodes() == {"n1": "idle", "n2": "idle"}
    assert traces(folder)["processes"] == []


def test_it_stops_when_its_owner_ends(short: Path) -> None:
    copy = shutil.copytree(SCRIPT.parent, short / "a checkout")
    with subprocess.Popen(["sleep", "1000"]) as owner:
        started = start(short / "slurm", "1", script=copy / "testbed.sh", owner=str(owner.pid))
        owner.kill()
    assert started.returncode == 0, started.stderr
    until(lambda: (short / "slurm").exists() or traces(short / "slurm")["processes"], lambda left: not left, 30)


def test_what_it_cannot_do_is_said_before_anything_is_done(short: Path) -> None:
    (short / "full").mkdir()
    (short / "full/precious").touch()
    for folder, reason in {
        short / "full": "holds something else",
        short / ("long" * 20): "too long",
        Path("/dev/shm/testbed"): "/dev/shm",
    }.items():
        refused = start(folder)
        assert (refused.returncode, reason in refused.stderr) == (2, True), refused.stderr
    environment = os.environ | {"MIXBENCH_TESTBED": str(short / "full")}
    assert subprocess.run([SCRIPT, "stop"], env=environment, capture_output=True).returncode == 2
    assert (short / "full/precious").exists()


def test_without_packages_or_rights_it_says_what_to_do(short: Path) -> None:
    environment = os.environ | {"MIXBENCH_TESTBED": str(short / "slurm")}
    hide = 'mount -t tmpfs tmpfs /usr/sbin && exec "$0" start'
    for command, reason in {
        ("unshare", "--mount", "bash", "-c", hide): "apt-get install --no-install-recommends slurm-wlm slurmdbd munge",
        ("unshare", "--user", "bash", "-c", 'exec "$0" start'): "must be root",
    }.items():
        refused = subprocess.run([*command, SCRIPT], env=environment, capture_output=True, text=True)
        assert (refused.returncode, reason in refused.stderr) == (2, True), refused.stderr
    assert not (short / "slurm").exists()


def states_in(slurm: Slurm, node: str) -> dict[str, str]:
    """Name → state of the processes of a node: S sleeps, T is stopped …"""
    outside = (slurm.folder / "machines" / node / "pid").read_text().strip()
    inside = subprocess.run(["pgrep", "--parent", outside], capture_output=True, text=True, check=True).stdout.strip()
    command = ["nsenter", "--target", inside, "--pid", "--mount", "ps", "-e", "-o", "pid=,stat=,comm="]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {name: state[0] for pid, state, name in map(str.split, lines) if pid != "1" and name != "ps"}
    return found
