"""Accuracy: what is trained on and evaluated, in which mode, in which type, and how it is scored."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from mixbench.data.datasets import find_dataset
from mixbench.data.loader import TrainLoader, evaluation_batches
from mixbench.data.store import Splits, load
from mixbench.measure import accuracy
from mixbench.record import Curve, Epoch
from mixbench.registry import create_model
from mixbench.train import lr_share
from mixbench.trial import Trial
from mixbench.world import World, connect
from tests.trials import RECIPE, SMALL, plan_trials


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return connect(tmp_path_factory.mktemp("meeting") / "meeting.json")


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load(find_dataset("digits"))


def measured(trial: Trial, data: Splits, world: World) -> tuple[Curve, list[float]]:
    """The curve, and how many images each epoch trained on by the speed that is reported."""
    images: list[float] = []

    def report(epoch: Epoch, speed: float) -> None:
        images.append(speed * epoch.seconds)

    return accuracy.measure(trial, data, world, report), images


def test_after_an_evaluation_batchnorm_trains_on_as_in_plain_pytorch(
    tmp_path: Path, world: World, digits: Splits
) -> None:
    [trial] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], recipe=RECIPE | {"epochs": 2})
    curve, _ = measured(trial, digits, world)
    losses = [(epoch.train_loss, epoch.test_loss) for epoch in curve.epochs]
    for ours, theirs in zip(losses, plain_losses(trial, digits), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def plain_losses(trial: Trial, data: Splits) -> list[tuple[float, float]]:
    """Plain PyTorch: the mean training and test loss of each epoch."""
    torch.manual_seed(trial.seed)
    model, recipe = create_model(trial.model, **trial.arguments), trial.recipe
    loader = TrainLoader(data.train, trial.data, recipe.augment, recipe.global_batch_size, 0, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=recipe.optimizer.momentum)
    steps, losses = len(loader), []
    for epoch in range(recipe.epochs):
        model.train()
        total = 0.0
        for step, (images, labels) in enumerate(loader.epoch(trial.seed, epoch), start=epoch * steps):
            share = lr_share(recipe.schedule, step, recipe.epochs * steps, steps)
            optimizer.param_groups[0]["lr"] = recipe.optimizer.lr * share
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() / steps
        model.eval()
        [(images, labels)] = evaluation_batches(data.test, trial.data, 512, 0, 1)
        with torch.no_grad():
            losses.append((total, F.cross_entropy(model(images), labels).item()))
    return losses
