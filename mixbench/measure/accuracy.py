"""The accuracy part of a record: train by the trial's recipe, or load given weights, and evaluate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from mixbench.data.loader import TrainLoader
from mixbench.data.split import select_splits
from mixbench.data.store import Splits
from mixbench.run.parts import Curve, Epoch, PredictionsFile
from mixbench.run.predictions import Predictions, packed
from mixbench.suite.trial import Trial
from mixbench.train.checkpoint import Checkpoints
from mixbench.train.classification import evaluate
from mixbench.train.distributed import World
from mixbench.train.ema import make_average
from mixbench.train.engine import make_engine
from mixbench.train.loop import Report, fit
from mixbench.train.model import build_model
from mixbench.zoo.tensor_names import Fit
from mixbench.zoo.weights import Origin, load_file, origin, save


def measure(
    trial: Trial,
    data: Splits,
    world: World,
    report: Report,
    keep: Path | None = None,
    checkpoints: Checkpoints | None = None,
    keep_predictions: Callable[[bytes], PredictionsFile] | None = None,
) -> Curve:
    """Train and evaluate, or evaluate given weights as epoch 0; collective, with the same curve on every rank.

    `keep` names the file for the weights that were evaluated last; `keep_predictions` writes what they predict, on rank
    0, whose curve alone names that file.  A training resumes from its newest checkpoint.
    Raises TrialError where the training diverges.
    """
    recipe = trial.recipe
    train_images, test_images = select_splits(data, recipe)
    model = build_model(trial, world)
    average = None if trial.weights else make_average(model, trial)
    engine = make_engine(model, trial, world)
    notes: list[str] = []
    try:
        if trial.weights:
            notes = weights_notes(trial, load_file(Path(trial.weights), engine.module))
            scores, predicted = evaluate(engine, trial, test_images, world)
            curve = [Epoch(epoch=0, lr=0.0, seconds=0.0, **scores)]
        else:
            batch, place = recipe.global_batch_size, (world.rank, world.size)
            loader = TrainLoader(train_images, trial.data, recipe.augment, batch, *place, drop_last=recipe.drop_last)
            curve, predicted = fit(engine, average, trial, loader, test_images, world, report, checkpoints)
        if keep and world.is_main:
            of = origin(Path(trial.weights)) if trial.weights else origin_of(trial)
            save((average or engine).module, keep, of)
    finally:
        engine.destroy()
    kept = None
    if keep_predictions and world.is_main:
        kept = keep_predictions(packed(predictions_of(predicted, test_images.labels, trial.data.classes)))
    best = max(curve, key=lambda epoch: epoch.top1)
    return Curve(
        epochs=curve,
        best_top1_optimistic=best.top1,
        best_epoch=best.epoch,
        test_images=len(test_images.labels),
        predictions=kept,
        weights_notes=notes,
    )


def predictions_of(predicted: Tensor, labels: Tensor, classes: int) -> Predictions:
    """Return what an evaluation predicted (3 N, see `evaluate`), with the true classes, as arrays on the host."""
    classes_type = np.min_scalar_type(classes - 1)
    best, of_best, of_label = predicted.cpu().numpy()
    return Predictions(
        labels=labels.cpu().numpy().astype(classes_type),
        predicted=best.astype(classes_type),
        predicted_log_probability=of_best,
        label_log_probability=of_label,
    )


def origin_of(trial: Trial) -> Origin:
    """Return what the weights that a trial trains are of."""
    return Origin(
        model=trial.model,
        family=trial.family,
        overrides=trial.overrides,
        arguments=trial.arguments,
        dataset=trial.dataset,
        classes=tuple(trial.data.class_images),
        recipe=trial.recipe.model_dump(mode="json"),
        trial_id=trial.id,
    )


def weights_notes(trial: Trial, fit: Fit) -> list[str]:
    """Return what a reader of the scores of given weights should know: what was adapted, what could not be compared."""
    of, notes = origin(Path(trial.weights)), list(fit.notes)
    if trial.data.folder and not (of and of.classes):
        notes.append("they name no classes, whose order is taken to be that of the folders")
    elif of and of.dataset != trial.dataset and not trial.data.folder:
        notes.append(f"trained on {of.dataset}")
    return notes
