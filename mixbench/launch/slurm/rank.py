"""What srun starts on the nodes: one rank of a job.  `python -m mixbench.launch.slurm.rank`, in the array's folder.

A rank notes how it ends; what becomes of the job is decided by mixbench.launch.slurm.after, once all ranks have ended.
"""

import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixbench.errors import RequestError
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Note, SlurmJob, read_array, write_note
from mixbench.run.claim import Claim, Taken, seize
from mixbench.run.folder import Run
from mixbench.system.signals import Stop, Stopped
from mixbench.system.streams import make_usable, outlive_readers

if TYPE_CHECKING:
    from submitit import JobEnvironment

    from mixbench.train.distributed import World

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
"""What SLURM sends ahead of the time limit and at preemption: USR2, or TERM where the cluster is set up so."""
CACHES = {"TRITON_CACHE_DIR": "triton", "TORCHINDUCTOR_CACHE_DIR": "inductor", "TORCH_EXTENSIONS_DIR": "extensions"}
LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket", re.IGNORECASE)


@dataclass
class Report:
    """This rank's note, written anew whenever something of it changes, by whichever thread learns of it."""

    attempt: Path
    note: Note
    stop: Stop = field(default_factory=Stop)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def say(self, **facts: Any) -> None:
        with self._lock:
            self.note = self.note.model_copy(update=facts)
            write_note(self.attempt, self.note)

    def listen(self) -> None:
        """Hear signals in a thread of its own: Python's handlers wait while the main one is in C++, as in a collective.

        Threads that are started later inherit that they don't get them.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        while True:
            name = signal.Signals(signal.sigwait(SIGNALS)).name
            self.stop.signal = self.stop.signal or name
            self.say(signal=self.stop.signal)


def job_here() -> SlurmJob:
    """The job that this process belongs to.  Raises RequestError, also where the folder is another array's by now.

    The batch script says in which folder it began: a container starts its processes where it likes.
    """
    folder = Path(os.environ["MIXBENCH_FOLDER"])
    array = read_array(folder)
    if (name := os.environ.get("SLURM_JOB_NAME", array.name)) != array.name:
        raise RequestError(f"{folder} is of {array.name}, this job is of {name}")
    return SlurmJob(Run(folder.parent.parent), folder.name, int(os.environ["SLURM_ARRAY_TASK_ID"]), array)


def restarts() -> int:
    """How often SLURM has put this job back into its queue."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def main() -> None:
    import submitit

    make_usable()
    outlive_readers()  # a log that cannot be written any more is no reason to stop measuring
    job, place = job_here(), submitit.JobEnvironment()
    os.environ.setdefault("OMP_NUM_THREADS", str(job.array.profile.cpus_per_task))  # read when torch is imported
    log = job.log(place.global_rank)
    printed = log.stat().st_size if log.exists() else 0
    note = Note(rank=place.global_rank, host=socket.gethostname(), pid=os.getpid(), printed=printed)
    report = Report(job.attempt(restarts()), note)
    report.listen()
    report.say()
    caches = keep_caches(job.array.profile)
    try:
        _work(job, place, report)
        report.say(state="done")
    except (Stopped, Taken):
        report.say(state="stopped")
    except BaseException as error:
        from mixbench.measure.recorder import error_text

        said, trace = error_text(error)
        sys.stderr.write(trace or f"{said}\n")
        state = "stopped" if report.stop.signal else "failed"
        report.say(state=state, error=said, traceback=trace, lost=place.num_tasks > 1 and _lost_others(error))
    shutil.rmtree(caches, ignore_errors=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if report.note.state == "failed" else 0)  # at once: gloo and NCCL would wait for ranks that are gone


def _work(job: SlurmJob, place: "JobEnvironment", report: Report) -> None:
    """Measure what is unfinished of the job's trials, together with the other ranks."""
    from mixbench.measure.recorder import Recorder
    from mixbench.measure.trials import measure
    from mixbench.train.distributed import connect

    rank, profile = place.global_rank, job.array.profile
    claim = seize(job.lock) if rank == 0 else None
    world = connect(
        report.attempt / "meeting.json",
        rank,
        place.num_tasks,
        place.local_rank,
        place.num_tasks // place.num_nodes,
        address=address(profile),
        stop=report.stop,
    )
    mine = [] if job.state().ended else job.unfinished()  # it may have been cancelled on its way here
    trials, number = _first(world, (mine, claim.number) if claim else None)
    run = replace(job.run, claim=Claim(job.lock, number))
    measure([run.trial(trial_id) for trial_id in trials], Recorder(run, job.current_file, world, speaks=True))


def _first(world: "World", value: Any) -> Any:
    """What rank 0 has, everywhere: two ranks that look at one folder may see two states of it."""
    return world.gather(value)[0]


def address(profile: Profile) -> str:
    """Where the other ranks find this node: its name, or its address on the interface that the profile names.

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
    """Have what torch compiles be kept on the node's own disk, in a folder of this rank's alone: NFS fails at locks.

    Its name is nobody's to guess: what lies in it is loaded as code.
    """
    scratch = os.path.expandvars(os.path.expanduser(profile.scratch)) if profile.scratch else tempfile.gettempdir()
    folder = Path(scratch) / f"mixbench-{os.environ['SLURM_JOB_ID']}-{uuid.uuid4().hex}"
    for variable, name in CACHES.items():
        os.environ.setdefault(variable, str(folder / name))
    return folder


def _lost_others(error: BaseException) -> bool:
    """Whether an error only says that another rank is gone."""
    import torch

    gone = (torch.distributed.DistNetworkError, torch.distributed.DistBackendError, torch.distributed.DistStoreError)
    return isinstance(error, (*gone, TimeoutError)) or (
        isinstance(error, RuntimeError) and bool(LOST.search(str(error)))
    )


if __name__ == "__main__":
    main()
