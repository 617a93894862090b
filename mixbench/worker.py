"""What each rank of a job runs: measure the job's trials, one part of a record after the other."""

import ctypes
import json
import os
import select
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mixbench.desk import Desk, words
from mixbench.run.folder import Run
from mixbench.run.parts import Complexity
from mixbench.suite.trial import Trial
from mixbench.system.checksum import fingerprint
from mixbench.system.files import write_atomically
from mixbench.system.streams import make_usable, outlive_readers


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
        make_usable()
        outlive_readers()
        _end_with_parent(int(place.job_id))
        threading.Thread(target=_end_with, args=(job.launcher,), daemon=True).start()
    rank, size = place.global_rank, place.num_tasks
    job.pid_file(rank).write_text(str(os.getpid()), encoding="utf-8")
    try:
        import torch

        from mixbench.train.distributed import connect

        world = connect(job.folder / "meeting.json", rank, size, place.local_rank, size // place.num_nodes)
        desk = Desk(job.run, job.current_file, world, speaks=place.cluster == "local")
        measure([job.run.trial(trial_id) for trial_id in job.trials], desk)
        if world.device.type == "cuda" and place.cluster != "debug":
            torch.distributed.destroy_process_group()  # NCCL complains in the log otherwise
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


def measure(trials: list[Trial], desk: Desk) -> None:
    """Measure what each trial still misses: counts, then speed side by side, then accuracy one by one."""
    from mixbench.zoo.registry import load_plugin

    for plugin in dict.fromkeys(plugin for trial in trials for plugin in trial.plugins):
        load_plugin(Path(plugin))
    for trial in trials:
        desk.take(trial)
    counts = _count(trials, desk)
    _time([trial for trial in trials if desk.misses(trial, "throughput")], counts, desk)
    _learn([trial for trial in trials if desk.misses(trial, "accuracy")], desk)
    for trial in trials:
        desk.finish(trial)


def _count(trials: list[Trial], desk: Desk) -> dict[str, Complexity]:
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


def _time(trials: list[Trial], counts: dict[str, Complexity], desk: Desk) -> None:
    from mixbench.measure import throughput

    def now(trial: Trial, done: int, total: int) -> None:
        desk.progress(trial, "throughput", done, total)

    for lot in throughput.groups(trials, {trial.id: counts[trial.id].params for trial in trials}):
        for trial, samples in throughput.measure(lot, desk.world, now, desk.fail):
            desk.records[trial.id].add_throughput(samples)
            desk.save(trial, "throughput")


def _learn(trials: list[Trial], desk: Desk) -> None:
    from mixbench.measure import accuracy
    from mixbench.train.checkpoint import Checkpoints

    for trial in trials:
        with desk.at(trial, "accuracy"):
            data = desk.data(trial)

            def report(epoch: int, loss: float, speed: float, trial: Trial = trial) -> None:
                desk.progress(trial, "accuracy", epoch, trial.recipe.epochs, loss, speed)

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
