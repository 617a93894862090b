"""Accuracy: a training run by the trial's recipe, the whole test set after each epoch or every so many."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from mixbench.data.loader import TrainLoader, evaluation_batches
from mixbench.data.split import Part, chosen
from mixbench.data.store import Images, Splits
from mixbench.errors import TrialError
from mixbench.run.parts import Curve, Epoch
from mixbench.suite.trial import Trial
from mixbench.train.checkpoint import Checkpoints, Position
from mixbench.train.distributed import World
from mixbench.train.ema import make_average
from mixbench.train.engine import as_input, autocast, build_model, make_engine
from mixbench.train.loop import train_epoch
from mixbench.zoo.weights import load, save

Report = Callable[[int, float, float], None]
"""Hears of each epoch: its number from 1, the mean training loss, and images a second since the last evaluation."""
EVALUATION_BATCH = {"cuda": 512, "cpu": 128}
"""Images at a time.  On a CPU few, which its caches hold: SplitMixer-I 64/4 takes a quarter more with 512 images."""


def measure(
    trial: Trial,
    data: Splits,
    world: World,
    report: Report,
    keep: Path | None = None,
    checkpoints: Checkpoints | None = None,
) -> Curve:
    """Train and evaluate, or evaluate given weights: epoch 0.

    `keep` names the file for the weights that were evaluated last.  Training goes on from the last checkpoint.

    Collective: every rank calls it, each gets the same curve.  Raises TrialError where training diverges.
    """
    train_images, test_images = chosen(data, trial.recipe)
    model = build_model(trial, world)
    average = None if trial.weights else make_average(model, trial)
    engine = make_engine(model, trial, world)
    try:
        if trial.weights:
            load(Path(trial.weights), engine.module)
            scores = evaluate(engine, trial, test_images, world)
            curve = [Epoch(epoch=0, lr=0.0, seconds=0.0, **scores)]
        else:
            curve = _learn(engine, average, trial, train_images, test_images, world, report, checkpoints)
        if keep and world.is_main:
            save((average or engine).module, keep)
    finally:
        engine.destroy()
    best = max(curve, key=lambda epoch: epoch.top1)
    return Curve(
        epochs=curve,
        best_top1_optimistic=best.top1,
        best_epoch=best.epoch,
        test_images=len(test_images.labels),
    )


def _learn(
    engine: Any,
    average: AveragedModel | None,
    trial: Trial,
    train_images: Images | Part,
    test_images: Images | Part,
    world: World,
    report: Report,
    checkpoints: Checkpoints | None,
) -> list[Epoch]:
    """The whole curve, of which a checkpoint may bring a part."""
    recipe, place = trial.recipe, (world.rank, world.size)
    batch, pieces = recipe.global_batch_size, recipe.gradient_accumulation
    loader = TrainLoader(train_images, trial.data, recipe.augment, batch, *place, drop_last=recipe.drop_last)
    position = checkpoints.load(engine, average) if checkpoints is not None else Position()
    while position.epoch < recipe.epochs:
        loss, lr = train_epoch(engine, trial, loader, world, position, average, checkpoints)
        epoch, seconds = position.epoch + 1, position.seconds
        before = position.curve[-1].epoch if position.curve else 0
        point = None
        if epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs:
            scores = evaluate(average or engine, trial, test_images, world)
            point = Epoch(epoch=epoch, lr=lr, train_loss=loss, seconds=seconds, **scores)
        position.end_epoch(point)
        report(epoch, loss, (epoch - before) * loader.images(pieces) / seconds)
        if checkpoints is not None and checkpoints.due_after(position.epoch):
            checkpoints.save(engine, average, position, position.epoch * loader.steps(pieces))
    return position.curve


@torch.no_grad()
def evaluate(model: Any, trial: Trial, test: Images | Part, world: World) -> dict[str, float]:
    """test_loss (the mean), top1 and top5 (%) over the whole split, each image once at any world size; collective.

    `model` is DeepSpeed's engine, or the average of its weights.  Every rank uses rank 0's buffers, so that all
    evaluate one model.
    """
    model.eval()
    world.broadcast_buffers(model.module)
    sums = torch.zeros(4, dtype=torch.float64, device=world.device)  # loss, top-1, top-5, images
    batch = EVALUATION_BATCH[world.device.type]
    for images, labels in evaluation_batches(test, trial.data, batch, world.rank, world.size):
        with autocast(trial, world):  # the engine does so by itself, an average does not
            logits = model(as_input(images, trial)).float()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        sums[0] += F.cross_entropy(logits, labels, reduction="sum").double()
        sums[1] += ranked[:, 0].sum()
        sums[2] += ranked.sum()
        sums[3] += len(labels)
    loss, top1, top5, images_seen = world.sum(sums).tolist()
    if images_seen != len(test.labels):
        raise TrialError(f"{images_seen:.0f} images were evaluated, not {len(test.labels)}")
    return {"test_loss": loss / images_seen, "top1": 100 * top1 / images_seen, "top5": 100 * top5 / images_seen}
