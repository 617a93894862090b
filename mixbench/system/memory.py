"""Whether an error means that there was no memory left, and where."""

from errno import ENOMEM

OF_A_CPU = ("can't allocate memory", "could not create a primitive")
"""torch's allocator, and oneDNN, which gives no reason."""
OF_CUDA = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""What finds no room outside of torch's allocator says so in words alone."""


def out_of_memory(error: BaseException) -> str:
    """Where there was none left: `device` or `host`; empty where that is not what went wrong."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "device"
    if isinstance(error, RuntimeError) and any(words in str(error) for words in OF_CUDA):
        return "device"
    ended = isinstance(error, OSError) and error.errno == ENOMEM
    refused = isinstance(error, RuntimeError) and any(words in str(error) for words in OF_A_CPU)
    return "host" if isinstance(error, MemoryError) or ended or refused else ""
