"""Search for the largest inference batch that fits in memory."""

from collections.abc import Callable
from functools import partial
from itertools import accumulate

import torch
from torch.autograd.profiler import profile

from mixbench.measure.timed_model import free_memory
from mixbench.suite.trial import Trial
from mixbench.system.memory import out_of_memory
from mixbench.train.distributed import World
from mixbench.train.model import as_input, autocast, build_model

CPU_BYTES = 1 << 30
"""Memory limit on a CPU: a process cannot reach the limit of the machine's memory and recover."""
FLOATS_PER_PARAMETER = 4
"""float32 numbers per parameter in training: weight, gradient, and two moments of AdamW."""
MAX_BATCH = 1 << 20
RESOLUTION = 32


def largest_batch(trial: Trial, world: World) -> int:
    """The largest batch whose inference step fits on every rank, within 1/32, up to 1,048,576; collective.

    At each attempt the allocator holds only the model and, on a GPU, the memory that training will take.  Returns 1 if
    2 images do not fit, without trying 1.  Does not use torch.compile, which would compile for each size.
    """
    model = build_model(trial, world).eval()
    on_gpu = world.device.type == "cuda"
    floats = FLOATS_PER_PARAMETER * sum(each.numel() for each in model.parameters()) if on_gpu else 0
    reserved = torch.empty(floats, device=world.device)
    if trial.precision == "bf16":
        model = model.bfloat16()
    shape = (trial.data.channels, trial.data.image_size, trial.data.image_size)

    @torch.no_grad()
    def infer(count: int) -> None:
        images = as_input(torch.randn(count, *shape, device=world.device), trial)
        with autocast(trial, world):
            model(images)
        if on_gpu:
            torch.cuda.synchronize()

    found = _largest(lambda count: _fits(infer, count, world))
    del reserved
    return found


def _largest(fits: Callable[[int], bool]) -> int:
    """Double until a batch does not fit or is MAX_BATCH, then bisect between it and the last that fitted."""
    good = 1
    while good < MAX_BATCH and fits(2 * good):
        good *= 2
    if good == MAX_BATCH:
        return good
    bad = 2 * good
    while bad - good > max(1, good // RESOLUTION):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _fits(infer: Callable[[int], None], count: int, world: World) -> bool:
    """Return True if a batch of `count` images fits on every rank; collective."""
    free_memory(world)
    try:
        if world.device.type == "cuda":
            infer(count)
            failed = False
        else:
            failed = _peak_bytes(partial(infer, count)) > CPU_BYTES
    except Exception as error:
        if not out_of_memory(error):
            raise
        failed = True
    return not world.any(failed)


def _peak_bytes(action: Callable[[], None]) -> int:
    """Peak memory of an action in torch's CPU allocator, from the profiler's record of each allocation.

    A limit on the process's memory cannot be used instead: once oneDNN fails to allocate, it creates no kernel again.
    """
    with profile(profile_memory=True) as profiler:
        action()
    assert profiler.kineto_results is not None
    sizes = (event.nbytes() for event in profiler.kineto_results.events() if event.name() == "[memory]")
    return max(accumulate(sizes), default=0)
