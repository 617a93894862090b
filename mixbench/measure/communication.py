"""What processes say to each other in a training step: how many bytes, and how long an all-reduce of them takes alone.

Timed is one flat buffer of the gradients' size and type, as DeepSpeed reduces them without ZeRO; ZeRO's reduce-scatter
and all-gather are the two halves of the same ring.  Beside it a single number, whose time is all latency.
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
    """Of a training step through this engine; collective.  None where a process is alone.

    `milliseconds` is how long an action takes on the slowest rank, begun by all together.
    """
    if world.size == 1:
        return None
    parameters = [each for each in engine.module.parameters() if each.requires_grad]
    kind = parameters[0].dtype
    numbers = sum(getattr(each, "ds_numel", each.numel()) for each in parameters)  # ZeRO 3 leaves each rank a part
    gradients, single = (torch.randn(count, device=world.device).to(kind) for count in (numbers, 1))
    allreduce_ms, latency_ms = [], []
    for round_ in range(protocol.warmup + protocol.repeats):
        times = [milliseconds(partial(world.sum, sent)) for sent in (gradients, single)]
        if round_ >= protocol.warmup:
            allreduce_ms.append(times[0])
            latency_ms.append(times[1])
    return Communication(
        gradient_bytes=gradients.nbytes,
        step_bytes=_sent(step),
        single_bytes=single.nbytes,
        allreduce_ms=allreduce_ms,
        latency_ms=latency_ms,
    )


def _sent(step: Action) -> dict[str, int]:
    """The bytes of each kind of collective in a step, as DeepSpeed's own log counts them."""
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
