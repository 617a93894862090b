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
def evaluate(model: Any, trial: Trial, test: Images | Subset, world: World, epoch: int = 0) -> tuple[Scores, Tensor]:
    """The scores over the whole split, each image once at any world size, and what was predicted; collective.

    The predictions (3 N, float32, on the device; the same on every rank) are in the split's order: each image's
    predicted class, the log-probability of that class, and that of the true class.

    `model` is DeepSpeed's engine, or the average of its weights, after this epoch; epoch 0 are given weights.  Rank 0's
    buffers are sent to every rank first, so that all evaluate the same model.
    Raises TrialError where the loss of an image is not finite, or an image was left out, doubled or out of order.
    """
    model.eval()
    world.broadcast(model.module.buffers())  # BatchNorm's running statistics
    # a column for each image: predicted class, its log-probability, the true class's, true class among the first
    # five, true class + 1; each rank fills in its own images
    table = torch.zeros(5, len(test.labels), device=world.device)
    own, done, batch = table[:, world.rank :: world.size], 0, EVALUATION_BATCH[world.device.type]
    for images, labels in evaluation_batches(test, trial.data, batch, world.rank, world.size):
        with autocast(trial, world):  # the engine does so by itself, an average does not
            logits = logits_of(model(as_input(images, trial)), images, trial)[: len(labels)]
        ranked = logits.topk(min(TOP, logits.shape[1]), dim=1).indices
        classes = torch.stack([ranked[:, 0], labels], dim=1)
        columns = own[:, done : done + len(labels)]
        columns[0] = ranked[:, 0]
        columns[1:3] = logits.log_softmax(1).gather(1, classes).mT
        columns[3] = (ranked == labels[:, None]).any(1)
        columns[4] = labels + 1
        done += len(labels)
    predicted, _, log_probability, among_first, evaluated = world.sum(table)
    if astray := int((evaluated != test.labels + 1).sum()):
        raise TrialError(f"{astray} of {len(test.labels)} images were not evaluated, or not in their place")
    losses = -log_probability.double()
    if not_finite := int((~losses.isfinite()).sum()):
        when = f"after epoch {epoch} of {trial.recipe.epochs}" if epoch else "with the given weights"
        bad = f"{not_finite} of {len(losses)} images have no finite one"
        raise TrialError(f"the test loss is {losses.mean().item()} {when}: {bad}")
    share = 100 / len(losses)
    scores = Scores(
        test_loss=losses.mean().item(),
        top1=share * int((predicted == test.labels).sum()),
        top5=share * int(among_first.sum()) if trial.data.classes > TOP else None,
    )
    return scores, table[:3]
