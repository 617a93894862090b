"""The training loop: from a recipe's first step, or the newest checkpoint, to the learning curve."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mixbench.data.loader import TrainLoader
from mixbench.data.split import Subset
from mixbench.data.store import Images
from mixbench.errors import TrialError
from mixbench.run.parts import Epoch
from mixbench.suite.recipe import Recipe
from mixbench.suite.trial import Trial
from mixbench.system.signals import Stopped
from mixbench.train.checkpoint import Checkpoints
from mixbench.train.classification import evaluate, training_loss
from mixbench.train.distributed import World
from mixbench.train.ema import update_average
from mixbench.train.model import as_input, logits_of
from mixbench.train.schedule import learning_rate
from mixbench.train.state import Position

Report = Callable[[int, float, float], None]
"""Called after each epoch: its number from 1, the mean training loss, images per second since the last evaluation."""
NO_STEP = torch.iinfo(torch.int64).max


def fit(
    engine: Any,
    average: AveragedModel | None,
    trial: Trial,
    loader: TrainLoader,
    test: Images | Subset,
    world: World,
    report: Report,
    checkpoints: Checkpoints | None = None,
) -> tuple[list[Epoch], Tensor]:
    """Train by the trial's recipe, from its newest checkpoint on; collective.

    Returns the learning curve, and the predictions of the last epoch (see `evaluate`).
    `average` follows the weights from step to step, and is evaluated in their place.  The seconds of the curve are
    those of training alone, without evaluating and saving.  No step waits for the device: losses stay there until the
    epoch ends or a checkpoint is due.

    Raises TrialError where a loss, of training or evaluation, or a weight is not finite or a checkpoint cannot be
    written or restored, and Stopped, after saving, where the job was told to end.
    """
    recipe, pieces = trial.recipe, trial.recipe.gradient_accumulation
    steps_per_epoch = loader.steps(pieces)
    position = checkpoints.load(engine, average) if checkpoints else Position()

    while position.epoch < recipe.epochs:
        engine.train()
        steps_before = position.epoch * steps_per_epoch
        position.loss_sum = position.loss_sum.to(world.device)
        bad_step = torch.tensor(NO_STEP, device=world.device)  # the epoch's first whose loss was not finite
        began = time.perf_counter() - position.seconds

        for index, (images, targets) in enumerate(loader.epoch(trial.seed, position.epoch, pieces, position.step)):
            lr = learning_rate(recipe, steps_before + position.step, steps_per_epoch)
            for group in engine.optimizer.param_groups:
                group["lr"] = lr
            share = len(targets) * world.size * pieces / loader.batch_size(position.step)
            loss = train_step(engine, trial, images, targets, share)
            position.loss_sum = position.loss_sum + loss * len(targets)
            bad_step = torch.where(loss.isfinite(), bad_step, bad_step.clamp(max=position.step))
            if index % pieces < pieces - 1:
                continue  # the gradients of this batch's other pieces are still to come
            position.step += 1
            if average is not None:
                update_average(average, engine.module)

            if checkpoints and checkpoints.times.due_after_step(steps_before + position.step):
                finite_loss(engine.module, position, bad_step, recipe, steps_per_epoch, world)
                position.seconds = time.perf_counter() - began
                checkpoints.save(engine, average, position, steps_before + position.step)
                if checkpoints.times.stopping:
                    raise Stopped
                began = time.perf_counter() - position.seconds

        loss_sum = finite_loss(engine.module, position, bad_step, recipe, steps_per_epoch, world)
        position.seconds = time.perf_counter() - began
        train_loss = loss_sum / loader.images(pieces)
        last_lr = learning_rate(recipe, steps_before + position.step - 1, steps_per_epoch)
        epoch, evaluated = position.epoch + 1, position.curve[-1].epoch if position.curve else 0
        samples_per_sec = (epoch - evaluated) * loader.images(pieces) / position.seconds

        if epoch % recipe.evaluate_every == 0 or epoch == recipe.epochs:
            scores, predictions = evaluate(average or engine, trial, test, world, epoch)
            point = Epoch(epoch=epoch, lr=last_lr, train_loss=train_loss, seconds=position.seconds, **scores)
            position.curve.append(point)
            position.seconds = 0.0
        position.epoch, position.step, position.loss_sum = epoch, 0, torch.zeros(())
        report(epoch, train_loss, samples_per_sec)

        if checkpoints and checkpoints.times.due_after_epoch(epoch):
            checkpoints.save(engine, average, position, epoch * steps_per_epoch)
    return position.curve, predictions  # no checkpoint is saved after the last epoch: it was evaluated here


def train_step(engine: Any, trial: Trial, images: Tensor, targets: Tensor, share: float = 1.0) -> Tensor:
    """Forward, backward, update (at an accumulation's end); the mean loss of these images, still on the device.

    targets: B labels, or B K probabilities.  `share` is the weight of these images among the pieces of their batch, of
    which DeepSpeed takes the plain mean: 1 where all are equally large.
    """
    logits = logits_of(engine(as_input(images, trial)), images, trial)
    loss = training_loss(logits, targets, trial.recipe)
    engine.backward(loss * share)
    engine.step()
    return loss.detach()


def finite_loss(
    model: nn.Module, position: Position, bad_step: Tensor, recipe: Recipe, steps_per_epoch: int, world: World
) -> float:
    """The epoch's training loss so far, summed over the images of all ranks; collective, and waits for the device.

    Raises TrialError for the first step whose loss was not finite, or for the last step where it left weights that are
    not: no loss has been computed with them yet.
    """

    def place(step: int) -> str:
        lr = learning_rate(recipe, position.epoch * steps_per_epoch + step, steps_per_epoch)
        return f"at step {step + 1} of {steps_per_epoch}, epoch {position.epoch + 1} of {recipe.epochs}, lr {lr:.3g}"

    total = float(world.sum(position.loss_sum.clone()))
    first_bad = -int(world.max(-bad_step))
    if first_bad < NO_STEP:
        raise TrialError(f"the training loss is {total} {place(first_bad)}")
    if world.any(not torch.stack([weight.isfinite().all() for weight in model.parameters()]).all()):
        raise TrialError(f"a weight is no number {place(position.step - 1)}")
    return total
