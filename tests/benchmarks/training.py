"""The training loop against two rivals: the bare step on one batch, and the usual way with PIL images and a DataLoader.

Run with: python tests/benchmarks/training.py [BATCH [ROUNDS]], 64 images and 15 rounds unless told.  SplitMixer-I 256/8
and 64/4 at 32×32 on the real Fashion-MNIST, trained by the CIFAR suite's recipe; fp32 on a CPU, amp-fp16 on a GPU.

The three take turns, a block of steps each, and a round gives one ratio of each rival.  Who is not at turn rests: the
DataLoader's workers are stopped (SIGSTOP) when their block ends, so that they neither prefetch for free nor disturb the
others, and go on with what they had ready: time is cut out of one steady run, its start-up left out.  Whoever is faster
may pass an epoch's end, which costs either an order of the images and no more: batches are whole, and the workers stay.
Beside the ratio of the times stands that of the processor's seconds, the workers' included, which busy neighbours
hardly change.
"""

import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Any, NoReturn

import psutil
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import Compose, Normalize, RandAugment, RandomHorizontalFlip, ToTensor
from torchvision.transforms import functional as TF

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.data import store
from mixbench.data.loader import TrainLoader
from mixbench.measure.recorder import environment
from mixbench.suite.datasets import find_dataset
from mixbench.suite.load import load
from mixbench.suite.trial import Trial
from mixbench.system.host import installed
from mixbench.train.distributed import World, connect
from mixbench.train.engine import make_engine
from mixbench.train.loop import fit
from mixbench.train.model import as_input, build_model
from mixbench.train.optimizer import make_optimizer
from tests.benchmarks.table import Line

Steps = Callable[[int], None]
"""Trains so many steps."""

MODELS = {"SplitMixer-I 256/8": (), "SplitMixer-I 64/4": ("models.0.dim=64", "models.0.depth=4")}
BARE, USUAL = "(a) bare step", "(b) DataLoader, PIL"
TARGETS = {
    ("cpu", "SplitMixer-I 256/8", BARE): 0.95,
    ("cpu", "SplitMixer-I 64/4", USUAL): 1.2,
    ("cuda", "SplitMixer-I 256/8", BARE): 0.9,
    ("cuda", "SplitMixer-I 256/8", USUAL): 5.0,
    ("cuda", "SplitMixer-I 64/4", USUAL): 5.0,
}
BLOCK_SECONDS = 1.5
WORKERS = 2


def fashion_at_cifars_size() -> store.Images:
    whole = store.load(find_dataset("fashion_mnist")).train
    larger = TF.resize(whole.images, [32, 32], antialias=True)
    return store.Images(larger.expand(-1, 3, -1, -1).contiguous(), whole.labels)


def plan(model: str, batch: int, world: World) -> Trial:
    precision = "amp-fp16" if world.device.type == "cuda" else "fp32"
    settings = (f"recipe.global_batch_size={batch}", f"precision={precision}", *MODELS[model])
    _, trials = load("cifar", settings)
    return next(trial for trial in trials if trial.label == "SplitMixer-I" and trial.dataset == "cifar10")


class BlockOver(Exception):
    """Ends a training after its first epoch."""


class InBlocks(TrainLoader):
    """What it calls an epoch is the next `block` batches of epochs without end, whole ones alone."""

    def __init__(self, images: store.Images, trial: Trial, world: World):
        recipe = trial.recipe
        super().__init__(images, trial.data, recipe.augment, recipe.global_batch_size, world.rank, world.size)
        self.block = 0
        self.without_end = (batch for epoch in count() for batch in TrainLoader.epoch(self, trial.seed, epoch))

    def batch_size(self, step: int) -> int:
        """Whole at any step: a block may pass the end of what `steps` calls an epoch."""
        return self.global_batch_size

    def epoch(self, *_: Any) -> Iterator[tuple[Tensor, Tensor]]:
        return islice(self.without_end, self.block)


def ours(trial: Trial, images: store.Images, world: World) -> Steps:
    """mixbench's own way, as a run trains: its loop, left after an epoch that is a block, and not evaluated."""
    recipe = trial.recipe.model_copy(update={"evaluate_every": trial.recipe.epochs})
    trial = trial.model_copy(update={"recipe": recipe})
    engine = make_engine(build_model(trial, world), trial, world)
    loader = InBlocks(images.on(world.device, with_images=True), trial, world)

    def end_block(*_: Any) -> NoReturn:
        raise BlockOver

    def steps(number: int) -> None:
        loader.block = number
        with suppress(BlockOver):
            fit(engine, None, trial, loader, images, world, end_block)

    return steps


def bare(trial: Trial, images: store.Images, world: World) -> Steps:
    """Forward, backward, clip, step in plain PyTorch, on one batch that already lies on the device."""
    step = plain_step(build_model(trial, world), make_optimizer, trial, world)
    some = images.images[: trial.recipe.global_batch_size].to(world.device)
    batch, labels = as_input(some / 128 - 1, trial), images.labels[: len(some)].to(world.device)

    def steps(number: int) -> None:
        for _ in range(number):
            step(batch, labels)

    return steps


class PILImages(Dataset):
    """As torchvision's CIFAR10 has it, which keeps its images as an array B H W C."""

    def __init__(self, images: store.Images, transform: Compose):
        self.images, self.labels = images.images.permute(0, 2, 3, 1).contiguous().numpy(), images.labels.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), self.labels[index]


def usual(trial: Trial, images: store.Images, world: World) -> Steps:
    """As SplitMixer's authors train: PIL images, two workers, torch's AdamW as it comes, the loss read at each step."""
    options, rand = trial.recipe.optimizer, trial.recipe.augment.randaugment
    assert rand is not None

    def adamw(_: Any, model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay)

    step = plain_step(build_model(trial, world), adamw, trial, world)
    augment = Compose(
        [
            RandomHorizontalFlip(),
            RandAugment(num_ops=rand.num_ops, magnitude=rand.magnitude),
            ToTensor(),
            Normalize(trial.data.mean, trial.data.std),
        ]
    )
    batches = without_end(PILImages(images, augment), trial.recipe.global_batch_size)
    total = 0.0

    def steps(number: int) -> None:
        nonlocal total
        _to_workers(signal.SIGCONT)
        for batch, labels in islice(batches, number):
            total += step(batch.to(world.device), labels.to(world.device)).item()
        _to_workers(signal.SIGSTOP)

    return steps


def without_end(data: Any, batch: int) -> Iterator[Any]:
    """Batches of a Dataset's epochs one after the other, each shuffled; the workers are never started anew."""
    order = (index for _ in count() for index in torch.randperm(len(data)).tolist())
    return iter(DataLoader(data, batch, sampler=order, num_workers=WORKERS))


def _to_workers(what: signal.Signals) -> None:
    for process in multiprocessing.active_children():
        assert process.pid
        os.kill(process.pid, what)


def plain_step(model: nn.Module, optimizer_of: Any, trial: Trial, world: World) -> Callable[[Tensor, Tensor], Tensor]:
    optimizer = optimizer_of(trial.recipe.optimizer, model)
    on_gpu = world.device.type == "cuda"
    scaler = torch.amp.GradScaler(world.device.type, enabled=on_gpu)
    model.train()

    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        with torch.autocast(world.device.type, torch.float16, enabled=on_gpu):
            loss = F.cross_entropy(model(images), labels)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), trial.recipe.clip_grad_norm)
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return step


def spent(steps: Steps, number: int) -> tuple[float, float]:
    """Seconds of so many steps, the device's work included: by the clock, and the processor's, children's included."""
    before = time.perf_counter(), _processor_seconds()
    steps(number)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - before[0], _processor_seconds() - before[1]


def _processor_seconds() -> float:
    children = [process.cpu_times() for process in psutil.Process().children(recursive=True)]
    return time.process_time() + sum(each.user + each.system for each in children)


def race(rivals: dict[str, Steps], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """What each rival spent on a step of each of its blocks, which take all rivals about the same time."""
    for steps in rivals.values():
        steps(3)
    blocks = {name: max(2, round(BLOCK_SECONDS / (spent(steps, 4)[0] / 4))) for name, steps in rivals.items()}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in rivals}
    names = list(rivals)
    for round_ in range(rounds):
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            clock, processor = spent(rivals[name], blocks[name])
            taken[name].append((clock / blocks[name], processor / blocks[name]))
    return taken


def over(theirs: list[float], mine: list[float]) -> list[float]:
    """The ratio of each round."""
    return [their / my for their, my in zip(theirs, mine, strict=True)]


def against(
    model: str, batch: int, rounds: int, images: store.Images, world: World
) -> Iterator[tuple[Line, list[str]]]:
    """Of each rival of ours: by how much we are faster, and both speeds and the ratio of the processor's seconds."""
    trial, device = plan(model, batch, world), world.device.type
    makers = {"ours": ours, BARE: bare, USUAL: usual}
    taken = race({name: make(trial, images, world) for name, make in makers.items()}, rounds)
    _to_workers(signal.SIGCONT)  # to their end
    clock, processor = ({name: [each[kind] for each in spans] for name, spans in taken.items()} for kind in (0, 1))
    speeds = {name: f"{batch / statistics.median(times):,.0f}" for name, times in clock.items()}
    for rival in (BARE, USUAL):
        what = f"training of {model}, {trial.precision}, batch {batch}, over {rival}"
        ratio = Line(what, over(clock[rival], clock["ours"]), at_least=TARGETS.get((device, model, rival)))
        by_processor = Line("", over(processor[rival], processor["ours"]))
        yield ratio, [speeds["ours"], speeds[rival], by_processor.measured]


def main(batch: int = 64, rounds: int = 15) -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        world = connect(Path(folder) / "meeting.json")
    images, here, lines = fashion_at_cifars_size(), environment(), []
    table = Table(
        "what", "ours, images/s", "rival's", "processor's", "ratio", "target", "",
        title=f"Training, {here.device}, {here.threads} threads, torch {here.torch_version}, "
        f"deepspeed {here.deepspeed_version}, torchvision {installed('torchvision')}",
        caption=f"ours over the rival's speed in each of {rounds} rounds: median (quartiles)",
    )  # fmt: skip
    for model in MODELS:
        for line, speeds in against(model, batch, rounds, images, world):
            table.add_row(line.what, *speeds, line.measured, line.target, line.verdict)
            lines.append(line)
    Console(width=170).print(table)
    return lines


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
