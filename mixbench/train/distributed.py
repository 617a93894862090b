"""The processes that measure one trial together: this one's rank and device, and collectives over all of them."""

import ctypes
import json
import os
import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed import DistNetworkError, TCPStore  # type: ignore[attr-defined]

from mixbench.system.files import write_atomically
from mixbench.system.host import usable_cores
from mixbench.system.polling import polls
from mixbench.system.signals import Stop

RENDEZVOUS_SECONDS = 300
FIRST_PORT = 10_000
_environment: dict[str, str] = {}


@dataclass(frozen=True)
class World:
    """This process's rank among those that run a trial, and its device.  `stop` is set where it is told to end."""

    rank: int
    size: int
    device: torch.device
    stop: Stop | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def max(self, values: Tensor) -> Tensor:
        """The largest over all ranks, elementwise."""
        if self.size > 1:
            torch.distributed.all_reduce(values, op=torch.distributed.ReduceOp.MAX)
        return values

    def any(self, flag: bool) -> bool:
        """True where any rank's flag is."""
        return flag if self.size == 1 else bool(self.max(torch.tensor(float(flag), device=self.device)))

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in rank order, on every rank."""
        values: list[Any] = [value] * self.size
        if self.size > 1:
            torch.distributed.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        if self.size > 1:
            torch.distributed.barrier()

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Send rank 0's values to every rank, which keeps them in contiguous memory then."""
        if self.size > 1:
            for tensor in tensors:
                tensor.data = tensor.data.contiguous()
                torch.distributed.broadcast(tensor.data, src=0)


def connect(
    meeting: Path,
    rank: int = 0,
    size: int = 1,
    local_rank: int = 0,
    local_size: int = 1,
    address: str = "localhost",
    stop: Stop | None = None,
) -> World:
    """Join the other ranks through torch.distributed, which DeepSpeed's engine needs even in a single process.

    Rank 0 listens on a free port of `address` and then writes both to the file `meeting`, where the others read them:
    no other program can take the port in between.  Raises TimeoutError.
    """
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", local_rank % torch.cuda.device_count()) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    else:
        _keep_freed_memory()
        if "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, usable_cores() // local_size))
    os.environ["DS_ACCELERATOR"] = "cuda" if on_gpu else "cpu"
    if not torch.distributed.is_initialized():
        store = _store(meeting, rank, size, address)
        _environment.update(MASTER_ADDR=store.host, MASTER_PORT=str(store.port))
        torch.distributed.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=store,
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=RENDEZVOUS_SECONDS),
            device_id=device if on_gpu else None,
        )
    here = device.index if on_gpu else local_rank  # DeepSpeed takes it for the number of a GPU that this rank can see
    _environment.update(RANK=str(rank), LOCAL_RANK=str(here), WORLD_SIZE=str(size))
    os.environ.update(_environment)  # DeepSpeed looks there; submitit's debug executor clears it between jobs
    return World(rank, size, device, stop)


def _keep_freed_memory() -> None:
    """Make glibc keep freed memory for the tensors of the next step; other C libraries stay as they are.

    glibc returns the top of the heap to the kernel whenever it can, and each page that the next step takes again costs
    a fault: 88,000 a step of a SplitMixer-I 256/8 with 64 images, a tenth of its time.
    """
    trim_threshold, mmap_threshold = -1, -3  # malloc.h's M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_threshold, 2**30) or mallopt(mmap_threshold, 2**25)  # the most that older ones take


def _store(meeting: Path, rank: int, size: int, address: str) -> TCPStore:
    timeout = timedelta(seconds=RENDEZVOUS_SECONDS)
    if rank == 0:
        store = _listen(address, size, timeout)
        if size > 1:
            write_atomically(meeting, json.dumps({"host": store.host, "port": store.port}))
        return store
    for _ in polls(0.05, RENDEZVOUS_SECONDS):
        if meeting.exists():
            break
        # NFS remembers for a while that a file was not there, but not a folder's list
        os.scandir(meeting.parent).close()
    else:
        raise TimeoutError(f"rank {rank} waited {RENDEZVOUS_SECONDS} s for rank 0's address in {meeting}")
    where = json.loads(meeting.read_text(encoding="utf-8"))
    return TCPStore(where["host"], where["port"], size, is_master=False, timeout=timeout)


def _listen(address: str, size: int, timeout: timedelta) -> TCPStore:
    """A store on a free port, below the range from which the kernel takes ports for outgoing connections."""
    if size == 1:
        return TCPStore(address, 0, 1, is_master=True, timeout=timeout, wait_for_workers=False)
    draw = random.SystemRandom()  # unseeded: two jobs on a node must not try the same ports
    for _ in range(200):
        with suppress(DistNetworkError):  # taken
            port = draw.randrange(FIRST_PORT, _first_ephemeral_port())
            return TCPStore(address, port, size, is_master=True, timeout=timeout, wait_for_workers=False)
    raise TimeoutError(f"no free port was found on {address} between {FIRST_PORT} and {_first_ephemeral_port()}")


def _first_ephemeral_port() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        first = 32768
    return first if first > FIRST_PORT + 1000 else 32768
