"""The testbed is a real SLURM: what the tests of mixbench on a cluster rely on, and that it leaves nothing behind."""

import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.slurm.testbed import SCRIPT, START_SECONDS, Slurm, running, start, stop, until

# Prints what it gets and goes on: `started RUN NODE SECOND`, `USR2 SECOND`
STUBBORN = """trap 'echo USR2 $(date +%s)' USR2
echo started ${SLURM_RESTART_COUNT:-0} $(hostname) $(date +%s)
for tick in $(seq 3000); do sleep 0.1; done"""
DEATH_SECONDS = 75  # until SLURM gives a silent node up: 24 to 35 s, more where cores are shared
HUNDRED_MIB = "--mem=100M"
EATS_400_MIB = 'python3 -c "import time; eaten = bytearray(400 << 20); time.sleep(30)"'


def stubborn(*options: str) -> str:
    return f"srun {' '.join(options)} bash -c '{STUBBORN.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'"


def seconds_of(word: str, output: Path) -> list[int]:
    lines = output.read_text().splitlines() if output.exists() else []
    return [int(line.split()[-1]) for line in lines if line.startswith(word)]


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
        timed = slurm.submit(stubborn(), folder / "timed", "-w", "n1", "--time=1", "--signal=USR2@20")
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
    if (slurm.folder / "memory").read_text() == "polled\n":
        pytest.skip("this machine has no memory controller of cgroup v1 for the testbed")
    job = slurm.submit(EATS_400_MIB if batch else f"exec srun {EATS_400_MIB}", tmp_path / "output", HUNDRED_MIB)
    step = f"{job}.{'batch' if batch else '0'}"
    until(lambda: slurm.accounts(job), lambda states: states.get(step) == "OUT_OF_MEMORY", 30)


def test_without_cgroups_memory_over_the_limit_is_seen_within_seconds(other: Other, tmp_path: Path) -> None:
    job = other.slurm.submit(EATS_400_MIB, tmp_path / "output", "-w", "n2", HUNDRED_MIB)
    other.slurm.until_job(job, "FAILED", 30)
    assert "exceeded memory limit" in (tmp_path / "output").read_text()


def test_a_higher_qos_preempts_and_the_job_runs_again(slurm: Slurm, tmp_path: Path) -> None:
    preempted(slurm, tmp_path, low=["--qos=low"], high=["--qos=high"])


def test_a_partition_preempts_and_the_job_runs_again(other: Other, tmp_path: Path) -> None:
    preempted(other.slurm, tmp_path, low=["--partition=main"], high=["--partition=urgent"])


def preempted(slurm: Slurm, folder: Path, low: list[str], high: list[str]) -> None:
    output, node = folder / "low", ("-w", "n2", "--exclusive")
    first = slurm.submit(stubborn(), output, *low, *node, "--signal=USR2@30", "--time=10")
    until(lambda: seconds_of("started 0 n2", output), bool, 30)
    second = slurm.submit("true", folder / "high", *high, *node)
    until(lambda: seconds_of("USR2", output), bool, 30)
    slurm.until_job(second, "COMPLETED", 60)
    until(lambda: seconds_of("started 1 n2", output), bool, 60)
    assert slurm.job(first)["Restarts"] == "1"
    slurm.run("scancel", first)
    until(lambda: slurm.accounts(first, runs=True).get(first), lambda state: state == "PREEMPTED", 30)


def test_a_node_without_power_is_down_and_its_jobs_go_as_slurm_says(slurm: Slurm, tmp_path: Path) -> None:
    both = ("-N2", "-w", "n2,n3")
    again = slurm.submit(stubborn(), tmp_path / "again", *both)
    never = slurm.submit(stubborn(), tmp_path / "never", *both, "--no-requeue")
    for name in ("again", "never"):
        until(lambda n=name: len(seconds_of("started 0", tmp_path / n)), lambda count: count == 2, 30)  # type: ignore[misc]
    slurm.testbed("kill-node", "n3")
    slurm.until_node("n3", r"down\*", DEATH_SECONDS)
    slurm.until_job(never, "NODE_FAIL", 30)
    assert slurm.until_job(again, "PENDING", 30)["Restarts"] == "1"
    slurm.testbed("start-node", "n3")
    until(lambda: len(seconds_of("started 1", tmp_path / "again")), lambda count: count == 2, 60)
    slurm.run("scancel", again)
    slurm.until_idle()


def test_a_node_switched_off_and_on_at_once_is_noticed_by_its_reboot(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(stubborn(), tmp_path / "output", "-w", "n3")
    until(lambda: seconds_of("started 0", tmp_path / "output"), bool, 30)
    slurm.testbed("kill-node", "n3")
    slurm.testbed("start-node", "n3")
    until(lambda: seconds_of("started 1", tmp_path / "output"), bool, 60)
    slurm.run("scancel", job)


def test_a_frozen_node_does_not_respond_until_it_is_reset(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(stubborn(), tmp_path / "output", "-w", "n2")
    until(lambda: seconds_of("started 0", tmp_path / "output"), bool, 30)
    slurm.testbed("freeze-node", "n2")
    assert states_in(slurm, "n2") .items() >= {"slurmd": "T", "slurmstepd": "T", "bash": "T"}.items()
    slurm.until_node("n2", r"down\*", DEATH_SECONDS)
    slurm.until_job(job, "PENDING", 30)
    slurm.testbed("start-node", "n2")
    until(lambda: seconds_of("started 1 n2", tmp_path / "output"), bool, 60)
    slurm.run("scancel", job)
    slurm.until_idle()


def test_a_thawed_node_goes_on_as_if_nothing_had_been(slurm: Slurm, tmp_path: Path) -> None:
    slurm.testbed("freeze-node", "n1")
    with subprocess.Popen(["srun", "-w", "n1", "hostname"], env=slurm.environment, stdout=subprocess.PIPE) as waiting:
        until(lambda: slurm.nodes()["n1"], lambda state: state.startswith(("alloc", "mix")), 30)
        slurm.testbed("thaw-node", "n1")
        assert waiting.communicate(timeout=60)[0] == b"n1\n"


def test_a_job_outlives_the_controller(slurm: Slurm, tmp_path: Path) -> None:
    job = slurm.submit(stubborn(), tmp_path / "output", "-N2")
    slurm.until_job(job, "RUNNING", 30)
    slurm.testbed("kill-node", "controller")
    assert slurm.attempt("scontrol", "ping").returncode != 0
    slurm.testbed("start-node", "controller")
    until(lambda: slurm.attempt("scontrol", "ping").returncode, lambda code: code == 0, 30)
    assert slurm.job(job)["JobState"] == "RUNNING"
    assert slurm.job(job)["Restarts"] == "0"
    slurm.run("scancel", job)
    slurm.until_job(job, "CANCELLED", 60)


def test_a_time_limit_is_announced_by_a_signal_and_kept(other: Other) -> None:
    started = seconds_of("started 0 n1", other.output)[0]
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
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose path leaves room for sockets, as tmp_path's with a test's name in it may not."""
    return tmp_path_factory.mktemp("own")


def traces(folder: Path) -> dict[str, list[str]]:
    """What a testbed in this folder has left: processes and mounts that name it, cgroups, the folder."""
    found: dict[str, list[str]] = {
        "processes": [],
        "mounts": [],
        "cgroups": [],
        "folder": [*map(str, folder.glob("**/*"))],
    }
    text = str(folder).encode()
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            view = [(process / name).read_bytes() for name in ("cmdline", "environ")]
            if any(text in part for part in view):
                found["processes"].append(view[0].replace(b"\0", b" ").decode())
            if text.replace(b" ", b"\\040") in (process / "mountinfo").read_bytes():
                found["mounts"].append(process.name)
        except (FileNotFoundError, ProcessLookupError, OSError):
            continue  # it has ended
    found["cgroups"] = [str(path) for path in Path("/sys/fs/cgroup").glob("**/mixbench-testbed-*")]
    return found


def test_stop_leaves_no_process_no_mount_and_no_file(short: Path) -> None:
    machine_files = [Path(name) for name in ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/slurm", "/etc/munge")]
    before = [(path.stat().st_mtime_ns, path.stat().st_size) for path in machine_files if path.exists()]
    names = {path.name for path in Path("/tmp").iterdir()}
    cgroups = traces(short)["cgroups"]
    with running(short / "slurm", 1) as slurm:
        there = traces(slurm.folder)
        slurm.submit("setsid sleep 1000 & setsid nohup sleep 1001 & wait", short / "output")
        until(lambda: states_in(slurm, "n1").get("sleep"), bool, 30)
        assert there["processes"] and there["mounts"] and there["folder"]
    assert traces(slurm.folder) == {"processes": [], "mounts": [], "cgroups": cgroups, "folder": []}
    assert not slurm.folder.exists()
    assert {path.name for path in Path("/tmp").iterdir()} <= names
    assert [(path.stat().st_mtime_ns, path.stat().st_size) for path in machine_files if path.exists()] == before
    stop(slurm.folder)  # nothing runs: nothing to do


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
    with subprocess.Popen(["sleep", "1000"]) as owner:
        started = start(short / "slurm", "1", owner=str(owner.pid))
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
