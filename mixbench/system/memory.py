"""Tells from an error if the device or the host ran out of memory."""

from errno import ENOMEM

OF_A_CPU = ("can't allocate memory", "could not create a primitive")
"""Messages of torch's allocator, and of oneDNN, which gives no reason."""
OF_CUDA = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
"""Messages of allocations outside of torch's allocator, which have no error type of their own."""


def out_of_memory(error: BaseException) -> str:
    """`device` or `host`, whichever ran out of memory; empty for any other error."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return "device"
    if isinstance(error, RuntimeError) and any(words in str(error) for words in OF_CUDA):
        return "device"
    ended = isinstance(error, OSError) and error.errno == ENOMEM
    refused = isinstance(error, RuntimeError) and any(words in str(error) for words in OF_A_CPU)
    return "host" if isinstance(error, MemoryError) or ended or refused else ""
