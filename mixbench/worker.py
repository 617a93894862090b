"""What each rank of a job runs: measure the job's trials, one part of a record after the other."""

import ctypes
import json
import os
import select
import signal
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from errno import ENOMEM
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixbench.disk import write_atomically
from mixbench.errors import RequestError, TrialError
from mixbench.record import Complexity, Epoch, Record
from mixbench.run import Progress, Run
from mixbench.trial import Measure, Trial
from mixbench.weights import fingerprint

if TYPE_CHECKING:
    from mixbench.data.datasets import Dataset
    from mixbench.data.store import Splits
    from mixbench.world import World

PROGRESS_SECONDS = 0.5
NO_TF32 = "no TF32 on a CPU: plain fp32"


@dataclass(frozen=True)
class Job:
    """What a launcher runs: these trials, one after the other, in the same processes."""

    name: str
    run: Run
    trials: tuple[str, ...]
    gpus: tuple[str, ...] = ()
    launcher: int = field(default_factory=os.getpid)

    @property
    def folder(self) -> Path:
        return self.run.jobs / self.name

    @property
    def current_file(self) -> Path:
        """Names the trial that is being touched: whose fault it is if the process dies."""
        return self.folder / "current"

    def error_file(self, rank: int) -> Path:
        return self.folder / f"error-{rank}.json"

    def pid_file(self, rank: int) -> Path:
        return self.folder / f"rank-{rank}.pid"


def work(job: Job) -> None:
    """Run a job on this rank.  Trials that fail leave a record that says so; with several ranks the job ends there."""
    import submitit

    if job.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(job.gpus)
    place = submitit.JobEnvironment()
    if place.cluster == "local":
        _end_with_parent(int(place.job_id))
        threading.Thread(target=_end_with, args=(job.launcher,), daemon=True).start()
    rank, size = place.global_rank, place.num_tasks
    job.pid_file(rank).write_text(str(os.getpid()), encoding="utf-8")
    try:
        from mixbench.world import connect

        world = connect(job.folder / "meeting.json", rank, size, place.local_rank, size // place.num_nodes)
        measure([job.run.trial(trial_id) for trial_id in job.trials], Desk(job, world))
    except BaseException as error:
        if size > 1:
            write_atomically(job.error_file(rank), json.dumps(words(error)))
        raise


def _end_with_parent(controller: int) -> None:
    """Have the kernel kill this process when submitit's controller is gone, however it went; it may be gone already."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != controller:
        os._exit(1)


def _end_with(launcher: int) -> None:
    """End this process when the launcher is gone, which submitit's controller between the two outlives."""
    with suppress(ProcessLookupError):
        select.select([os.pidfd_open(launcher)], [], [])
    os._exit(1)


def measure(trials: list[Trial], desk: "Desk") -> None:
    """Measure what each trial still misses: counts, then speed side by side, then accuracy one by one."""
    from mixbench.registry import load_plugin

    for plugin in dict.fromkeys(plugin for trial in trials for plugin in trial.plugins):
        load_plugin(Path(plugin))
    for trial in trials:
        desk.take(trial)
    counts = _count(trials, desk)
    _time([trial for trial in trials if desk.misses(trial, "throughput")], counts, desk)
    _learn([trial for trial in trials if desk.misses(trial, "accuracy")], desk)
    for trial in trials:
        desk.finish(trial)


def _count(trials: list[Trial], desk: "Desk") -> dict[str, Complexity]:
    """Each trial's counts: all need them, to know what fits on a device together."""
    from mixbench.measure import complexity

    known: dict[str, Complexity] = {}
    for trial in trials:
        with desk.at(trial, "complexity"):
            alike = trial.built_alike
            if alike not in known:
                known[alike] = complexity.profile(trial.model, **trial.arguments)
            if desk.misses(trial, "complexity"):
                desk.records[trial.id].add_complexity(known[alike])
                desk.save(trial, "complexity")
            known[trial.id] = known[alike]
    return known


def _time(trials: list[Trial], counts: dict[str, Complexity], desk: "Desk") -> None:
    from mixbench.measure import throughput

    def now(trial: Trial, done: int, total: int) -> None:
        desk.progress(trial, "throughput", done, total)

    for lot in throughput.groups(trials, {trial.id: counts[trial.id].params for trial in trials}):
        for trial, samples, peak_memory in throughput.measure(lot, desk.world, now, desk.fail):
            desk.records[trial.id].add_throughput(samples, peak_memory)
            desk.save(trial, "throughput")


def _learn(trials: list[Trial], desk: "Desk") -> None:
    from mixbench.checkpoint import Checkpoints
    from mixbench.measure import accuracy

    for trial in trials:
        with desk.at(trial, "accuracy"):
            data = desk.data(trial)

            def report(epoch: Epoch, speed: float, trial: Trial = trial) -> None:
                desk.progress(trial, "accuracy", epoch.epoch, trial.recipe.epochs, epoch.train_loss, speed)

            desk.progress(trial, "accuracy", 0, trial.recipe.epochs)
            kept = desk.run.weights_file(trial.id) if trial.keep_weights else None
            checkpoints = Checkpoints(desk.run, trial, desk.world)
            curve = accuracy.measure(trial, data, desk.world, report, kept, checkpoints)
            desk.records[trial.id].add_accuracy(curve)
            if kept and desk.world.is_main:
                desk.records[trial.id].details.weights = fingerprint(kept)
            desk.records[trial.id].flags += checkpoints.notes
            desk.save(trial, "accuracy")
            desk.finish(trial)


class Desk:
    """One job's records in the making: taken up, saved after each part, failed or finished.  Rank 0 writes."""

    def __init__(self, job: Job, world: "World"):
        from mixbench.environment import environment

        self.job, self.world, self.run = job, world, job.run
        self.records: dict[str, Record] = {}
        self.environment = environment()
        self._data: dict[tuple[Dataset, float | None], Splits] = {}
        self._current = ""
        self._shown, self._shown_at = "", 0.0

    def take(self, trial: Trial) -> None:
        """Begin with what an earlier run left of this trial, else with nothing."""
        record = self.run.resumed(trial)
        record.started_at = record.started_at or timestamp()
        self.records[trial.id] = record

    def data(self, trial: Trial) -> "Splits":
        """Both splits, on the device where they fit, kept for the trials that follow."""
        from mixbench.data.store import load

        key = trial.data, trial.recipe.test_crop
        if key not in self._data:
            self._data = {}  # the last dataset's memory is free before the next one is loaded
            splits = load(trial.data, partial(self.progress, trial), trial.recipe.test_crop, trial.processes_per_node)
            self._data[key] = splits.on(self.world.device)
        return self._data[key]

    def misses(self, trial: Trial, part: Measure) -> bool:
        record = self.records[trial.id]
        return record.status == "pending" and part in record.missing(trial.measure)

    def at(self, trial: Trial, part: Measure) -> "_Attempt":
        """A context in which an exception is this trial's failure, not the job's."""
        return _Attempt(self, trial, part)

    def save(self, trial: Trial, part: Measure) -> None:
        record = self.records[trial.id]
        environments = record.details.environment
        environments[part] = self.environment
        # the table has one device: that of the speed, which depends on it most
        here = environments.get("throughput") or environments.get("accuracy") or self.environment
        record.device, record.torch_version, record.git_commit = here.device, here.torch_version, here.git_commit
        if self.environment.git_dirty and "uncommitted changes" not in record.flags:
            record.flags.append("uncommitted changes")
        if trial.precision == "tf32" and self.world.device.type == "cpu" and NO_TF32 not in record.flags:
            record.flags.append(NO_TF32)
        if self.world.is_main:
            self.run.write_record(record)

    def finish(self, trial: Trial) -> None:
        """The record is good where it holds every part that was asked for."""
        record = self.records[trial.id]
        if record.status == "pending" and not record.missing(trial.measure):
            record.status, record.finished_at = "done", timestamp()
            if self.world.is_main:
                self.run.write_record(record)
                self.run.clear(trial.id)

    def fail(self, trial: Trial, error: Exception) -> None:
        """Note a failure and go on with the other trials; with several ranks, which must stay in step, end the job."""
        if self.world.size > 1 and not isinstance(error, TrialError):  # all ranks raise a TrialError together
            raise error
        record = self.records[trial.id]
        record.status, record.finished_at = "failed", timestamp()
        record.error, record.details.traceback = words(error)
        if self.world.is_main:
            self.run.write_record(record)
            self.run.clear_progress(trial.id)

    def progress(self, trial: Trial, part: str, done: int, total: int, loss: Any = None, speed: Any = None) -> None:
        """Say what is being done: at once in the job's `current` file, now and then for those who watch.

        Raises Stopped where the job is told to end and there is nothing to save first, as a training has.
        """
        if self.world.stop is not None and part != "accuracy":
            self.world.stop.heed()
        if not self.world.is_main:
            return
        if trial.id != self._current:
            write_atomically(self.job.current_file, trial.id)
            self._current = trial.id
        moment = time.monotonic()
        if part not in ("complexity", "accuracy") and moment - self._shown_at < PROGRESS_SECONDS:
            return
        if self._shown != trial.id:
            self.run.clear_progress(self._shown)
        state = Progress(part=part, done=done, total=total, loss=loss, samples_per_sec=speed, updated_at=time.time())
        self.run.write_progress(trial.id, state)
        self._shown, self._shown_at = trial.id, moment


class _Attempt:
    def __init__(self, desk: Desk, trial: Trial, part: Measure):
        self.desk, self.trial, self.part = desk, trial, part

    def __enter__(self) -> None:
        self.desk.progress(self.trial, self.part, 0, 0)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Exception):
            self.desk.fail(self.trial, error)
            return True
        return False


def words(error: BaseException) -> tuple[str, str]:
    """What a record says of an error, and its traceback, which an error that was foreseen does not need."""
    if isinstance(error, TrialError | RequestError):
        return str(error), ""
    said = f"{type(error).__name__}: {error}"
    if where := _out_of_memory(error):
        said = f"out of memory on the {where}: {error}"
    return said, "".join(traceback.format_exception(error))


def _out_of_memory(error: BaseException) -> str:
    """Where there was no memory left, empty where that is not what went wrong."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "device"
    ended = isinstance(error, OSError) and error.errno == ENOMEM
    refused = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's allocator on a CPU
    return "host" if isinstance(error, MemoryError) or ended or refused else ""


def timestamp() -> str:
    """Now, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
