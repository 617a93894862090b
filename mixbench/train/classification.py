"""The task, classification: its training loss and its evaluation.  Another task would have these two of its own."""

from typing import Any, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from mixbench.data.loader import evaluation_batches
from mixbench.data.split import Subset
from mixbench.data.store import Images
from mixbench.errors import TrialError
from mixbench.suite.recipe import Recipe
from mixbench.suite.trial import Trial
from mixbench.train.distributed import World
from mixbench.train.model import as_input, autocast, logits_of

EVALUATION_BATCH = {"cuda": 512, "cpu": 128}
"""Images at a time.  A CPU's caches hold few: SplitMixer-I 64/4 takes a quarter longer with 512 images."""
TOP = 5
"""Ranks that count for top5; among no more classes than these every image would count."""


class Scores(TypedDict):
    """The scores of an evaluation: the mean loss; top1 and top5 in percent, top5 None where it would mean nothing."""

    test_loss: float
    top1: float
    top5: float | None


def training_loss(logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """The mean cross entropy of logits B K and targets: B labels, or B K probabilities."""
    return F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)


@torch.no_grad()
def evaluate(model: Any, trial: Trial, test: Images | Subset, world: World, epoch: int = 0) -> Scores:
    """The scores over the whole split, each image once at any world size; collective.

    `model` is DeepSpeed's engine, or the average of its weights, after this epoch; epoch 0 are given weights.  Rank 0's
    buffers are sent to every rank first, so that all evaluate the same model.
    Raises TrialError where the loss of an image is not finite.
    """
    model.eval()
    world.broadcast(model.module.buffers())  # BatchNorm's running statistics
    # loss, top-1, top-5, images, images whose loss is not finite
    sums = torch.zeros(5, dtype=torch.float64, device=world.device)
    batch = EVALUATION_BATCH[world.device.type]
    for images, labels in evaluation_batches(test, trial.data, batch, world.rank, world.size):
        with autocast(trial, world):  # the engine does so by itself, an average does not
            logits = logits_of(model(as_input(images, trial)), images, trial)[: len(labels)]
        losses = F.cross_entropy(logits, labels, reduction="none").double()
        ranked = logits.topk(min(TOP, logits.shape[1]), dim=1).indices == labels[:, None]
        sums[0] += losses.sum()
        sums[1] += ranked[:, 0].sum()
        sums[2] += ranked.sum()
        sums[3] += len(labels)
        sums[4] += (~losses.isfinite()).sum()
    loss, top1, top5, images_seen, not_finite = world.sum(sums).tolist()
    if images_seen != len(test.labels):
        raise TrialError(f"{images_seen:.0f} images were evaluated, not {len(test.labels)}")
    if not_finite:
        when = f"after epoch {epoch} of {trial.recipe.epochs}" if epoch else "with the given weights"
        bad = f"{not_finite:.0f} of {images_seen:.0f} images have no finite one"
        raise TrialError(f"the test loss is {loss} {when}: {bad}")
    share = 100 / images_seen
    return Scores(
        test_loss=loss / images_seen,
        top1=share * top1,
        top5=share * top5 if trial.data.classes > TOP else None,
    )
