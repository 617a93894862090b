"""A trial's model under the clock, and the images that it is given."""

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import torch

from mixbench.suite.trial import Trial
from mixbench.system.memory import out_of_memory
from mixbench.system.precision import set_products
from mixbench.train.distributed import World
from mixbench.train.engine import make_engine
from mixbench.train.loop import train_step
from mixbench.train.model import as_input, build_model

Kind = Literal["inference", "training"]
POOL_CACHES = 2
MOST_CACHE_BYTES = 128 << 20
"""Of a cache that is told to be larger, inputs fill no more: it is shared with other cores."""

MOST_LR = 1e-4
"""Of the steps that are timed: random labels teach nothing, and what diverges is timed on no numbers.  Not zero: what
lies before a layer that starts at zero would stay without a gradient, and zeros take a GPU less power."""


class Pools:
    """Random images of normalised images' statistics, that trials of one shape share, with labels.

    Each holds more bytes than the device's last cache, so that a batch that comes round again is no longer in it.
    """

    def __init__(self, world: World):
        self.device = world.device
        self.bytes = POOL_CACHES * min(cache_bytes(world.device), MOST_CACHE_BYTES)
        self._made: dict[tuple[object, ...], torch.Tensor] = {}

    def images(self, trial: Trial, batch: int) -> torch.Tensor:
        """N C H W in the trial's type and memory format, N at least `batch`."""
        dataset = trial.data
        shape = (dataset.channels, dataset.image_size, dataset.image_size)
        one = as_input(torch.zeros(1, *shape), trial)
        count = max(batch, -(-self.bytes // one.nbytes))
        key = (shape, one.dtype, trial.memory_format)
        if key not in self._made or len(self._made[key]) < count:
            generator = torch.Generator(self.device).manual_seed(0)
            made = torch.randn(count, *shape, generator=generator, device=self.device)
            self._made[key] = as_input(made, trial)
        return self._made[key]


def cache_bytes(device: torch.device) -> int:
    """The device's last cache: a GPU's L2, a processor's largest."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = [0]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text(encoding="ascii").strip()
        sizes.append(int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]])
    return max(sizes) or 32 << 20


class Subject:
    """Inference and training through DeepSpeed's engine.

    `times` holds each one's milliseconds a step, `visits` the median of each visit's steps.  A first step of each is
    taken at once, in which kernels are chosen and compiled.  What finds no room in memory, its images included, is
    noted in `out_of_memory` (by a single process; several raise), and not tried again.
    """

    def __init__(self, trial: Trial, world: World, pools: Pools, infer_batch: int | None = None):
        self.trial, self.world = trial, world
        self.pieces = trial.recipe.gradient_accumulation
        self.infer_batch = infer_batch or int(trial.infer_batch_size)
        train_batch = trial.recipe.global_batch_size // (world.size * self.pieces)
        self.batches: dict[Kind, int] = {"inference": self.infer_batch, "training": train_batch}
        self.images: dict[Kind, torch.Tensor] = {}
        self.at = 0
        generator = torch.Generator(world.device).manual_seed(trial.seed)
        classes = trial.data.classes
        self.labels = torch.randint(classes, (train_batch,), generator=generator, device=world.device)
        self.times: dict[Kind, list[float]] = {"inference": [], "training": []}
        self.visits: dict[Kind, list[float]] = {"inference": [], "training": []}
        self.out_of_memory: dict[Kind, str] = {}
        self.peak_memory: int | None = None
        for kind in sorted(self.times, key=lambda kind: -self.batches[kind]):  # the smaller batch is of the same images
            self._finds_room(kind, partial(self._take_images, kind, pools))
        others = allocated(world)
        self.engine = make_engine(build_model(trial, world), trial, world)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = min(group["lr"], MOST_LR)
        for kind in self.kinds:
            self.attempt(kind, partial(self.step, kind))
        self.resident = allocated(world) - others  # weights, gradients, optimizer's state

    def _take_images(self, kind: Kind, pools: Pools) -> None:
        self.images[kind] = pools.images(self.trial, self.batches[kind])

    @property
    def kinds(self) -> list[Kind]:
        """What there is room for."""
        return [kind for kind in self.times if kind not in self.out_of_memory]

    @property
    def input_bytes(self) -> int:
        """Of the largest batch that there is room for."""
        return max((self.batches[kind] * self.images[kind][:1].nbytes for kind in self.kinds), default=0)

    def attempt(self, kind: Kind, action: Callable[[], None]) -> None:
        """Take a step or more of that kind, or note that there is no room for it."""
        self.ready(kind)
        if not self._finds_room(kind, action):
            self.times[kind].clear()
            self.engine.zero_grad()
            give_back_memory(self.world)

    def _finds_room(self, kind: Kind, action: Callable[[], None]) -> bool:
        """Whether it does; when this says no, the error, which holds what it had taken, is gone."""
        try:
            action()
        except Exception as error:
            if self.world.size > 1 or not out_of_memory(error):
                raise
            self.out_of_memory[kind] = f"{kind} at batch {self.batches[kind]:,}"
        return kind not in self.out_of_memory

    def ready(self, kind: Kind) -> None:
        """What holds for all steps of a kind, as in a run: how products are rounded, and the mode of every module."""
        set_products("tf32" if self.trial.precision == "tf32" else "ieee")
        self.engine.train(kind == "training")

    def step(self, kind: Kind) -> None:
        """One that the subject is ready for."""
        if kind == "inference":
            self.infer()
        else:
            self.train()

    def batch(self, kind: Kind) -> torch.Tensor:
        """The next images of the pool."""
        images, size = self.images[kind], self.batches[kind]
        if self.at + size > len(images):
            self.at = 0
        self.at += size
        return images[self.at - size : self.at]

    def infer(self) -> None:
        with torch.no_grad():
            self.engine(self.batch("inference"))

    def train(self) -> None:
        for _ in range(self.pieces):
            train_step(self.engine, self.trial, self.batch("training"), self.labels)

    def close(self) -> None:
        """Let go of the model, which lies there until the next collection: engine and modules hold each other."""
        self.engine.destroy()
        del self.engine


def allocated(world: World) -> int:
    """Bytes that tensors hold on the GPU; 0 on a CPU, whose memory is not attributed to trials."""
    return torch.cuda.memory_allocated() if world.device.type == "cuda" else 0


def prime(world: World) -> None:
    """Have cuBLAS take its workspaces, one for each thread's handle, which would else count for the first trial."""
    images, weight, bias = (
        torch.ones(*shape, device=world.device, requires_grad=True) for shape in ((8, 8), (8, 8), (8,))
    )
    torch.nn.functional.linear(images, weight, bias).sum().backward()


def give_back_memory(world: World) -> None:
    """What lies about, and what the allocator keeps for later: the next attempt finds all that is free in one piece."""
    gc.collect()
    if world.device.type == "cuda":
        torch.cuda.empty_cache()
