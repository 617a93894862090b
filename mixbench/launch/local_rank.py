"""One rank of a job on this machine, as submitit starts it: it measures the job's trials."""

import ctypes
import json
import os
import select
import signal
import threading
import time
from dataclasses import dataclass, field

from mixbench.launch.job import JobFolder
from mixbench.measure.recorder import Recorder, error_text
from mixbench.measure.trials import measure
from mixbench.run.folder import Run
from mixbench.system.files import write_atomically
from mixbench.system.streams import ignore_write_errors, repair_streams


@dataclass(frozen=True)
class LocalJob:
    """A job on this machine: these trials, one after the other, in the same processes."""

    folder: JobFolder
    run: Run
    trials: tuple[str, ...]
    gpus: tuple[str, ...] = ()
    launcher: int = field(default_factory=os.getpid)


def work(job: LocalJob) -> None:
    """Run a job on this rank.  Trials that fail leave a record that says so; with several ranks the job ends there."""
    import submitit

    if job.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(job.gpus)
    place = submitit.JobEnvironment()
    if place.cluster == "local":
        repair_streams()
        ignore_write_errors()
        _end_with_parent(int(place.job_id))
        threading.Thread(target=_end_with, args=(job.launcher,), daemon=True).start()
    rank, size = place.global_rank, place.num_tasks
    job.folder.pid_file(rank).write_text(str(os.getpid()), encoding="utf-8")
    try:
        import torch

        from mixbench.train.distributed import connect

        world = connect(job.folder.meeting_file, rank, size, place.local_rank, size // place.num_nodes)
        recorder = Recorder(job.run, job.folder.current_file, world, prints=place.cluster == "local")
        measure([job.run.trial(trial_id) for trial_id in job.trials], recorder)
        if world.device.type == "cuda" and place.cluster != "debug":
            torch.distributed.destroy_process_group()  # NCCL complains in the log otherwise
    except BaseException as error:
        write_atomically(job.folder.error_file(rank), json.dumps(error_text(error)))
        raise


def _end_with_parent(controller: int) -> None:
    """Have the kernel kill this process when submitit's controller ends in any way; end now if it already has."""
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != controller:
        os._exit(1)


def _end_with(launcher: int) -> None:
    """End this process when the launcher is gone: submitit's controller between the two would go on."""
    try:
        gone = select.poll()
        gone.register(os.pidfd_open(launcher), select.POLLIN)
        gone.poll()
    except ProcessLookupError:
        pass
    except OSError:  # Linux before 5.3, or a container that forbids it
        while _runs(launcher):
            time.sleep(1)
    finally:
        os._exit(1)


def _runs(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
