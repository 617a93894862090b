"""Memory in which a process that reads images hands a batch to the process that trains.

Not torch's own sharing, which allocates in /dev/shm, of 64 MB in a Docker container, and in a thread whose errors no
one sees: the training waits forever for the batch.  This memory is anonymous: only the machine's memory limits it.
"""

import math
import mmap
import os
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixbench.errors import RequestError
from mixbench.system.words import decimal_size


class SharedBatch:
    """A new uint8 array, to be filled; pickled to another process, it arrives there as a tensor of the same memory.

    Raises RequestError if there is no memory or no file descriptor left for it.
    """

    def __init__(self, *shape: int):
        size = math.prod(shape)
        try:
            file = os.memfd_create("mixbench-batch")
            try:
                os.ftruncate(file, size)
                self.array = np.frombuffer(mmap.mmap(file, size), np.uint8).reshape(shape)
                self._handle = DupFd(file)
            finally:
                os.close(file)
        except OSError as error:
            raise RequestError(f"no memory can be shared for a batch of {decimal_size(size)}: {error}") from None

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (self._handle, self.array.shape)


def _received(handle: Any, shape: tuple[int, ...]) -> Tensor:
    file = handle.detach()
    try:
        return torch.frombuffer(mmap.mmap(file, math.prod(shape)), dtype=torch.uint8).view(shape)
    finally:
        os.close(file)
