"""The device that this process computes on."""

from mixbench.system.host import cpu_name, usable_cores


def device_name() -> str:
    """The GPU's name, or the processor's with the number of cores that this process may use."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{cpu_name()} ({usable_cores()} cores)"
