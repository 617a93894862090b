"""TimedModel: a trial's model whose steps are timed; ImagePools: its random input images."""

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
MAX_CACHE_BYTES = 128 << 20
"""A cache reported as larger counts as this large: it is shared with other cores."""

MAX_LR = 1e-4
"""Learning rate limit of the timed steps: on random labels a larger one may diverge to NaN.  Not zero: layers before
one that starts at zero would get zero gradients, and zeros take a GPU less power."""


class ImagePools:
    """Pools of random images (mean 0, standard deviation 1), which trials of one shape, type and format share.

    Each holds twice the bytes of the device's last-level cache, so that a batch is no longer cached when reused.
    """

    def __init__(self, world: World):
        self.device = world.device
        self.bytes = POOL_CACHES * min(cache_bytes(world.device), MAX_CACHE_BYTES)
        self._pools: dict[tuple[object, ...], torch.Tensor] = {}

    def images(self, trial: Trial, batch: int) -> torch.Tensor:
        """The pool for a trial: N C H W in its type and memory format, N at least `batch`."""
        dataset = trial.data
        shape = (dataset.channels, dataset.image_size, dataset.image_size)
        one = as_input(torch.zeros(1, *shape), trial)
        count = max(batch, -(-self.bytes // one.nbytes))
        key = (shape, one.dtype, trial.memory_format)
        if key not in self._pools or len(self._pools[key]) < count:
            generator = torch.Generator(self.device).manual_seed(0)
            images = torch.randn(count, *shape, generator=generator, device=self.device)
            self._pools[key] = as_input(images, trial)
        return self._pools[key]


def cache_bytes(device: torch.device) -> int:
    """Bytes of the device's last-level cache: a GPU's L2, a CPU's largest; 32 MiB if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    sizes = [0]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text(encoding="ascii").strip()
        sizes.append(int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]])
    return max(sizes) or 32 << 20


class TimedModel:
    """A trial's model in DeepSpeed's engine, with input images, for timing steps of inference and training.

    `times` holds the milliseconds of each step, `visits` the median of each visit's steps.  The constructor runs one
    step of each kind, in which kernels are chosen and compiled.  A kind whose images or step do not fit in memory is
    noted in `out_of_memory` and not tried again; with several processes the error is raised.
    """

    def __init__(self, trial: Trial, world: World, pools: ImagePools, infer_batch: int | None = None):
        self.trial, self.world = trial, world
        self.pieces = trial.recipe.gradient_accumulation
        self.infer_batch = infer_batch or int(trial.infer_batch_size)
        train_batch = trial.recipe.global_batch_size // (world.size * self.pieces)
        self.batches: dict[Kind, int] = {"inference": self.infer_batch, "training": train_batch}
        self.images: dict[Kind, torch.Tensor] = {}
        self.next_image = 0
        generator = torch.Generator(world.device).manual_seed(trial.seed)
        classes = trial.data.classes
        self.labels = torch.randint(classes, (train_batch,), generator=generator, device=world.device)
        self.times: dict[Kind, list[float]] = {"inference": [], "training": []}
        self.visits: dict[Kind, list[float]] = {"inference": [], "training": []}
        self.out_of_memory: dict[Kind, str] = {}
        self.peak_memory: int | None = None
        for kind in sorted(self.times, key=lambda kind: -self.batches[kind]):  # the smaller batch shares the pool
            self._fits(kind, partial(self._take_images, kind, pools))
        before = allocated(world)
        self.engine = make_engine(build_model(trial, world), trial, world)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = min(group["lr"], MAX_LR)
        for kind in self.kinds:
            self.attempt(kind, partial(self.step, kind))
        self.model_bytes = allocated(world) - before  # weights, gradients, optimizer states

    def _take_images(self, kind: Kind, pools: ImagePools) -> None:
        self.images[kind] = pools.images(self.trial, self.batches[kind])

    @property
    def kinds(self) -> list[Kind]:
        """The kinds of step that fit in memory."""
        return [kind for kind in self.times if kind not in self.out_of_memory]

    @property
    def input_bytes(self) -> int:
        """Bytes of the largest batch of those kinds."""
        return max((self.batches[kind] * self.images[kind][:1].nbytes for kind in self.kinds), default=0)

    def attempt(self, kind: Kind, action: Callable[[], None]) -> None:
        """Run an action that takes steps of this kind; if it runs out of memory, drop the kind and its times."""
        self.set_mode(kind)
        if not self._fits(kind, action):
            self.times[kind].clear()
            self.engine.zero_grad()
            free_memory(self.world)

    def _fits(self, kind: Kind, action: Callable[[], None]) -> bool:
        """Run an action; return False if it runs out of memory.  Its exception, which holds tensors, is gone then."""
        try:
            action()
        except Exception as error:
            if self.world.size > 1 or not out_of_memory(error):
                raise
            self.out_of_memory[kind] = f"{kind} at batch {self.batches[kind]:,}"
        return kind not in self.out_of_memory

    def set_mode(self, kind: Kind) -> None:
        """Set what all steps of a kind share, as in a run: precision of matrix products, training or eval mode."""
        set_products("tf32" if self.trial.precision == "tf32" else "ieee")
        self.engine.train(kind == "training")

    def step(self, kind: Kind) -> None:
        """Take one step; `set_mode` must have been called for its kind."""
        if kind == "inference":
            self.infer()
        else:
            self.train()

    def batch(self, kind: Kind) -> torch.Tensor:
        """The next batch of the pool's images, B C H W."""
        images, size = self.images[kind], self.batches[kind]
        if self.next_image + size > len(images):
            self.next_image = 0
        self.next_image += size
        return images[self.next_image - size : self.next_image]

    def infer(self) -> None:
        with torch.no_grad():
            self.engine(self.batch("inference"))

    def train(self) -> None:
        for _ in range(self.pieces):
            train_step(self.engine, self.trial, self.batch("training"), self.labels)

    def close(self) -> None:
        """Drop the model; engine and modules refer to each other, so `free_memory` must collect them."""
        self.engine.destroy()
        del self.engine


def allocated(world: World) -> int:
    """Bytes of all tensors on the GPU; 0 on a CPU, whose memory is not attributed to trials."""
    return torch.cuda.memory_allocated() if world.device.type == "cuda" else 0


def prepare_cublas(world: World) -> None:
    """Make cuBLAS allocate its workspaces, one per thread, so that they do not count as the first trial's memory."""
    images, weight, bias = (
        torch.ones(*shape, device=world.device, requires_grad=True) for shape in ((8, 8), (8, 8), (8,))
    )
    torch.nn.functional.linear(images, weight, bias).sum().backward()


def free_memory(world: World) -> None:
    """Collect garbage and empty the CUDA allocator's cache, so that free memory is not fragmented."""
    gc.collect()
    if world.device.type == "cuda":
        torch.cuda.empty_cache()
