"""Accuracy: a training run by the trial's recipe, the whole test set after each epoch."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from mixbench.data.loader import TrainLoader, evaluation_batches
from mixbench.data.store import Images, Splits
from mixbench.errors import TrialError
from mixbench.record import Curve, Epoch
from mixbench.train import as_input, build_model, make_engine, train
from mixbench.trial import Trial
from mixbench.world import World

EVALUATION_BATCH = 512


def measure(trial: Trial, data: Splits, world: World, report: Callable[[Epoch], None]) -> Curve:
    """Train and evaluate; `report` hears of each epoch.  Collective: every rank calls it, each gets the same curve.

    Raises TrialError where training diverges.
    """
    dataset = trial.data
    engine = make_engine(build_model(trial, world), trial, world)
    recipe = trial.recipe
    loader = TrainLoader(data.train, dataset, recipe.augment, recipe.global_batch_size, world.rank, world.size)
    epochs = []
    try:
        for number, lr, train_loss, seconds in train(engine, trial, loader, world):
            test_loss, top1, top5 = evaluate(engine, trial, data.test, world)
            epochs.append(
                Epoch(
                    epoch=number,
                    lr=lr,
                    train_loss=train_loss,
                    test_loss=test_loss,
                    top1=top1,
                    top5=top5,
                    seconds=seconds,
                )
            )
            report(epochs[-1])
    finally:
        engine.destroy()
    best = max(epochs, key=lambda epoch: epoch.top1)
    return Curve(
        epochs=epochs,
        best_top1_optimistic=best.top1,
        best_epoch=best.epoch,
        test_images=len(data.test.labels),
    )


@torch.no_grad()
def evaluate(engine: Any, trial: Trial, test: Images, world: World) -> tuple[float, float, float]:
    """(mean loss, top-1 %, top-5 %) over the whole split, each image once at any world size; collective.

    Every rank uses rank 0's buffers, so that all evaluate one model.
    """
    engine.eval()
    world.broadcast_buffers(engine.module)
    sums = torch.zeros(4, dtype=torch.float64, device=world.device)  # loss, top-1, top-5, images
    dataset = trial.data
    for images, labels in evaluation_batches(test, dataset, EVALUATION_BATCH, world.rank, world.size):
        logits = engine(as_input(images, trial)).float()
        ranked = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels[:, None]
        sums[0] += F.cross_entropy(logits, labels, reduction="sum").double()
        sums[1] += ranked[:, 0].sum()
        sums[2] += ranked.sum()
        sums[3] += len(labels)
    loss, top1, top5, images_seen = world.sum(sums).tolist()
    if images_seen != len(test.labels):
        raise TrialError(f"{images_seen:.0f} images were evaluated, not {len(test.labels)}")
    return loss / images_seen, 100 * top1 / images_seen, 100 * top5 / images_seen
