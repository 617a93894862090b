"""Recorder: holds a job's records and data, writes progress, turns exceptions into failed trials."""

import os
import platform
import socket
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixbench.errors import RequestError, TrialError
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.parts import Environment
from mixbench.run.progress import Progress, describe
from mixbench.run.record import Record
from mixbench.suite.trial import Measure, Trial
from mixbench.system.device import device_name
from mixbench.system.files import write_atomically
from mixbench.system.host import git_state, installed, nvidia_driver, timestamp, usable_cores
from mixbench.system.memory import out_of_memory

if TYPE_CHECKING:
    from mixbench.data.store import Splits
    from mixbench.suite.datasets import Dataset
    from mixbench.train.distributed import World

PROGRESS_SECONDS = 0.5
TRACE_END = 10_000  # characters of a traceback's beginning and end


class Recorder:
    """The records of one job's trials: begun, saved after each part, finished or marked as failed.  Rank 0 writes.

    `current_file` names the trial that is being measured, in case the process dies.  `speaks`: standard output goes to
    a log, so progress is printed too.
    """

    def __init__(self, run: Run, current_file: Path, world: "World", speaks: bool):
        self.run, self.current_file, self.world, self.speaks = run, current_file, world, speaks
        self.records: dict[str, Record] = {}
        self.environment = environment()
        self._data: dict[tuple[Dataset, float | None], Splits] = {}
        self._current = ""
        self._said = ("", "")
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
        here_too = []
        if self.environment.git_dirty:
            here_too.append(Flag(Kind.UNCOMMITTED_CHANGES))
        if trial.precision == "tf32" and self.world.device.type == "cpu":
            here_too.append(Flag(Kind.NO_TF32, "plain fp32"))
        record.flags += [flag for flag in here_too if flag not in record.flags]
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
        record.error, record.details.traceback = error_text(error)
        if self.world.is_main:
            self.run.write_record(record)
            self.run.clear_progress(trial.id)

    def progress(self, trial: Trial, part: str, done: int, total: int, loss: Any = None, speed: Any = None) -> None:
        """Say what is being done: at once in the job's `current` file, now and then for those who watch.

        Raises Stopped where the job is told to end and there is nothing to save first, as a training has.
        """
        if self.world.stop is not None and part != "accuracy":
            self.world.stop.raise_if_set()
        if not self.world.is_main:
            return
        if trial.id != self._current:
            write_atomically(self.current_file, trial.id)
            self._current = trial.id
        moment = time.monotonic()
        if part not in ("complexity", "accuracy") and moment - self._shown_at < PROGRESS_SECONDS:
            return
        if self._shown != trial.id:
            self.run.clear_progress(self._shown)
        state = Progress(part=part, done=done, total=total, loss=loss, samples_per_sec=speed, updated_at=time.time())
        self.run.write_progress(trial.id, state)
        if self.speaks and (part == "accuracy" or self._said != (trial.id, part)):
            print(describe(trial, state), flush=True)
            self._said = (trial.id, part)
        self._shown, self._shown_at = trial.id, moment


class _Attempt:
    def __init__(self, recorder: Recorder, trial: Trial, part: Measure):
        self.recorder, self.trial, self.part = recorder, trial, part

    def __enter__(self) -> None:
        self.recorder.progress(self.trial, self.part, 0, 0)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Exception):
            self.recorder.fail(self.trial, error)
            return True
        return False


def error_text(error: BaseException) -> tuple[str, str]:
    """An error as a record keeps it: its message and its traceback, which an expected error does not need."""
    if isinstance(error, TrialError | RequestError):
        return str(error), ""
    said = f"{type(error).__name__}: {error}"
    if where := out_of_memory(error):
        said = f"out of memory on the {where}: {error}"
    return said, _ends("".join(traceback.format_exception(error)))


def _ends(trace: str) -> str:
    """The beginning and the end of a long traceback: a record is no log."""
    return trace if len(trace) <= 2 * TRACE_END else f"{trace[:TRACE_END]}\n…\n{trace[-TRACE_END:]}"


def environment() -> Environment:
    """This process's environment, as every part of a record keeps it."""
    import torch

    on_gpu = torch.cuda.is_available()
    commit, dirty = git_state()
    return Environment(
        mixbench_version=installed("mixbench"),
        git_commit=commit,
        git_dirty=dirty,
        python_version=platform.python_version(),
        torch_version=torch.__version__,
        deepspeed_version=installed("deepspeed"),
        cuda_version=(torch.version.cuda or "") if on_gpu else "",
        driver=nvidia_driver() if on_gpu else "",
        device=device_name(),
        device_count=torch.cuda.device_count() if on_gpu else 1,
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        host=socket.gethostname(),
        os=f"{platform.system()} {platform.release()}",
    )
