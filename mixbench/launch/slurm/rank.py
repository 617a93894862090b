"""One rank of a SLURM job: srun starts `python -m mixbench.launch.slurm.rank` on the nodes, in the array's folder.

It writes down how it ends.  When all ranks have ended, mixbench.launch.slurm.after decides if the job runs again.
"""

import fcntl
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixbench.errors import RequestError
from mixbench.launch.job import JobFolder
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import RankStatus, SlurmJob, read_array, write_rank_status
from mixbench.run.claim import Claim, Taken, seize
from mixbench.run.folder import Run
from mixbench.system.environment import prepare
from mixbench.system.signals import Stop, Stopped
from mixbench.system.streams import ignore_write_errors, repair_streams

if TYPE_CHECKING:
    from submitit import JobEnvironment

    from mixbench.train.distributed import World

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
"""SLURM sends USR2 before the time limit and at preemption, some clusters TERM."""
CACHES = {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TORCH_EXTENSIONS_DIR": "extensions"}
HELD = "held"
"""A file that a rank holds the lock of, in the folder of its caches: once nobody does, the folder is left over."""
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket", re.IGNORECASE)


@dataclass
class StatusFile:
    """This rank's status in its file, which every thread may update; `stop` is set by the signals that SLURM sends."""

    attempt: JobFolder
    status: RankStatus
    stop: Stop = field(default_factory=Stop)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self, **facts: Any) -> None:
        with self._lock:
            self.status = self.status.model_copy(update=facts)
            write_rank_status(self.attempt, self.status)

    def receive_signals(self) -> None:
        """Receive signals in a thread of their own: Python's handlers wait while the main thread is in C++ code.

        Threads that are started later inherit that the signals are blocked.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=self._wait_for_signals, daemon=True).start()

    def _wait_for_signals(self) -> None:
        while True:
            name = signal.Signals(signal.sigwait(SIGNALS)).name
            self.stop.signal = self.stop.signal or name
            with suppress(OSError):  # the disk is full, or the file server gone: the last update writes it again
                self.update(signal=self.stop.signal)


def job_here() -> SlurmJob:
    """The job that this process belongs to.  Raises RequestError, also where the folder is another array's by now.

    The batch script sets MIXBENCH_FOLDER, as a container may start its processes in another folder.
    """
    folder = JobFolder(Path(os.environ["MIXBENCH_FOLDER"]))
    array = read_array(folder)
    if (name := os.environ.get("SLURM_JOB_NAME", array.name)) != array.name:
        raise RequestError(f"{folder.path} is of {array.name}, this job is of {name}")
    return SlurmJob(Run(folder.path.parent.parent), folder, int(os.environ["SLURM_ARRAY_TASK_ID"]), array)


def restarts() -> int:
    """The number of times that SLURM has requeued this job."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def main() -> None:
    import submitit

    repair_streams()
    prepare()
    ignore_write_errors()  # a log that cannot be written any more is no reason to stop measuring
    job, place = job_here(), submitit.JobEnvironment()
    os.environ.setdefault("OMP_NUM_THREADS", str(job.array.profile.cpus_per_task))  # read when torch is imported
    log = job.log(place.global_rank)
    printed = log.stat().st_size if log.exists() else 0
    status = RankStatus(rank=place.global_rank, host=socket.gethostname(), pid=os.getpid(), printed=printed)
    status_file = StatusFile(job.folder.attempt(restarts()), status)
    status_file.receive_signals()
    status_file.update()
    caches = keep_caches(job.array.profile)
    try:
        _work(job, place, status_file)
        status_file.update(state="done")
    except (Stopped, Taken):
        status_file.update(state="stopped")
    except BaseException as error:
        from mixbench.measure.recorder import error_text

        said, trace = error_text(error)
        sys.stderr.write(trace or f"{said}\n")
        state = "stopped" if status_file.stop.signal else "failed"
        status_file.update(state=state, error=said, traceback=trace, lost=place.num_tasks > 1 and _lost_others(error))
    shutil.rmtree(caches, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        1 if status_file.status.state == "failed" else 0
    )  # at once: gloo and NCCL would wait for ranks that are gone


def _work(job: SlurmJob, place: "JobEnvironment", status_file: StatusFile) -> None:
    """Measure the job's unfinished trials, together with the other ranks."""
    from mixbench.measure.recorder import Recorder
    from mixbench.measure.trials import measure
    from mixbench.train.distributed import connect

    rank, profile = place.global_rank, job.array.profile
    claim = seize(job.folder.lock) if rank == 0 else None
    world = connect(
        status_file.attempt.meeting_file,
        rank,
        place.num_tasks,
        place.local_rank,
        place.num_tasks // place.num_nodes,
        address=address(profile),
        stop=status_file.stop,
    )
    mine = [] if job.state().ended else job.unfinished()  # it may have been cancelled on its way here
    trials, number = _first(world, (mine, claim.number) if claim else None)
    run = replace(job.run, claim=Claim(job.folder.lock, number))
    measure([run.trial(trial_id) for trial_id in trials], Recorder(run, job.folder.current_file, world, prints=True))


def _first(world: "World", value: Any) -> Any:
    """Rank 0's value on every rank: two ranks that look at one folder over NFS may see two states of it."""
    return world.gather(value)[0]


def address(profile: Profile) -> str:
    """The address at which other ranks find this node: its name, or that of the interface which the profile names.

    Raises RuntimeError where the node has no such interface.
    """
    interface = profile.network_interface
    if interface is None:
        return socket.gethostname()
    import psutil

    os.environ |= {"GLOO_SOCKET_IFNAME": interface, "NCCL_SOCKET_IFNAME": interface}
    found = psutil.net_if_addrs()
    for family in (socket.AF_INET, socket.AF_INET6):
        for each in found.get(interface, []):
            if each.family == family:
                return str(each.address)
    raise RuntimeError(f"network_interface: this node has no {interface}; it has {', '.join(sorted(found))}")


def keep_caches(profile: Profile) -> Path:
    """Set torch's compile caches to a folder of this rank on the node's own disk, as locks fail on NFS.

    Its name cannot be guessed: the files in it are loaded as code.  Those that killed ranks left on this node are
    removed: nobody holds the lock in them any more.
    """
    given = os.path.expandvars(os.path.expanduser(profile.scratch)) if profile.scratch else tempfile.gettempdir()
    scratch, node = Path(given), socket.gethostname()
    folder = scratch / f"mixbench-{node}-{os.environ['SLURM_JOB_ID']}-{uuid.uuid4().hex}"
    with suppress(OSError):  # torch will say what is wrong with the disk, where it uses it
        new = scratch / f".{folder.name}"  # others see it under its name once it is locked
        new.mkdir(mode=0o700, parents=True)
        (new / HELD).touch()
        _lock(new / HELD)
        new.rename(folder)
    for left in scratch.glob(f"mixbench-{node}-*/{HELD}"):
        with suppress(OSError):
            if left.stat().st_uid == os.getuid() and _lock(left):
                shutil.rmtree(left.parent)
    for variable, name in CACHES.items():
        os.environ.setdefault(variable, str(folder / name))
    return folder


def _lock(path: Path) -> bool:
    """Hold a file's lock until this process ends, however it does; False if another process holds it."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


def _lost_others(error: BaseException) -> bool:
    """True for an error that only says that another rank is gone."""
    import torch

    gone = (torch.distributed.DistNetworkError, torch.distributed.DistBackendError, torch.distributed.DistStoreError)
    return isinstance(error, (*gone, TimeoutError)) or (
        isinstance(error, RuntimeError) and bool(LOST.search(str(error)))
    )


if __name__ == "__main__":
    main()
