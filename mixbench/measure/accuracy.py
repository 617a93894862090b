"""The accuracy part of a record: train by the trial's recipe, or load given weights, and evaluate."""

from pathlib import Path

from mixbench.data.loader import TrainLoader
from mixbench.data.split import select_splits
from mixbench.data.store import Splits
from mixbench.run.parts import Curve, Epoch
from mixbench.suite.trial import Trial
from mixbench.train.checkpoint import Checkpoints
from mixbench.train.classification import evaluate
from mixbench.train.distributed import World
from mixbench.train.ema import make_average
from mixbench.train.engine import make_engine
from mixbench.train.loop import Report, fit
from mixbench.train.model import build_model
from mixbench.zoo.weights import load, save


def measure(
    trial: Trial,
    data: Splits,
    world: World,
    report: Report,
    keep: Path | None = None,
    checkpoints: Checkpoints | None = None,
) -> Curve:
    """Train and evaluate, or evaluate given weights as epoch 0; collective, with the same curve on every rank.

    `keep` names the file for the weights that were evaluated last.  A training resumes from its newest checkpoint.
    Raises TrialError where the training diverges.
    """
    recipe = trial.recipe
    train_images, test_images = select_splits(data, recipe)
    model = build_model(trial, world)
    average = None if trial.weights else make_average(model, trial)
    engine = make_engine(model, trial, world)
    try:
        if trial.weights:
            load(Path(trial.weights), engine.module)
            scores = evaluate(engine, trial, test_images, world)
            curve = [Epoch(epoch=0, lr=0.0, seconds=0.0, **scores)]
        else:
            batch, place = recipe.global_batch_size, (world.rank, world.size)
            loader = TrainLoader(train_images, trial.data, recipe.augment, batch, *place, drop_last=recipe.drop_last)
            curve = fit(engine, average, trial, loader, test_images, world, report, checkpoints)
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
