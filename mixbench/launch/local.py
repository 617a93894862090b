"""Trials → jobs → outcomes, through submitit: one path for `local` (processes) and `debug` (in this process).

A GPU runs one trial at a time, a CPU one in all.  The trials of a device are packed into one job; where a job dies,
the trial it was at is recorded as failed, and a new job takes the rest.
"""

import json
import os
import signal
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import submitit
from pydantic import TypeAdapter

from mixbench.errors import RequestError, nearest
from mixbench.launch.local_rank import Job, work
from mixbench.launch.outcome import Outcome, blame, reopen
from mixbench.launch.processes import POLL_SECONDS, STOP_SECONDS, end_ranks, oom_kills, silent_deaths, wait_until
from mixbench.run.folder import Run
from mixbench.suite.trial import Trial
from mixbench.system.files import text_of, write_atomically, written
from mixbench.system.host import usable_cores

CANCEL_SECONDS = 3
FOREVER_MINUTES = 60 * 24 * 365
CLUSTERS = ("local", "debug")


@dataclass
class Slot:
    """A share of this machine that runs one trial at a time: its GPUs (none on a CPU), its trials, its job."""

    gpus: tuple[str, ...]
    trials: list[Trial] = field(default_factory=list)
    job: Job | None = None
    process: Any = None
    oom_kills: int = field(default_factory=oom_kills)
    looked_at: dict[str, int] = field(default_factory=dict)


def launch(trials: list[Trial], cluster: str, run: Run) -> Generator[Outcome, None, None]:
    """Run the trials, yielding each as it ends.  Closing the generator, or an exception, stops every job.

    Raises RequestError where the cluster cannot run them.
    """
    check(trials, cluster)
    for trial in trials:
        reopen(trial, run)
    for processes in sorted({trial.processes_per_node for trial in trials}):
        same = [trial for trial in trials if trial.processes_per_node == processes]
        gpus = gpu_names()[:1] if cluster == "debug" else gpu_names()  # one process cannot change its GPU
        slots = _slots(same, processes, gpus)
        try:
            yield from _drive(slots, cluster, run, processes)
        finally:
            for slot in slots:
                _stop(slot, run)


def check(trials: list[Trial], cluster: str) -> None:
    """Raises RequestError where the cluster cannot run these trials."""
    if cluster not in CLUSTERS:
        raise RequestError(f"no cluster is called {cluster!r}{nearest(cluster, CLUSTERS)}")
    if nodes := max((trial.nodes for trial in trials), default=1) - 1:
        raise RequestError(f"cluster {cluster!r} is this one machine; the suite asks for {nodes + 1} nodes a trial")
    processes = max((trial.processes_per_node for trial in trials), default=1)
    if cluster == "debug" and processes > 1:
        raise RequestError(f"cluster 'debug' runs in one process; the suite asks for {processes}")
    there, kind = len(gpu_names()) or usable_cores(), "GPUs" if gpu_names() else "cores"
    if there < processes:
        raise RequestError(
            f"the suite asks for {processes} processes a trial; this machine has {there} {kind}: "
            f"set fewer as resources, or run those alone that fit, such as --only world_size={there}"
        )


def gpu_names() -> list[str]:
    """This machine's GPUs as CUDA_VISIBLE_DEVICES names them."""
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    count = torch.cuda.device_count()
    return given.split(",")[:count] if given else [str(index) for index in range(count)]


def _slots(trials: list[Trial], processes: int, gpus: list[str]) -> list[Slot]:
    """The trials dealt out to this machine's devices in turn."""
    count = max(1, len(gpus) // processes)
    slots = [Slot(tuple(gpus[i * processes : (i + 1) * processes])) for i in range(count)]
    for index, trial in enumerate(trials):
        slots[index % count].trials.append(trial)
    return slots


def _drive(slots: list[Slot], cluster: str, run: Run, processes: int) -> Iterator[Outcome]:
    """Keep every slot busy until none has trials left; a job's end is waited for, a broken job is stopped."""
    while any(slot.trials for slot in slots):
        for slot in slots:
            if slot.trials and slot.process is None:
                _submit(slot, cluster, run, processes)
            if slot.process is not None and slot.job is not None:
                over = slot.process.done() or any(slot.job.folder.glob("error-*.json"))
                yield from _finished(slot, run)
                dead = silent_deaths(slot.job.folder) if over and slot.trials else []
                if over or not slot.trials:
                    wait_until(slot.process.done, STOP_SECONDS if not slot.trials else 0)
                    _stop(slot, run)
                    yield from _finished(slot, run)
                    if slot.trials:
                        yield _blame(slot, dead, run)
                    slot.process = None
        time.sleep(POLL_SECONDS)


def _submit(slot: Slot, cluster: str, run: Run, processes: int) -> None:
    """Start a job for all that is left of a slot's trials."""
    number = 1 + max((int(path.name) for path in run.jobs.glob("[0-9]*") if path.name.isdecimal()), default=0)
    slot.job = Job(f"{number:04d}", run, tuple(trial.id for trial in slot.trials), slot.gpus)
    slot.job.folder.mkdir(parents=True)
    write_atomically(slot.job.folder / "trials.json", json.dumps(slot.job.trials), lasting=False)
    executor = submitit.AutoExecutor(folder=slot.job.folder, cluster=cluster)
    executor.update_parameters(name="mixbench", timeout_min=FOREVER_MINUTES, tasks_per_node=processes)
    slot.oom_kills = oom_kills()
    with _stderr_to(slot.job.folder / "controller.err"):
        slot.process = executor.submit(work, slot.job)


@contextmanager
def _stderr_to(path: Path) -> Iterator[None]:
    """What is started here writes its errors to a file: submitit's controller would greet Ctrl-C with a traceback."""
    ours = os.dup(2)
    try:
        with open(path, "ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def _finished(slot: Slot, run: Run) -> Iterator[Outcome]:
    """The slot's trials that have come to an end since it was last asked."""
    for trial in list(slot.trials):
        at = written(run.record_file(trial.id))
        if at == slot.looked_at.get(trial.id):
            continue  # reading records over and over would take time from what is being measured
        slot.looked_at[trial.id] = at
        record = run.readable(trial.id)
        if record is not None and (record.status == "failed" or record.holds(trial.measure)):
            slot.trials.remove(trial)
            yield Outcome(trial, record)


def _blame(slot: Slot, dead: list[int], run: Run) -> Outcome:
    """Record the trial that a dead job was at as failed; where it had none, the first.  `dead` ranks left no word."""
    assert slot.job is not None
    current = text_of(slot.job.current_file)
    trial = next((trial for trial in slot.trials if trial.id == current), slot.trials[0])
    slot.trials.remove(trial)
    return blame(run, trial, *_last_words(slot, dead))


def _last_words(slot: Slot, dead: list[int]) -> tuple[str, str]:
    """Why a job came to its end, and what its processes said.

    A rank that died without a word is the reason, and the others' errors follow from it; else the first error is.
    """
    assert slot.job is not None
    folder, said = slot.job.folder, ""
    for path in sorted(folder.glob("error-*.json"), key=lambda path: path.stat().st_mtime_ns):
        with suppress(ValueError):  # damaged: the logs say something too
            error, trace = TypeAdapter(tuple[str, str]).validate_json(text_of(path))
            if not dead:
                return error, trace
            said += f"{path.stem}: {error}\n{trace}\n"
    logs = sorted(folder.glob(f"*_{dead[0]}_log.err" if dead else "*_log.err"))
    last = "\n".join(text_of(path)[-4000:] for path in logs)
    who = f"rank {dead[0]} of {len(list(folder.glob('rank-*.pid')))}" if said else "the process that measured it"
    if oom_kills() > slot.oom_kills:
        return f"out of memory on the host: {who} died, and the kernel has killed for want of it since", said + last
    last_line = (last.strip().splitlines() or ["it left no message, as when it is killed"])[-1]
    return f"{who} died: {last_line}", said + last


def _stop(slot: Slot, run: Run) -> None:
    """End a slot's job, if it still runs, and all its processes."""
    if slot.process is None:
        return
    if isinstance(slot.process, submitit.LocalJob) and slot.job is not None:
        slot.process.cancel()
        wait_until(slot.process.done, CANCEL_SECONDS)
        if not slot.process.done():  # the signal is ignored, as in a shell's background jobs
            os.kill(int(slot.process.job_id), signal.SIGKILL)
        end_ranks([slot.job.folder])
    for trial in slot.trials:
        run.clear_progress(trial.id)
