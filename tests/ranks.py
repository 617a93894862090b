"""Small trainings, by this process alone or by two others that are started once and take trial after trial."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from mixbench.data.loader import TrainLoader
from mixbench.data.store import Images, load
from mixbench.suite.trial import Trial
from mixbench.train import loop
from mixbench.train.classification import evaluate
from mixbench.train.distributed import World, connect
from mixbench.train.engine import make_engine
from mixbench.train.model import build_model
from mixbench.zoo.registry import load_plugin

TIMEOUT = 400
Trained = dict[str, Any]


def train(trial: Trial, world: World, test_images: int = 359) -> Trained:
    """Train a trial: this rank's losses and scores, and its weights and buffers around the last evaluation."""
    for plugin in trial.plugins:
        load_plugin(Path(plugin))
    engine = make_engine(build_model(trial, world), trial, world)
    data = load(trial.data)
    dataset, recipe = trial.data, trial.recipe
    loader = TrainLoader(
        data.train, dataset, recipe.augment, recipe.global_batch_size, world.rank, world.size, recipe.drop_last
    )
    odd = Images(data.test.images[:test_images], data.test.labels[:test_images])  # no multiple of the world size
    seen: Trained = {"losses": []}

    def noted(*arguments: Any) -> Any:
        seen["trained"] = {name: value.clone() for name, value in engine.module.state_dict().items()}
        seen["scores"], seen["predictions"] = evaluate(*arguments)
        seen["after"] = {name: value.clone() for name, value in engine.module.state_dict().items()}
        return seen["scores"], seen["predictions"]

    vars(loop)["evaluate"] = noted
    try:
        loop.fit(engine, None, trial, loader, odd, world, lambda epoch, loss, speed: seen["losses"].append(loss))
    finally:
        vars(loop)["evaluate"] = evaluate
    engine.destroy()
    return seen


def _rank(ends: Connection, folder: Path, rank: int, size: int) -> None:
    world = connect(folder / "meeting.json", rank, size, rank, size)
    while True:
        trial, test_images = ends.recv()
        torch.save(train(trial, world, test_images), folder / f"rank{rank}.pt")
        ends.send("trained")


@contextmanager
def two_processes(folder: Path) -> Iterator[Callable[..., list[Trained]]]:
    """A function that has two processes train a trial, and gives what each of them has then."""
    spawn = get_context("spawn")
    ours, theirs = zip(*(spawn.Pipe() for _ in range(2)), strict=True)
    processes = [spawn.Process(target=_rank, args=(theirs[rank], folder, rank, 2)) for rank in range(2)]
    for process, end in zip(processes, theirs, strict=True):
        process.start()
        end.close()

    def train_by_two(trial: Trial, test_images: int = 359) -> list[Trained]:
        for end in ours:
            end.send((trial, test_images))
        for end in ours:
            assert end.poll(TIMEOUT), f"waited {TIMEOUT} s for two processes to train"
            end.recv()
        return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

    try:
        yield train_by_two
    finally:
        for process, end in zip(processes, ours, strict=True):
            process.kill()
            process.join()
            end.close()
