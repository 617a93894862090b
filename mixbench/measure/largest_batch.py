"""The largest batch that memory holds, by trying."""

from collections.abc import Callable
from functools import partial
from itertools import accumulate

import torch
from torch.autograd.profiler import profile

from mixbench.measure.timed_model import give_back_memory
from mixbench.suite.trial import Trial
from mixbench.system.memory import out_of_memory
from mixbench.train.distributed import World
from mixbench.train.model import as_input, autocast, build_model

CPU_BYTES = 1 << 30
"""Taken for a device's memory on a CPU, whose own has no edge that one could go up to and come back from."""
TRAINED = 4
"""Numbers of four bytes for each of a model's: weights, gradients, and two moments of AdamW."""
MOST = 1 << 20
FINENESS = 32


def largest_batch(trial: Trial, world: World) -> int:
    """The most images of one inference step on every rank, within 1/32; collective.

    Each attempt begins with an allocator that holds nothing but the model and, on a GPU, what training it will take.
    1 where two find no room, which may not find any either; 1,048,576 at the most.  Without torch.compile, which would
    compile for every size.
    """
    model = build_model(trial, world).eval()
    on_gpu = world.device.type == "cuda"
    held = torch.empty(TRAINED * sum(each.numel() for each in model.parameters()) if on_gpu else 0, device=world.device)
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
    del held
    return found


def _largest(fits: Callable[[int], bool]) -> int:
    """Up by doubling to `MOST`, then between the last that fitted and the first that did not."""
    good = 1
    while good < MOST and fits(2 * good):
        good *= 2
    if good == MOST:
        return good
    bad = 2 * good
    while bad - good > max(1, good // FINENESS):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if fits(middle) else (good, middle)
    return good


def _fits(infer: Callable[[int], None], count: int, world: World) -> bool:
    give_back_memory(world)
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
    """The most that an action holds at once of torch's allocator on a CPU, as the profiler hears of each piece.

    No limit on the process's memory does: oneDNN that fails under it once makes no kernel ever after.
    """
    with profile(profile_memory=True) as profiler:
        action()
    assert profiler.kineto_results is not None
    sizes = (event.nbytes() for event in profiler.kineto_results.events() if event.name() == "[memory]")
    return max(accumulate(sizes), default=0)
