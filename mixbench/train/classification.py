"""The task, classification: its training loss and its evaluation.  Another task would have these two of its own."""

from typing import Any

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
from mixbench.train.model import as_input, autocast

EVALUATION_BATCH = {"cuda": 512, "cpu": 128}
"""Images at a time.  A CPU's caches hold few: SplitMixer-I 64/4 takes a quarter longer with 512 images."""


def training_loss(logits: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
    """The mean cross entropy of logits B K and targets: B labels, or B K probabilities."""
    return F.cross_entropy(logits, targets, label_smoothing=recipe.label_smoothing)


@torch.no_grad()
def evaluate(model: Any, trial: Trial, test: Images | Subset, world: World) -> dict[str, float]:
    """test_loss (the mean), top1 and top5 (%) over the whole split, each image once at any world size; collective.

    `model` is DeepSpeed's engine, or the average of its weights.  Rank 0's buffers are sent to every rank first, so
    that all evaluate the same model.
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
