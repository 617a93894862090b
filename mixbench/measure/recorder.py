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
from mixbench.system.cpu_quota import cpu_quota
from mixbench.system.device import device_name
from mixbench.system.environment import blamed
from mixbench.system.files import write_atomically
from mixbench.system.host import git_state, installed, nvidia_driver, timestamp, usable_cores
from mixbench.system.memory import out_of_memory
from mixbench.zoo.registry import find

if TYPE_CHECKING:
    from mixbench.data.store import Splits
    from mixbench.suite.datasets import Dataset
    from mixbench.train.distributed import World

PROGRESS_SECONDS, PRINT_SECONDS = 0.5, 10.0
TRACE_END = 10_000  # characters kept of each end of a long traceback


class Recorder:
    """Holds the records of one job's trials: saves them after each part, marks them done or failed.  Rank 0 writes.

    `current_file`: holds the id of the trial being measured, for the launcher if the process dies.  `prints`: progress
    is printed too, since standard output goes to a log.
    """

    def __init__(self, run: Run, current_file: Path, world: "World", prints: bool):
        self.run, self.current_file, self.world, self.prints = run, current_file, world, prints
        self.records: dict[str, Record] = {}
        self.environment = environment()
        self._data: dict[tuple[Dataset, float | None], Splits] = {}
        self._current = ""
        self._printed, self._printed_at = ("", ""), 0.0  # trial id and part
        self._shown, self._shown_at = "", 0.0

    def start(self, trial: Trial) -> None:
        """Start the trial's record from the parts that an earlier run measured, if any."""
        record = self.run.resumed(trial)
        record.started_at = record.started_at or timestamp()
        self.records[trial.id] = record

    def data(self, trial: Trial) -> "Splits":
        """Return the training and test split, on the device if they fit; kept for the following trials."""
        from mixbench.data.store import load

        key = trial.data, trial.recipe.test_crop
        if key not in self._data:
            self._data = {}  # the last dataset's memory is free before the next one is loaded
            splits = load(trial.data, partial(self.progress, trial), trial.recipe.test_crop, trial.processes_per_node)
            self._data[key] = splits.on(self.world.device)
        return self._data[key]

    def misses(self, trial: Trial, part: Measure) -> bool:
        """Return True if this part is yet to be measured; False for a trial that has failed."""
        record = self.records[trial.id]
        return record.status == "pending" and part in record.missing(trial.measure)

    def attempt(self, trial: Trial, part: Measure) -> "_Attempt":
        """Return a context in which an exception marks this trial as failed, and the job continues."""
        return _Attempt(self, trial, part)

    def save(self, trial: Trial, part: Measure) -> None:
        """Write the record after a part was measured, with the environment of that part."""
        record = self.records[trial.id]
        environments = record.details.environment
        environments[part] = self.environment
        # the table has one device: that of the throughput, which depends on it most
        shown = environments.get("throughput") or environments.get("accuracy") or self.environment
        record.device, record.torch_version, record.git_commit = shown.device, shown.torch_version, shown.git_commit
        record.threads = shown.threads
        flags = []
        if self.environment.git_dirty:
            flags.append(Flag(Kind.UNCOMMITTED_CHANGES))
        if trial.precision == "tf32" and self.world.device.type == "cpu":
            flags.append(Flag(Kind.NO_TF32, "plain fp32"))
        if find(trial.model).reconstruction:
            flags.append(Flag(Kind.RECONSTRUCTION, "the paper does not define the model completely"))
        record.flags += [flag for flag in flags if flag not in record.flags]
        if self.world.is_main:
            self.run.write_record(record)

    def finish(self, trial: Trial) -> None:
        """Mark the record as done and delete the checkpoints if it holds every part that was asked for."""
        record = self.records[trial.id]
        if record.status == "pending" and not record.missing(trial.measure):
            record.status, record.finished_at = "done", timestamp()
            if self.world.is_main:
                self.run.write_record(record)
                self.run.clear(trial.id)

    def fail(self, trial: Trial, error: Exception | SystemExit) -> None:
        """Mark the trial as failed.  With several ranks, which must stay in step, raise `error`: it ends the job."""
        if self.world.size > 1 and not isinstance(error, TrialError):  # all ranks raise a TrialError together
            raise error
        record = self.records[trial.id]
        record.status, record.finished_at = "failed", timestamp()
        record.error, record.details.traceback = error_text(error)
        if self.world.is_main:
            self.run.write_record(record)
            self.run.clear_progress(trial.id)

    def progress(
        self, trial: Trial, part: str, done: int, total: int, loss: Any = None, speed: Any = None, left: Any = None
    ) -> None:
        """Write the trial's id to `current_file` when it changes, and its progress for displays (throughput and data
        at most twice a second).  `left`: seconds.

        Raises Stopped if the job is to end, except in training, which saves a checkpoint first.
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
        state = Progress(
            part=part, done=done, total=total, loss=loss, samples_per_sec=speed, seconds_left=left,
            updated_at=time.time(),
        )  # fmt: skip
        self.run.write_progress(trial.id, state)
        is_new = part == "accuracy" or self._printed != (trial.id, part)
        if self.prints and (is_new or moment - self._printed_at > PRINT_SECONDS):
            print(describe(trial, state), flush=True)
            self._printed, self._printed_at = (trial.id, part), moment
        self._shown, self._shown_at = trial.id, moment


class _Attempt:
    def __init__(self, recorder: Recorder, trial: Trial, part: Measure):
        self.recorder, self.trial, self.part = recorder, trial, part

    def __enter__(self) -> None:
        self.recorder.progress(self.trial, self.part, 0, 0)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if isinstance(error, Exception | SystemExit):
            self.recorder.fail(self.trial, error)
            return True
        return False


def error_text(error: BaseException) -> tuple[str, str]:
    """Return message and traceback of an error for a record; no traceback for an expected error.

    Bytes of file names that are no UTF-8 are escaped: JSON could not hold them.
    """
    message, trace = str(error), ""
    if not isinstance(error, TrialError | RequestError):
        device = out_of_memory(error)
        what = f"{type(error).__name__}: {error}"
        if isinstance(error, SystemExit):
            what = f"the model's code called sys.exit({error.code})"
        message = f"out of memory on the {device}: {error}" if device else f"{blamed(error)}{what}"
        trace = _shortened("".join(traceback.format_exception(error)))
    return _without_bytes(message), _without_bytes(trace)


def _without_bytes(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(trace: str) -> str:
    """Return the beginning and the end of a long traceback."""
    return trace if len(trace) <= 2 * TRACE_END else f"{trace[:TRACE_END]}\n…\n{trace[-TRACE_END:]}"


def environment() -> Environment:
    """Return this process's environment, which a record keeps with each part."""
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
        torchvision_version=installed("torchvision"),
        timm_version=installed("timm"),
        cuda_version=(torch.version.cuda or "") if on_gpu else "",
        driver=nvidia_driver() if on_gpu else "",
        device=device_name(),
        device_count=torch.cuda.device_count() if on_gpu else 1,
        cores=usable_cores(),
        cpu_quota=cpu_quota(),
        threads=torch.get_num_threads(),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        host=socket.gethostname(),
        os=f"{platform.system()} {platform.release()}",
    )
