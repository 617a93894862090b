"""Launching through submitit: local and debug take one path; what fails, dies or is stopped leaves the rest intact."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mixbench.errors import RequestError
from mixbench.launch.job import JobFolder
from mixbench.launch.local import DeviceGroup, _device_groups, _fail_current, launch
from mixbench.launch.local_rank import LocalJob
from mixbench.launch.processes import end_ranks
from mixbench.run.claim import holder
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.parts import Complexity
from mixbench.run.progress import Progress
from mixbench.run.record import Record, read_record
from mixbench.suite.load import load
from mixbench.suite.trial import Trial
from tests.trials import SMALL, write_suite

DEADLINE = 400
CLUSTERS = ["local", "debug"]

FAULTY = Path(__file__).with_name("faulty.py")


def prepare(folder: Path, **keys: Any) -> tuple[list[Trial], Run]:
    """A run folder with its plan written, its name full of what breaks shells."""
    suite, trials = load(str(write_suite(folder, **keys)))
    run = Run(folder / 'a run\'s "folder", $HOME; ünïcode 🙂')
    run.write_plan(suite.text, trials)
    return trials, run


def run_all(trials: list[Trial], cluster: str, run: Run) -> dict[str, Record]:
    return {outcome.trial.label: outcome.record for outcome in launch(trials, cluster, run)}


@pytest.fixture(params=CLUSTERS)
def cluster(request: pytest.FixtureRequest) -> str:
    return request.param


Measured = dict[str, tuple[list[Trial], Run]]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Two seeds, measured in every way on each cluster."""
    runs = {}
    for name in CLUSTERS:
        trials, run = runs[name] = prepare(tmp_path_factory.mktemp(name), seeds=[0, 1])
        assert len(run_all(trials, name, run)) == 1, "both seeds have one label"
    return runs


def test_a_trial_becomes_a_complete_record(cluster: str, measured: Measured) -> None:
    trials, run = measured[cluster]
    for trial in trials:
        record = run.record(trial.id)
        assert record is not None and record.status == "done" and record.error == ""
        assert record.missing(("complexity", "throughput", "accuracy")) == []
        assert record.params and record.macs and record.flops == 2 * record.macs
        assert record.details.throughput is not None and record.details.curve is not None
        assert len(record.details.throughput.infer_step_ms) == len(record.details.throughput.train_step_ms) == 3
        middle = sorted(record.details.throughput.infer_step_ms)[1]
        assert record.infer_samples_per_sec == pytest.approx(8 * 1000 / middle)
        assert record.details.throughput.interleaved_with == 1, "the two seeds were timed in turn"
        assert record.details.curve.test_images == 360
        assert record.top1 is not None and record.top5 is not None and 10 < record.top1 <= record.top5
        assert record.started_at <= record.finished_at and record.torch_version and record.device
        assert set(record.details.environment) == {"complexity", "throughput", "accuracy"}
        assert run.progress(trial.id) is None


def test_local_and_debug_train_to_the_same_figures(measured: Measured) -> None:
    found = []
    for trials, run in measured.values():
        records = [run.record(trial.id) for trial in trials]
        found.append([(r.trial_id, r.top1, r.test_loss, r.train_loss) for r in records if r is not None])
    assert found[0] == found[1] and len(found[0]) == 2


def test_a_failing_trial_is_recorded_with_its_reason_and_the_others_go_on(cluster: str, tmp_path: Path) -> None:
    wild = SMALL["convmixer"] | {"label": "wild", "recipe": {"optimizer": {"lr": 1e30}}}
    models = ["raises", wild, SMALL["mixer"]]
    keys = {"models": models, "plugins": [str(FAULTY)], "measure": ["complexity", "accuracy"]}
    trials, run = prepare(tmp_path, **keys)
    records = run_all(trials, cluster, run)
    assert records["raises"].status == "failed"
    assert records["raises"].error == "RuntimeError: a tensor of the wrong size <b>&"
    assert "in forward" in records["raises"].details.traceback
    assert records["raises"].params == 650, "what was measured before it failed is kept"
    assert records["wild"].status == "failed" and re.fullmatch(
        r"the training loss is (nan|inf) at step [1-9]\d* of 20, epoch 1 of 1, lr \d.*", records["wild"].error
    )
    assert records["wild"].details.traceback == ""
    assert [record.status for label, record in records.items() if label.startswith("mixer")] == ["done"]


def test_out_of_memory_is_named_as_such(tmp_path: Path) -> None:
    models = [{"name": "hoards"}, {"name": "overflows"}]
    trials, run = prepare(tmp_path, models=models, plugins=[str(FAULTY)], measure=["accuracy"])
    errors = {label: record.error for label, record in run_all(trials, "debug", run).items()}
    assert (
        errors["hoards"].startswith("out of memory on the host: ")
        and "tried to allocate 4503599627370496 bytes" in errors["hoards"]
    )
    assert errors["overflows"] == "out of memory on the device: CUDA out of memory. Tried to allocate 20.00 MiB."


def test_a_trial_that_kills_its_process_is_blamed_and_a_new_process_takes_the_rest(tmp_path: Path) -> None:
    keys = {"models": ["dies", SMALL["mixer"]], "plugins": [str(FAULTY)], "measure": ["complexity", "throughput"]}
    trials, run = prepare(tmp_path, seeds=[0, 1], **keys)
    run_all(trials, "local", run)
    records = {trial.id: run.record(trial.id) for trial in trials}
    status = {trial_id: record.status for trial_id, record in records.items() if record is not None}
    assert [status[trial.id] for trial in trials] == ["failed", "done", "failed", "done"]
    assert all("process that measured it died" in r.error for r in records.values() if r and r.status == "failed")
    assert len(list(run.jobs.iterdir())) == 3, "a job for all, and a new one after each death"
    assert all(r.params == 650 for r in records.values() if r and r.status == "failed"), "counted before it died"
    assert not list(run.folder.glob("trials/*/progress.json"))


def test_the_trial_a_dead_job_was_at_keeps_its_parts_and_is_no_longer_in_progress(tmp_path: Path) -> None:
    (first, second), run = prepare(tmp_path, seeds=[0, 1])
    group = DeviceGroup((), [first, second], LocalJob(JobFolder(run.jobs / "0001"), run, (first.id, second.id)))
    assert group.job is not None
    group.job.folder.path.mkdir(parents=True)
    group.job.folder.current_file.write_text(second.id)
    (group.job.folder.path / "1_0_log.err").write_text("some warning\nBus error\n")
    record = Record.pending(second)
    record.add_complexity(Complexity(params=650, macs=640, macs_ptflops=640, activations=10, layers=[]))
    record.started_at = "2026-11-20T09:00:00+00:00"
    run.write_record(record)
    run.write_progress(second.id, Progress(part="accuracy", updated_at=0.0))
    outcome = _fail_current(group, [], run)
    kept = outcome.record
    assert outcome.trial == second and group.trials == [first] and kept == run.record(second.id)
    assert (kept.status, kept.error) == ("failed", "the process that measured it died: Bus error")
    assert (kept.params, kept.details.complexity) == (650, record.details.complexity)
    assert kept.started_at == record.started_at < kept.finished_at
    assert run.progress(second.id) is None


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b'["one"]', b"{", b"a folder"])
def test_a_dead_jobs_damaged_files_leave_a_reason_all_the_same(damage: bytes, tmp_path: Path) -> None:
    trials, run = prepare(tmp_path, seeds=[0, 1])
    group = DeviceGroup(
        (), list(trials), LocalJob(JobFolder(run.jobs / "0001"), run, tuple(trial.id for trial in trials))
    )
    assert group.job is not None
    for path in (group.job.folder.current_file, group.job.folder.error_file(0), group.job.folder.pid_file(0)):
        if damage == b"a folder":
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(damage)
    (group.job.folder.path / "1_0_log.err").write_bytes(b"\xff\nBus error\n")
    (run.jobs / "0001.damaged-1").mkdir()
    end_ranks([group.job.folder])
    outcome = _fail_current(group, [], run)
    assert (outcome.trial, outcome.record.status) == (trials[0], "failed")
    assert outcome.record.error == "the process that measured it died: Bus error"


@pytest.mark.parametrize(
    ("gpus", "processes", "devices", "seeds"),
    [
        ("abcd", 1, ["a", "b", "c", "d"], [[0, 4], [1, 5], [2], [3]]),
        ("abcd", 2, ["ab", "cd"], [[0, 2, 4], [1, 3, 5]]),
        ("abc", 2, ["ab"], [[0, 1, 2, 3, 4, 5]]),
        ("", 2, [""], [[0, 1, 2, 3, 4, 5]]),
    ],
)
def test_each_device_group_has_gpus_of_its_own_and_trials_are_dealt_out_in_turn(
    gpus: str, processes: int, devices: list[str], seeds: list[list[int]], tmp_path: Path
) -> None:
    trials, _ = prepare(tmp_path, seeds=list(range(6)))
    groups = _device_groups(trials, processes, list(gpus))
    assert [group.gpus for group in groups] == [tuple(names) for names in devices]
    assert [[trial.seed for trial in group.trials] for group in groups] == seeds


def test_what_is_done_is_kept_a_missing_part_is_added_and_what_failed_runs_again(cluster: str, tmp_path: Path) -> None:
    trials, run = prepare(tmp_path, measure=["complexity", "accuracy"], seeds=[0, 1])
    run_all(trials[:1], "debug", run)
    first = run.record(trials[0].id)
    assert first is not None and Inventory(run).is_done(trials[0]) and first.infer_samples_per_sec is None
    failed = Record.pending(trials[1]).model_copy(update={"status": "failed", "error": "the node was lost"})
    run.write_record(failed)
    more, run = prepare(tmp_path, measure=["complexity", "throughput", "accuracy"], seeds=[0, 1])
    assert [trial.id for trial in more] == [trial.id for trial in trials] and not Inventory(run).is_done(more[0])
    run_all(more, cluster, run)
    second, other = (run.record(trial.id) for trial in more)
    assert second is not None and second.details.curve == first.details.curve, "the training was kept, not repeated"
    assert second.infer_samples_per_sec is not None and Inventory(run).is_done(more[0])
    assert other is not None and other.status == "done" and other.error == "" and Inventory(run).is_done(more[1])


def test_two_processes_share_a_trial_and_where_one_raises_or_dies_its_trial_fails_soon_with_the_reason(
    tmp_path: Path, measured: Measured
) -> None:
    models = ["raises", "vanishes", SMALL["mixer"]]
    keys = {"models": models, "plugins": [str(FAULTY)], "resources": {"processes_per_node": 2}}
    trials, run = prepare(tmp_path, measure=["accuracy"], **keys)
    began = time.monotonic()
    raises, vanishes, shared = run_all(trials, "local", run).values()
    assert time.monotonic() - began < 240, "no rank waits for the other until a time-out"

    assert (raises.status, raises.error) == ("failed", "RuntimeError: a tensor of the wrong size <b>&")
    assert "in forward" in raises.details.traceback

    assert (vanishes.status, vanishes.error) == (
        "failed",
        "rank 1 of 2 died: it left no message, as when it is killed",
    )
    assert "error-0" in vanishes.details.traceback, "what the other one said of it is kept"

    assert shared.status == "done" and shared.world_size == 2, shared.error
    assert shared.details.curve is not None and shared.details.curve.test_images == 360
    trials_of_one, run_of_one = measured["local"]
    alone = run_of_one.record(trials_of_one[0].id)
    assert alone is not None and alone.trial_id != shared.trial_id
    assert shared.test_loss == pytest.approx(alone.test_loss, abs=1e-4)


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """The file through which a process puts itself into a memory cgroup of 3 GB, of version 1 or 2."""
    root = Path("/sys/fs/cgroup")
    old = (root / "memory").is_dir()
    group = (root / "memory" if old else root) / f"mixbench-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(3 * 10**9))
    except OSError as error:
        pytest.skip(f"no memory cgroup can be made here: {error}")
    yield group / "cgroup.procs"
    wait_for(lambda: not (group / "cgroup.procs").read_text(), "the cgroup to be empty")
    group.rmdir()


def test_a_process_that_the_kernel_kills_for_its_memory_is_named_so(little_memory: Path, tmp_path: Path) -> None:
    suite = write_suite(tmp_path, models=["swells"], plugins=[str(FAULTY)], measure=["accuracy"])
    command = [sys.executable, "-m", "mixbench", "run", str(suite), "--out", str(tmp_path / "run"), "--json"]
    done = subprocess.run(
        command,
        preexec_fn=lambda: little_memory.write_text(str(os.getpid())),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 1, done.stderr
    [record] = (read_record(path) for path in tmp_path.glob("run/trials/*/record.json"))
    assert record.error == (
        "out of memory on the host: the process that measured it died, and the kernel has killed for want of it since"
    )


@pytest.mark.parametrize("victim", ["submitit.local", "mixbench run"])
def test_when_the_launcher_or_submitits_controller_is_killed_no_process_is_left(tmp_path: Path, victim: str) -> None:
    suite = write_suite(tmp_path, models=["hangs"], plugins=[str(FAULTY)], measure=["accuracy"])
    hanging = tmp_path / "hanging"
    command = [sys.executable, "-m", "mixbench", "run", str(suite), "--out", str(tmp_path / "run"), "--json"]
    process = subprocess.Popen(
        command, env=os.environ | {"HANGING": str(hanging)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for(lambda: hanging.exists() or process.poll() is not None, "the trial to begin")
        [found] = [line for line in processes_that_mention(str(tmp_path / "run")) if victim in line]
        os.kill(int(found.split(":")[0]), signal.SIGKILL)
        output, errors = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    if victim == "submitit.local":
        assert process.returncode == 1, errors
        assert json.loads(output)["trials"]["failed"] == 1
    wait_for(lambda: not processes_that_mention(str(tmp_path / "run")), "every process of the run to end")


def test_a_second_run_leaves_and_after_a_kill_takes_over_without_a_rank_left_beside_it(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, models=["hangs"], plugins=[str(FAULTY)], measure=["accuracy"])
    hanging, run = tmp_path / "hanging", tmp_path / "run"
    patient = (
        "from mixbench.launch import processes as p; p.STOP_SECONDS = 2; from mixbench.cli.main import main; main()"
    )
    command = [sys.executable, "-c", patient, "run", str(suite), "--out", str(run)]
    first = subprocess.Popen(command, env=os.environ | {"HANGING": str(hanging)}, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: hanging.exists() or first.poll() is not None, "the trial to begin")
        before = contents(run)
        second = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
        assert second.returncode == 2 and f"is being run by process {first.pid} on" in second.stderr, second.stderr
        assert second.stdout == "" and contents(run) == before, "nothing was written"
        [rank] = [int(path.read_text()) for path in run.glob("jobs/*/rank-*.pid")]
        os.kill(rank, signal.SIGSTOP)  # an orphan that cannot see that its launcher is gone
    finally:
        first.kill()
        first.wait(DEADLINE)
    said = subprocess.run([*command[:-4], "status", str(run)], capture_output=True, text=True, timeout=DEADLINE).stdout
    assert f"run by process {first.pid}" in said and "it died" in said
    third = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=DEADLINE)
    assert third.returncode == 0 and f"taking over from process {first.pid}" in third.stderr, third.stderr
    assert json.loads(third.stdout)["trials"]["done"] == 1
    wait_for(lambda: not processes_that_mention(str(run)), "every process of both runs to end")


def contents(folder: Path) -> dict[Path, bytes]:
    """All files, but for the progress of what is under way."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "progress.json")
    return {path: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("keys", "name", "message"),
    [
        ({}, "slurm/none.yaml", "no cluster is called"),
        ({"resources": {"nodes": 2}}, "local", "asks for 2 nodes"),
        ({"resources": {"processes_per_node": 2}}, "debug", "runs in one process"),
        (
            {
                "resources": [{}, {"processes_per_node": 4096}],
                "recipe": {"global_batch_size": 4096},
                "measure": "throughput",
            },
            "local",
            r"4096 processes a trial; this machine allows \d+ \w+: set fewer as resources, or run those alone that fit",
        ),
    ],
)
def test_a_cluster_that_cannot_run_the_suite_is_refused(
    keys: dict[str, Any], name: str, message: str, tmp_path: Path
) -> None:
    trials, run = prepare(tmp_path, **keys)
    with pytest.raises(RequestError, match=message):
        next(launch(trials, name, run))
    assert not run.jobs.exists()


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE} s for {what}"
        time.sleep(0.05)


def processes_that_mention(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(f"{path.parent.name}: {command}")
    return found


def test_interrupted_in_any_way_it_stops_cleanly_says_what_is_kept_and_the_same_command_goes_on(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, models=[SMALL["mixer"], "hangs"], plugins=[str(FAULTY)], measure=["accuracy"])
    run = tmp_path / "run"
    command = [sys.executable, "-m", "mixbench", "run", str(suite), "--out", str(run)]
    interrupted(command, run, signal.SIGINT, signal.SIG_DFL)
    [kept] = [path.read_bytes() for path in run.glob("trials/mixer*/record.json")]
    interrupted(command, run, signal.SIGTERM, signal.SIG_IGN)  # as in a shell's background jobs
    interrupted(command, run, signal.SIGHUP, signal.SIG_DFL)
    again = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=DEADLINE)
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["trials"] == {"done": 2, "failed": 0, "running": 0, "pending": 0}
    assert [path.read_bytes() for path in run.glob("trials/mixer*/record.json")] == [kept], "it was done already"


def interrupted(command: list[str], run: Path, interrupt: signal.Signals, ctrl_c: signal.Handlers) -> None:
    """The command goes on from whatever it finds, and is interrupted in the second trial."""
    hanging = run.with_name(f"hanging-{interrupt.name}")
    process = subprocess.Popen(
        command,
        env=os.environ | {"HANGING": str(hanging)},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, ctrl_c),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: hanging.exists() or process.poll() is not None, "the second trial to begin")
        began = time.monotonic()
        # Ctrl-C in a terminal reaches the whole process group; kill reaches one process; people do it again and again
        send = os.killpg if interrupt == signal.SIGINT else os.kill
        wait_for(lambda: process.poll() is not None or send(process.pid, interrupt), "the run to end")
        _, errors = process.communicate(timeout=DEADLINE)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    assert time.monotonic() - began < 15, "whoever stops a container kills it before long"
    assert "stopped: 1 of 2 trials done; what was measured is kept in" in errors and "Traceback" not in errors
    wait_for(lambda: not processes_that_mention(str(run)), "every process of the run to end")
    assert not list(run.glob("trials/*/progress.json"))
    assert holder(run / "lock") is None, "the run is free"
