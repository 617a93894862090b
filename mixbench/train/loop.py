"""An epoch, step by step."""

import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from mixbench.data.loader import TrainLoader
from mixbench.errors import TrialError
from mixbench.suite.recipe import Recipe
from mixbench.suite.trial import Trial
from mixbench.train.checkpoint import Checkpoints, Position
from mixbench.train.distributed import World
from mixbench.train.ema import follow
from mixbench.train.engine import as_input
from mixbench.train.schedule import lr_share


def train_epoch(
    engine: Any,
    trial: Trial,
    loader: TrainLoader,
    world: World,
    position: Position,
    average: AveragedModel | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[float, float]:
    """Train from `position` to the end of its epoch: the mean training loss, and the last step's learning rate.

    `average` follows the weights from step to step.  What saving takes is none of the position's seconds.
    Raises TrialError where the loss or a weight is no longer a number, or a checkpoint cannot be written.
    """
    pieces, rates = trial.recipe.gradient_accumulation, _Rates(trial.recipe, loader, position.epoch)
    losses = _Losses(position, world, rates)
    engine.train()
    began = time.perf_counter() - position.seconds
    for index, (images, targets) in enumerate(loader.epoch(trial.seed, position.epoch, pieces, position.step)):
        rates.set(engine, position.step)
        share = len(targets) * world.size * pieces / loader.batch_size(position.step)
        losses.add(train_step(engine, trial, images, targets, share), len(targets))
        if index % pieces < pieces - 1:
            continue
        position.step += 1
        if average is not None:
            follow(average, engine.module)
        if checkpoints is not None and checkpoints.due(step := rates.before + position.step):
            losses.check(engine.module)
            position.seconds = time.perf_counter() - began
            checkpoints.save(engine, average, position, step)
            began = time.perf_counter() - position.seconds
    loss = losses.check(engine.module) / loader.images(pieces)
    position.seconds = time.perf_counter() - began
    return loss, rates.of(position.step - 1)


class _Rates:
    """The learning rates of an epoch's steps; `before` is the number of steps before it."""

    def __init__(self, recipe: Recipe, loader: TrainLoader, epoch: int):
        self.recipe, self.epoch = recipe, epoch
        self.per_epoch = loader.steps(recipe.gradient_accumulation)
        self.before, self.steps = epoch * self.per_epoch, recipe.epochs * self.per_epoch

    def of(self, step: int) -> float:
        share = lr_share(self.recipe.schedule, self.before + step, self.steps, self.per_epoch)
        return self.recipe.optimizer.lr * share

    def set(self, engine: Any, step: int) -> None:
        for group in engine.optimizer.param_groups:
            group["lr"] = self.of(step)

    def place(self, step: int) -> str:
        """A step as a person would name it, with its learning rate."""
        epochs = f"epoch {self.epoch + 1} of {self.recipe.epochs}"
        return f"at step {step + 1} of {self.per_epoch}, {epochs}, lr {self.of(step):.3g}"


class _Losses:
    """An epoch's training loss, summed in its position; on the device, so that no step waits for it."""

    FINE = torch.iinfo(torch.int64).max

    def __init__(self, position: Position, world: World, rates: _Rates):
        self.position, self.world, self.rates = position, world, rates
        position.loss_sum = torch.as_tensor(position.loss_sum, dtype=torch.float32, device=world.device)
        self.wrong = torch.tensor(self.FINE, device=world.device)

    def add(self, loss: Tensor, images: int) -> None:
        self.position.loss_sum = self.position.loss_sum + loss * images
        self.wrong = torch.where(loss.isfinite(), self.wrong, self.wrong.clamp(max=self.position.step))

    def check(self, model: nn.Module) -> float:
        """The sum over all ranks' images.  Raises TrialError for the first step whose loss was no number.

        Or for the last one, whose gradients no loss followed, where it left weights that are none.
        """
        total = float(self.world.sum(torch.as_tensor(self.position.loss_sum).clone()))
        wrong = -int(self.world.max(-self.wrong))
        if wrong < self.FINE:
            raise TrialError(f"the training loss is {total} {self.rates.place(wrong)}")
        if self.world.any(not torch.stack([weight.isfinite().all() for weight in model.parameters()]).all()):
            raise TrialError(f"a weight is no number {self.rates.place(self.position.step - 1)}")
        return total


def train_step(engine: Any, trial: Trial, images: Tensor, targets: Tensor, share: float = 1.0) -> Tensor:
    """Forward, backward, update (at an accumulation's end); the mean loss of these images, still on the device.

    targets: B labels, or B K probabilities.  `share` is the weight of these images among the pieces of their batch, of
    which DeepSpeed takes the plain mean: 1 where all are equally large.
    """
    logits = engine(as_input(images, trial)).float()
    loss = F.cross_entropy(logits, targets, label_smoothing=trial.recipe.label_smoothing)
    engine.backward(loss * share)
    engine.step()
    return loss.detach()
