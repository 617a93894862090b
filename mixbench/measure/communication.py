"""Communication of a training step: bytes sent by each collective, and the duration of an all-reduce alone.

Times the all-reduce of one flat buffer of the gradients' size and type, as DeepSpeed reduces them without ZeRO (ZeRO's
reduce-scatter and all-gather are the two halves of the same ring), and of a single number, which is pure latency.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from mixbench.run.timings import Communication
from mixbench.suite.trial import Throughput
from mixbench.train.distributed import World

Action = Callable[[], Any]


def measure(
    engine: Any, step: Action, milliseconds: Callable[[Action], float], protocol: Throughput, world: World
) -> Communication | None:
    """Measure the communication of a training step of this engine; collective.  None for a single process.

    `milliseconds` runs an action on all ranks at once, and returns the slowest one's duration.
    """
    if world.size == 1:
        return None
    parameters = [each for each in engine.module.parameters() if each.requires_grad]
    dtype = parameters[0].dtype
    size = sum(getattr(each, "ds_numel", each.numel()) for each in parameters)  # ZeRO 3: a rank holds only a part
    gradients, single = (torch.randn(count, device=world.device).to(dtype) for count in (size, 1))
    allreduce_ms, latency_ms = [], []
    for round_ in range(protocol.warmup + protocol.repeats):
        times = [milliseconds(partial(world.sum, buffer)) for buffer in (gradients, single)]
        if round_ >= protocol.warmup:
            allreduce_ms.append(times[0])
            latency_ms.append(times[1])
    return Communication(
        gradient_bytes=gradients.nbytes,
        step_bytes=_bytes_sent(step),
        single_bytes=single.nbytes,
        allreduce_ms=allreduce_ms,
        latency_ms=latency_ms,
    )


def _bytes_sent(step: Action) -> dict[str, int]:
    """Take a step; return the bytes of each kind of collective, as DeepSpeed's communication log counts them."""
    from deepspeed import comm

    log = comm.comm.comms_logger
    log.comms_dict = {}
    comm.configure(enabled=True, prof_all=True)
    try:
        step()
    finally:
        comm.configure(enabled=False)
    sent = {kind: sum(size * entry[0] for size, entry in sizes.items()) for kind, sizes in log.comms_dict.items()}
    return {kind: int(bytes_) for kind, bytes_ in sent.items() if bytes_}
