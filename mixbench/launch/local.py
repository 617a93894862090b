"""Runs trials on this machine through submitit: `local` in processes of their own, `debug` in this process.

Each GPU runs one trial at a time; without GPUs the machine does.  All trials of a device are one job.  If the job's
processes die, the trial that was being measured is recorded as failed, and a new job runs the others.
"""

import json
import os
import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from pydantic import TypeAdapter

from mixbench.errors import RequestError, nearest
from mixbench.launch.job import next_job_folder
from mixbench.launch.local_rank import LocalJob, work
from mixbench.launch.outcome import Outcome, RecordWatch, record_failure, reset_failed
from mixbench.launch.processes import POLL_SECONDS, STOP_SECONDS, crashed_ranks, end_ranks, oom_kills, wait_until
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.suite.trial import Trial
from mixbench.system.files import text_of, write_atomically
from mixbench.system.host import usable_cores
from mixbench.system.polling import polls
from mixbench.system.words import plural

CANCEL_SECONDS = 3
FOREVER_MINUTES = 60 * 24 * 365
CLUSTERS = ("local", "debug")


@dataclass
class DeviceGroup:
    """The GPUs that one trial runs on (none on a CPU), the trials that wait for them, and the job that runs these."""

    gpus: tuple[str, ...]
    trials: list[Trial] = field(default_factory=list)
    job: LocalJob | None = None
    process: Any = None
    oom_kills: int = field(default_factory=oom_kills)


def launch(trials: list[Trial], cluster: str, run: Run) -> Generator[Outcome, None, None]:
    """Run the trials, yielding each as it ends.  Closing the generator, or an exception, stops every job.

    Raises RequestError where the cluster cannot run them.
    """
    check(trials, cluster)
    for trial in trials:
        reset_failed(trial, run)
    for processes in sorted({trial.processes_per_node for trial in trials}):
        same = [trial for trial in trials if trial.processes_per_node == processes]
        gpus = gpu_names()[:1] if cluster == "debug" else gpu_names()  # one process cannot change its GPU
        groups = _device_groups(same, processes, gpus)
        try:
            yield from _run_all(groups, cluster, run, processes)
        finally:
            for group in groups:
                _stop(group, run)


def check(trials: list[Trial], cluster: str) -> None:
    """Raises RequestError where the cluster cannot run these trials."""
    if cluster not in CLUSTERS:
        raise RequestError(f"no cluster is called {cluster!r}{nearest(cluster, CLUSTERS)}")
    if nodes := max((trial.nodes for trial in trials), default=1) - 1:
        raise RequestError(f"cluster {cluster!r} is this one machine; the suite asks for {nodes + 1} nodes a trial")
    processes = max((trial.processes_per_node for trial in trials), default=1)
    if cluster == "debug" and processes > 1:
        raise RequestError(f"cluster 'debug' runs in one process; the suite asks for {processes}")
    there, kind = len(gpu_names()) or usable_cores(), "GPU" if gpu_names() else "core"
    if there < processes:
        raise RequestError(
            f"the suite asks for {processes} processes a trial; this machine allows {plural(there, kind)}: "
            f"set fewer as resources, or run those alone that fit, such as --only world_size={there}"
        )


def gpu_names() -> list[str]:
    """This machine's GPUs as CUDA_VISIBLE_DEVICES names them."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    count = torch.cuda.device_count()
    return given.split(",")[:count] if given else [str(index) for index in range(count)]


def _device_groups(trials: list[Trial], processes: int, gpus: list[str]) -> list[DeviceGroup]:
    """This machine's GPUs, so many together as a trial has processes, and the trials distributed over them in turn."""
    count = max(1, len(gpus) // processes)
    groups = [DeviceGroup(tuple(gpus[i * processes : (i + 1) * processes])) for i in range(count)]
    for index, trial in enumerate(trials):
        groups[index % count].trials.append(trial)
    return groups


def _run_all(groups: list[DeviceGroup], cluster: str, run: Run, processes: int) -> Iterator[Outcome]:
    """Keep every group busy until no trials are left; where a job breaks, stop it and start another one."""
    watch = RecordWatch(Inventory(run))
    for _ in polls(POLL_SECONDS):
        for group in groups:
            if group.trials and group.process is None:
                _submit(group, cluster, run, processes)
            if group.process is not None and group.job is not None:
                over = group.process.done() or bool(group.job.folder.error_files())
                yield from _ended(group, watch)
                crashed = crashed_ranks(group.job.folder) if over and group.trials else []
                if over or not group.trials:
                    wait_until(group.process.done, STOP_SECONDS if not group.trials else 0)
                    _stop(group, run)
                    yield from _ended(group, watch)
                    if group.trials:
                        yield _fail_current(group, crashed, run)
                    group.process = None
        if not any(group.trials for group in groups):
            return


def _submit(group: DeviceGroup, cluster: str, run: Run, processes: int) -> None:
    """Start a job for all trials of a group that are left."""
    folder = next_job_folder(run)
    group.job = LocalJob(folder, run, tuple(trial.id for trial in group.trials), group.gpus)
    folder.path.mkdir(parents=True)
    write_atomically(folder.trials_file, json.dumps(group.job.trials), fsync=False)
    executor = submitit.AutoExecutor(folder=folder.path, cluster=cluster)
    executor.update_parameters(name="mixbench", timeout_min=FOREVER_MINUTES, tasks_per_node=processes)
    group.oom_kills = oom_kills()
    with _stderr_to(folder.controller_log):
        group.process = executor.submit(work, group.job)


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """Redirect standard error to a file: submitit's controller would print a traceback at Ctrl-C."""
    ours = os.dup(2)
    try:
        with open(path, "ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def _ended(group: DeviceGroup, watch: RecordWatch) -> Iterator[Outcome]:
    """The group's trials that have ended since the last look."""
    for outcome in watch.ended(group.trials):
        group.trials.remove(outcome.trial)
        yield outcome


def _fail_current(group: DeviceGroup, crashed: list[int], run: Run) -> Outcome:
    """Record the trial that a dead job was measuring as failed, or its first one if it had not begun."""
    assert group.job is not None
    current = text_of(group.job.folder.current_file)
    trial = next((trial for trial in group.trials if trial.id == current), group.trials[0])
    group.trials.remove(trial)
    return record_failure(run, trial, *_cause(group, crashed))


def _cause(group: DeviceGroup, crashed: list[int]) -> tuple[str, str]:
    """The reason why a job ended, and what its processes printed.

    If a rank crashed, that is the reason and the others' errors follow from it; otherwise the first error is.
    """
    assert group.job is not None
    folder, said = group.job.folder, ""
    for path in folder.error_files():
        with suppress(ValueError):  # damaged: the logs say something too
            error, trace = TypeAdapter(tuple[str, str]).validate_json(text_of(path))
            if not crashed:
                return error, trace
            said += f"{path.stem}: {error}\n{trace}\n"
    logs = folder.local_logs("err", crashed[0] if crashed else "*")
    last = "\n".join(text_of(path)[-4000:] for path in logs)
    who = f"rank {crashed[0]} of {len(folder.pid_files())}" if said else "the process that measured it"
    if oom_kills() > group.oom_kills:
        return f"out of memory on the host: {who} died, and the kernel has killed for want of it since", said + last
    last_line = (last.strip().splitlines() or ["it left no message, as when it is killed"])[-1]
    return f"{who} died: {last_line}", said + last


def _stop(group: DeviceGroup, run: Run) -> None:
    """End a group's job, if it still runs, and all its processes."""
    if group.process is None:
        return
    if isinstance(group.process, submitit.LocalJob) and group.job is not None:
        group.process.cancel()
        wait_until(group.process.done, CANCEL_SECONDS)
        if not group.process.done():  # the signal is ignored, as in a shell's background jobs
            os.kill(int(group.process.job_id), signal.SIGKILL)
        end_ranks([group.job.folder])
    for trial in group.trials:
        run.clear_progress(trial.id)
