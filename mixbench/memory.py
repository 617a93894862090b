"""Whether an error means that there was no memory left, and where."""

from errno import ENOMEM


def out_of_memory(error: BaseException) -> str:
    """Where there was none left: `device` or `host`; empty where that is not what went wrong."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "device"
    ended = isinstance(error, OSError) and error.errno == ENOMEM
    refused = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)  # torch's allocator on a CPU
    return "host" if isinstance(error, MemoryError) or ended or refused else ""
