"""What evaluating and saving cost beside the training itself, and what memory the process takes.

Run with: python tests/benchmarks/overhead.py [ROUNDS], 9 unless told.  The first trial of fashion_mnist_short.yaml on a
tenth of Fashion-MNIST: a round trains an epoch, evaluates and saves a checkpoint, each timed.  From a round's times
follows what share of a trial of ten minutes is not training, with an evaluation after each epoch and a checkpoint every
ten minutes, as is usual; a checkpoint's time is all of its writing, syncing and reading back.
"""

import math
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.data import store
from mixbench.data.loader import TrainLoader
from mixbench.measure.recorder import environment
from mixbench.run.folder import Run
from mixbench.suite.load import load
from mixbench.suite.trial import Checkpointing, Trial
from mixbench.train import loop
from mixbench.train.checkpoint import Checkpoints
from mixbench.train.classification import evaluate
from mixbench.train.distributed import World, connect
from mixbench.train.engine import make_engine
from mixbench.train.model import build_model
from tests.benchmarks.table import Line

TRIAL_SECONDS, PART, GIB = 600, 10, 2**30


def tenth(images: store.Images) -> store.Images:
    return store.Images(images.images[::PART], images.labels[::PART])


def timed(action: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    """The same action, whose seconds are noted; it ends with numbers on the host, or on the disk."""

    def wrapped(*arguments: Any) -> Any:
        began = time.perf_counter()
        result = action(*arguments)
        seconds.append(time.perf_counter() - began)
        return result

    return wrapped


def shares(training: float, evaluating: float, saving: float) -> tuple[float, float]:
    """Of a trial of ten minutes, in %: all evaluations, all checkpoints; times of a tenth of an epoch's images."""
    saved = math.floor(TRIAL_SECONDS / (60 * Checkpointing().minutes)) * saving
    return 100 * evaluating / (training + evaluating) * (1 - saved / TRIAL_SECONDS), 100 * saved / TRIAL_SECONDS


def kept_for_backward(engine: Any, trial: Trial, loader: TrainLoader) -> int:
    """Bytes of the activations that a step keeps, each storage once."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        loop.train_step(engine, trial, *next(loader.epoch(trial.seed, 0)))
    weights = {parameter.untyped_storage().data_ptr() for parameter in engine.module.parameters()}
    return sum(size for pointer, size in sizes.items() if pointer not in weights)


def measured(trial: Trial, data: store.Splits, world: World, run: Run, rounds: int) -> tuple[list[list[float]], int]:
    """The times of training, evaluating and saving in each round; the bytes of a step's activations."""
    train, test = tenth(data.train), tenth(data.test)
    engine = make_engine(build_model(trial, world), trial, world)
    loader = TrainLoader(train, trial.data, trial.recipe.augment, trial.recipe.global_batch_size, 0, 1)
    recipe = trial.recipe.model_copy(update={"epochs": rounds + 2, "evaluate_every": 1})  # the last epoch saves nothing
    trial = trial.model_copy(update={"recipe": recipe, "checkpoint": Checkpointing(minutes=0, epochs=1)})
    checkpoints, evaluating, saving = Checkpoints(run, trial, world), list[float](), list[float]()
    vars(loop)["evaluate"] = timed(evaluate, evaluating)
    vars(checkpoints)["save"] = timed(checkpoints.save, saving)
    curve, _ = loop.fit(engine, None, trial, loader, test, world, lambda *_: None, checkpoints)
    times = [list(each) for each in zip([point.seconds for point in curve], evaluating, saving, strict=False)]
    return times[1:], kept_for_backward(engine, trial, loader)  # the first warms up


def main(rounds: int = 9) -> list[Line]:
    trial = load("fashion_mnist_short")[1][0]
    with tempfile.TemporaryDirectory() as folder:
        world, run = connect(Path(folder) / "meeting.json"), Run(Path(folder) / "run")
        run.write_plan("name: overhead\n", [trial])
        data = store.load(trial.data).on(world.device)
        times, activations = measured(trial, data, world, run, rounds)
    here = environment()
    versions = f"torch {here.torch_version}, deepspeed {here.deepspeed_version}"
    title = f"{trial.label}, {here.device}, {here.threads} threads, {versions}"
    table = Table("what", "measured", "target", "", title=title)
    for name, column in zip(("training", "evaluating", "saving"), zip(*times, strict=True), strict=True):
        table.add_row(name, Line(name, column, "{} s", 3).measured)
    of_rounds = [shares(*each) for each in times]
    for index, name in enumerate(("evaluating", "saving")):
        table.add_row(f"{name}, of 10 minutes", Line(name, [each[index] for each in of_rounds], "{} %").measured)
    second = [sum(shares(2 * training, evaluating, saving)) for training, evaluating, saving in times]
    what = "evaluating after each epoch, and checkpoints, of a trial of 10 minutes"
    lines = [
        Line(what, [sum(each) for each in of_rounds], "{} %", below=3),
        Line(what.replace("each", "every second"), second, "{} %"),
    ]
    if not torch.cuda.is_available():
        images = data.train.nbytes + data.test.nbytes
        model = activations + 16 * sum(math.prod(p.shape) for p in build_model(trial, world).parameters())
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        table.add_row("peak memory", f"{peak / GIB:.2f} GiB")
        lines.append(Line("memory beside dataset and model", [(peak - images - model) / GIB], "{} GiB", below=1))
        table.caption = (
            f"dataset {images / GIB:.3f} GiB; weights, gradients, moments, a step's activations {model / GIB:.3f} GiB"
        )
    for line in lines:
        table.add_row(line.what, line.measured, line.target, line.verdict)
    Console(width=120).print(table)
    return lines


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
